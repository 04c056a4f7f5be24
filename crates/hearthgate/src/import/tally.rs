//! Counts by type and what failed: the table, the report.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde::Serialize;

use super::answer::{EntryAnswer, QUARANTINED};
use super::document::{Place, What};
use super::sending::{Arrived, Fate};
use crate::command::columns;
use crate::progress::per_second;

/// Failures kept with their texts; more are counted. Memory does not grow with an import.
const KEPT: usize = 10_000;
/// Failures printed; the report has the rest.
const PRINTED: usize = 20;

/// What became of everything so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    types: BTreeMap<String, Counts>,
    failures: Vec<Failure>,
    failures_in_all: u64,
    skipped: u64,
    took: Duration,
}

/// Resources of one type.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    sent: u64,
    /// Made (201).
    created: u64,
    /// There already: updated, or found by a condition (200).
    existing: u64,
    failed: u64,
    /// Sent and not answered.
    unknown: u64,
}

/// Something that failed: where, what and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    file: String,
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<usize>,
    kind: Kind,
    /// The type, or `transaction` and `batch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    /// Never sent: it is no resource.
    Unreadable,
    /// The server did nothing.
    Refused,
    /// The server set it apart, as invalid.
    Quarantined,
    /// The server may have done it.
    Unknown,
    /// The server was away or busy for too long, or the import was stopped.
    NotDone,
}

impl Kind {
    /// What a status that is no success of an import comes to.
    fn of(status: u16) -> Self {
        if status == QUARANTINED { Self::Quarantined } else { Self::Refused }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_early: Option<&'a str>,
    seconds: f64,
    resources: u64,
    resources_per_second: f64,
    types: &'a BTreeMap<String, Counts>,
    total: Counts,
    files_skipped: u64,
    failures: &'a [Failure],
    failures_not_listed: u64,
}

impl Tally {
    pub(crate) fn new(skipped: u64) -> Self {
        Self { skipped, ..Self::default() }
    }

    /// How long sending took.
    pub(crate) fn took(&mut self, took: Duration) {
        self.took = took;
    }

    /// Resources sent and answered, or given up.
    pub(crate) fn sent(&self) -> u64 {
        self.types.values().map(|counts| counts.sent).sum()
    }

    /// Whether nothing failed.
    pub(crate) fn is_complete(&self) -> bool {
        self.failures_in_all == 0
    }

    /// Something in a file that is nothing to send.
    pub(crate) fn unreadable(&mut self, place: Place, why: String) {
        self.fail(&place, Kind::Unreadable, None, None, why);
    }

    /// Counts a shipment; why the import ends, if it does.
    pub(crate) fn add(&mut self, arrived: Arrived) -> Option<String> {
        let Arrived { place, what, fate } = arrived;
        match (&what, fate) {
            (What::Transaction(types) | What::Batch(types), Fate::Answered(entries)) => {
                self.add_entries(&place, types, entries);
            }
            (_, Fate::Answered(_)) => {}
            (_, Fate::Stands(status, _)) => self.count(&what, |counts| {
                counts.stands(status);
            }),
            (_, Fate::Refused(status, text)) => {
                self.count(&what, |counts| counts.failed += 1);
                self.fail(&place, Kind::of(status), Some(&what), Some(status), text);
            }
            (_, Fate::Unknown(text)) => {
                self.count(&what, |counts| counts.unknown += 1);
                self.fail(&place, Kind::Unknown, Some(&what), None, text);
            }
            (_, Fate::Hopeless(text)) => {
                self.count(&what, |counts| counts.failed += 1);
                self.fail(&place, Kind::NotDone, Some(&what), None, text.clone());
                return Some(format!("the import ended early: {text}"));
            }
        }
        None
    }

    fn add_entries(&mut self, place: &Place, types: &[String], entries: Vec<EntryAnswer>) {
        for (at, (name, entry)) in types.iter().zip(entries).enumerate() {
            let counts = self.types.entry(name.clone()).or_default();
            counts.sent += 1;
            if entry.stands() {
                counts.stands(entry.status);
                continue;
            }
            counts.failed += 1;
            let place = Place { entry: Some(at + 1), ..place.clone() };
            self.keep(Failure {
                of: Some(name.clone()),
                status: Some(entry.status),
                ..Failure::at(&place, Kind::of(entry.status), entry.text)
            });
        }
    }

    /// Counts what a shipment holds, all alike.
    fn count(&mut self, what: &What, with: impl Fn(&mut Counts)) {
        let single;
        let types = match what {
            What::Transaction(types) | What::Batch(types) => types.as_slice(),
            What::Put(name, _) | What::Create(name) => {
                single = [name.to_string()];
                &single
            }
        };
        for name in types {
            let counts = self.types.entry(name.clone()).or_default();
            counts.sent += 1;
            with(counts);
        }
    }

    fn fail(
        &mut self,
        place: &Place,
        kind: Kind,
        what: Option<&What>,
        status: Option<u16>,
        text: String,
    ) {
        let of = what.map(|what| match what {
            What::Transaction(types) => format!("transaction of {}", types.len()),
            What::Batch(types) => format!("batch of {}", types.len()),
            What::Put(name, _) | What::Create(name) => name.to_string(),
        });
        self.keep(Failure { of, status, ..Failure::at(place, kind, text) });
    }

    fn keep(&mut self, failure: Failure) {
        self.failures_in_all += 1;
        if self.failures.len() < KEPT {
            self.failures.push(failure);
        }
    }

    fn total(&self) -> Counts {
        let mut total = Counts::default();
        for counts in self.types.values() {
            total.sent += counts.sent;
            total.created += counts.created;
            total.existing += counts.existing;
            total.failed += counts.failed;
            total.unknown += counts.unknown;
        }
        total
    }

    /// The table, the rate, the first failures.
    pub(crate) fn text(&self) -> String {
        let mut rows: Vec<[String; 6]> =
            self.types.iter().map(|(name, counts)| counts.row(name)).collect();
        rows.push(self.total().row("total"));
        let head = ["TYPE", "SENT", "CREATED", "EXISTING", "FAILED", "UNKNOWN"];
        let mut text = columns(&head, &rows);
        text.push_str(&format!(
            "\n{} resources in {:.1} s: {:.0} resources/s\n",
            self.sent(),
            self.took.as_secs_f64(),
            per_second(self.sent(), self.took)
        ));
        if self.skipped > 0 {
            text.push_str(&format!("{} other files in the folders were left out\n", self.skipped));
        }
        for failure in self.failures.iter().take(PRINTED) {
            text.push_str(&failure.line());
        }
        let printed = self.failures.len().min(PRINTED) as u64;
        if self.failures_in_all > printed {
            text.push_str(&format!(
                "... and {} more failures; --report FILE lists them\n",
                self.failures_in_all - printed
            ));
        }
        text
    }

    pub(crate) fn write_report(
        &self,
        mut out: impl io::Write,
        ended_early: Option<&str>,
    ) -> io::Result<()> {
        let report = Report {
            complete: self.is_complete() && ended_early.is_none(),
            ended_early,
            seconds: self.took.as_secs_f64(),
            resources: self.sent(),
            resources_per_second: per_second(self.sent(), self.took),
            types: &self.types,
            total: self.total(),
            files_skipped: self.skipped,
            failures: &self.failures,
            failures_not_listed: self.failures_in_all - self.failures.len() as u64,
        };
        serde_json::to_writer_pretty(&mut out, &report)?;
        out.write_all(b"\n")?;
        out.flush()
    }
}

impl Counts {
    fn stands(&mut self, status: u16) {
        if status == 201 {
            self.created += 1;
        } else {
            self.existing += 1;
        }
    }

    fn row(&self, name: &str) -> [String; 6] {
        let number = |number: u64| number.to_string();
        [
            name.to_owned(),
            number(self.sent),
            number(self.created),
            number(self.existing),
            number(self.failed),
            number(self.unknown),
        ]
    }
}

impl Failure {
    fn at(place: &Place, kind: Kind, text: String) -> Self {
        Self {
            file: place.file.to_string(),
            line: place.line,
            entry: place.entry,
            kind,
            of: None,
            status: None,
            text,
        }
    }

    fn line(&self) -> String {
        let word = match self.kind {
            Kind::Unreadable => "unreadable",
            Kind::Refused => "refused",
            Kind::Quarantined => "quarantined",
            Kind::Unknown => "unknown whether done",
            Kind::NotDone => "not done",
        };
        let mut line = format!("{word}: {}:{}", self.file, self.line);
        if let Some(entry) = self.entry {
            line.push_str(&format!(" entry {entry}"));
        }
        if let Some(of) = &self.of {
            line.push_str(&format!(" ({of})"));
        }
        line.push(':');
        if let Some(status) = self.status {
            line.push_str(&format!(" {status}"));
        }
        line.push_str(&format!(" {}\n", self.text));
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{ResourceId, ResourceType};

    fn place() -> Place {
        Place { file: "f.ndjson".into(), line: 3, entry: None }
    }

    fn put() -> What {
        What::Put(ResourceType::new("Basic").unwrap(), ResourceId::new("1").unwrap())
    }

    fn tallied(arrivals: Vec<(What, Fate)>) -> (Tally, Vec<Option<String>>) {
        let mut tally = Tally::new(0);
        let ends = arrivals
            .into_iter()
            .map(|(what, fate)| tally.add(Arrived { place: place(), what, fate }))
            .collect();
        tally.took(Duration::from_secs(2));
        (tally, ends)
    }

    #[test]
    fn everything_sent_is_counted_under_its_type_and_its_fate() {
        let types = || vec!["Patient".to_owned(), "Basic".to_owned()];
        let answers = [(201, ""), (422, "no")].map(|(status, text)| EntryAnswer {
            status,
            location: None,
            text: text.to_owned(),
        });
        let (tally, ends) = tallied(vec![
            (What::Batch(types()), Fate::Answered(answers.into())),
            (What::Transaction(types()), Fate::Unknown("cut".to_owned())),
            (What::Transaction(types()), Fate::Refused(422, "bad".to_owned())),
            (put(), Fate::Stands(200, None)),
            (put(), Fate::Stands(201, None)),
            (put(), Fate::Refused(202, "odd".to_owned())),
        ]);
        assert!(ends.iter().all(Option::is_none));
        let counts = |created, existing, failed, unknown| Counts {
            sent: created + existing + failed + unknown,
            created,
            existing,
            failed,
            unknown,
        };
        assert_eq!(tally.types["Patient"], counts(1, 0, 1, 1));
        assert_eq!(tally.types["Basic"], counts(1, 1, 3, 1));
        assert_eq!(tally.sent(), 9);
        assert!(!tally.is_complete());
        let text = tally.text();
        for line in [
            "total    9     2        1         4       2",
            "9 resources in 2.0 s: 4 resources/s",
            "refused: f.ndjson:3 entry 2 (Basic): 422 no",
            "unknown whether done: f.ndjson:3 (transaction of 2): cut",
            "refused: f.ndjson:3 (transaction of 2): 422 bad",
            "quarantined: f.ndjson:3 (Basic): 202 odd",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
        }
    }

    #[test]
    fn what_is_hopeless_ends_the_import() {
        let (tally, ends) = tallied(vec![(put(), Fate::Hopeless("away".to_owned()))]);
        assert_eq!(ends, [Some("the import ended early: away".to_owned())]);
        assert!(!tally.is_complete());
    }

    #[test]
    fn the_report_lists_what_failed_and_how_many_more() {
        let mut tally = Tally::new(1);
        for _ in 0..KEPT + 5 {
            tally.unreadable(place(), "no JSON".to_owned());
        }
        let mut bytes = Vec::new();
        tally.write_report(&mut bytes, Some("why")).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(report["complete"], false);
        assert_eq!(report["endedEarly"], "why");
        assert_eq!(report["filesSkipped"], 1);
        assert_eq!(report["failuresNotListed"], 5);
        assert_eq!(report["failures"].as_array().unwrap().len(), KEPT);
        let expected = serde_json::json!({
            "file": "f.ndjson", "line": 3, "kind": "unreadable", "text": "no JSON"
        });
        assert_eq!(report["failures"][0], expected);
        assert!(tally.text().contains(&format!("and {} more", KEPT + 5 - PRINTED)));
    }
}
