//! Every interaction and operation, of every kind of caller: the rows come from the server's own
//! tables, so what is added there is asked here or the tests fail.
//!
//! What each answer tells stands in `tests/golden/access_matrix.txt`, for a security officer to
//! read. Beside that each answer to who may not see all data is compared with that of a server
//! where another patient's data never were: they are the same, byte for byte.

mod callers;
mod requests;
mod rows;
mod told;
mod world;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use server::{Judged, TABLE, operations};
use tokio::task::JoinSet;

use crate::support::{Access, Answer, Site};
use callers::{Caller, Whose, denied, whole, within};
use requests::{REQUESTS, Request};
use rows::{VIAS, Via, gaps, rows};
use world::{Other, clinic};

/// A server that has another patient's data, and one that has not.
struct Pair {
    with: Site,
    without: Site,
    at: [u64; 2],
}

impl Pair {
    async fn start() -> Self {
        let (with, without) = (clinic(Other::IsThere).await, clinic(Other::NeverWas).await);
        let at = [with.position(), without.position()];
        Self { with, without, at }
    }

    /// What both answer. Where something is written, the next request meets new servers.
    async fn answers(&mut self, sent: &Sent, access: &Access) -> [Answer; 2] {
        let answers = [sent.to(&self.with, access).await, sent.to(&self.without, access).await];
        if self.is_changed() {
            *self = Self::start().await;
        }
        answers
    }

    fn is_changed(&self) -> bool {
        [self.with.position(), self.without.position()] != self.at
    }
}

/// A request about somebody's data, as it is sent.
struct Sent {
    method: String,
    target: String,
    header: Option<(&'static str, String)>,
    body: String,
}

impl Sent {
    fn of(request: &Request, via: Via, whose: Whose) -> Self {
        let target = whose.fill(request.target);
        let header = request.header.map(|(name, value)| (name, whose.fill(value)));
        let body = request.body.map(|body| whose.fill(body));
        let bundle = match via {
            Via::Itself => {
                let (method, body) = (request.method.to_owned(), body.unwrap_or_default());
                return Self { method, target, header, body };
            }
            Via::Batch => "batch",
            Via::Transaction => "transaction",
        };
        let mut entry = json!({ "request": { "method": request.method, "url": target } });
        if let Some((name, value)) = header {
            let name = match name {
                "if-match" => "ifMatch",
                "if-none-match" => "ifNoneMatch",
                "if-none-exist" => "ifNoneExist",
                other => panic!("no entry has {other}"),
            };
            entry["request"][name] = value.into();
        }
        if let Some(body) = body {
            entry["resource"] = serde_json::from_str::<Value>(&body).unwrap();
        }
        let bundle = json!({ "resourceType": "Bundle", "type": bundle, "entry": [entry] });
        let (method, target) = ("POST".to_owned(), String::new());
        Self { method, target, header: None, body: bundle.to_string() }
    }

    async fn to(&self, site: &Site, access: &Access) -> Answer {
        let mut ask = site.ask(&self.method, &self.target).by(access);
        let mut media_type = "application/fhir+json";
        match &self.header {
            Some(("content-type", form)) => media_type = form,
            Some((name, value)) => ask = ask.header(name, value),
            None => {}
        }
        if !self.body.is_empty() {
            ask = ask.bytes(media_type, self.body.clone());
        }
        ask.send().await
    }

    /// All that the caller says of its own accord.
    fn named(&self) -> String {
        let header = self.header.as_ref().map_or("", |(_, value)| value);
        format!("{} {header} {}", self.target, self.body)
    }
}

/// Lines of the matrix, those that are the same put together.
#[derive(Default)]
struct Lines(Vec<(&'static str, String, Vec<String>)>);

impl Lines {
    fn add(&mut self, whose: &'static str, who: &str, short: String) {
        let same = self.0.iter_mut().find(|(of, line, _)| *of == whose && *line == short);
        match same {
            Some((.., callers)) => callers.push(who.to_owned()),
            None => self.0.push((whose, short, vec![who.to_owned()])),
        }
    }

    fn write(&self, text: &mut String, via: Via) {
        let all = within().iter().map(|caller| caller.name.clone()).collect::<Vec<_>>().join(" ");
        for (whose, line, callers) in &self.0 {
            let callers = callers.join(" ").replace(&all, "any part");
            let line = format!("  {:<13}{whose:<7}{callers:<42} {line}", via.name());
            writeln!(text, "{}", line.trim_end()).unwrap();
        }
    }
}

/// What comes of some requests.
#[derive(Default)]
struct Seen {
    /// Lines of the matrix.
    text: String,
    /// Rows that tell who sees everything whether the other's data are there.
    telling: BTreeSet<&'static str>,
    /// Answers that tell somebody who may not know.
    leaks: String,
}

/// Asks requests in every way of everyone.
async fn ask(requests: &[Request]) -> Seen {
    let mut pair = Pair::start().await;
    let mut seen = Seen::default();
    for request in requests {
        writeln!(seen.text, "\n{:<32}{}", request.row, request.name()).unwrap();
        for via in VIAS.into_iter().filter(|via| request.goes(*via)) {
            let mut lines = Lines::default();
            let asked = Asked { request, via, whose: Whose::Other };
            for caller in denied(request) {
                let answer = seen.same(asked, &caller, &mut pair).await;
                seen.check_denied(asked, &caller, &answer);
                lines.add("any", &caller.name, told::short(&answer, via, &asked.sent().named()));
            }
            for whose in request.others(via).iter().copied().chain([Whose::Mine]) {
                let asked = Asked { whose, ..asked };
                // As an entry a write is judged by the code that judges it alone: one kind shows it.
                let is_enough = if via == Via::Itself || whose != Whose::Mine { 6 } else { 1 };
                for caller in within().into_iter().take(is_enough) {
                    let answer = seen.same(asked, &caller, &mut pair).await;
                    let short = told::short(&answer, via, &asked.sent().named());
                    lines.add(whose.name(), &caller.name, short);
                }
                if via != Via::Itself && whose != Whose::Mine {
                    continue;
                }
                let [with, without] = pair.answers(&asked.sent(), &whole().access).await;
                let short = told::short(&with, via, &asked.sent().named());
                lines.add(whose.name(), "everything", short);
                if told::all(&with) != told::all(&without) {
                    seen.telling.insert(request.row);
                }
            }
            lines.write(&mut seen.text, via);
        }
    }
    seen
}

/// What is asked, how and of whom.
#[derive(Clone, Copy)]
struct Asked<'r> {
    request: &'r Request,
    via: Via,
    whose: Whose,
}

impl Asked<'_> {
    fn sent(self) -> Sent {
        Sent::of(self.request, self.via, self.whose)
    }

    fn name(self, caller: &Caller) -> String {
        let (via, whose) = (self.via.name(), self.whose.name());
        format!("{} by {via}, of {whose}, as {}", self.request.name(), caller.name)
    }
}

impl Seen {
    /// The answer, which is the same whether the other patient's data are there or never were.
    async fn same(&mut self, asked: Asked<'_>, caller: &Caller, pair: &mut Pair) -> Answer {
        let [with, without] = pair.answers(&asked.sent(), &caller.access).await;
        let (told, never) = (told::all(&with), told::all(&without));
        if told != never {
            let name = asked.name(caller);
            writeln!(self.leaks, "{name}: {told}\nis not what never was: {never}").unwrap();
        }
        with
    }

    /// Who lacks a rule is refused, but for what is open, and what asks for nothing.
    fn check_denied(&mut self, asked: Asked<'_>, caller: &Caller, answer: &Answer) {
        let is_open = asked.request.row == "capabilities";
        let is_empty = asked.request.row == "batch-or-transaction" && caller.name != "public";
        let status = told::status(answer, asked.via);
        // What no Bundle takes is 400 to everyone, as the matrix shows of who may do everything.
        let is_alone = asked.via != Via::Itself && asked.request.row.starts_with("$quarantine");
        let is_denied = status == 403 || (is_alone && status == 400);
        if !is_open && !is_empty && !is_denied {
            writeln!(self.leaks, "{}: {status}", asked.name(caller)).unwrap();
        }
    }
}

const HEAD: &str = "\
What every kind of caller is told: interactions and operations as requests of their own and as
entries of batches and transactions.

Whose data a request is about: own (o-mine, p-mine), other (o-other, p-other), moved (o-moved, of
p-other now, of p-mine once), gone (o-gone of p-other, deleted); any: whosever.
Who asks: public (no caller), other type (a rule for another type alone), no ACTION (rules for all
types without that action), any part (rules for everything within a compartment, a group, care
teams, own writing, a filter, without a label, each of p-mine's data alone), everything.
What is told: status, body, whether there are a Location and an ETag, and the ids in all of it; in
brackets those that the request names itself; NEW is one that the server chose.
";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_each_caller_is_told_is_as_the_security_officer_read_it() {
    // LEAK-11, LEAK-12, LEAK-13, LEAK-26, LEAK-29
    let mut asking = JoinSet::new();
    let parts = REQUESTS.len().div_ceil(4);
    for (at, requests) in REQUESTS.chunks(parts).enumerate() {
        asking.spawn(async move { (at, ask(requests).await) });
    }
    let mut parts = asking.join_all().await;
    parts.sort_by_key(|(at, _)| *at);
    let mut text = HEAD.to_owned();
    let (mut telling, mut leaks) = (BTreeSet::new(), String::new());
    for (_, seen) in parts {
        text += &seen.text;
        telling.extend(seen.telling);
        leaks += &seen.leaks;
    }
    assert!(leaks.is_empty(), "{leaks}");
    // A comparison shows something where the other's data could be seen.
    let operations = operations();
    let judged = TABLE.iter().map(|row| row.judged);
    let judged = judged.chain(operations.iter().map(|row| row.judged));
    for (row, judged) in rows(&TABLE, &operations).iter().zip(judged) {
        let tells = !matches!(judged, Judged::Open | Judged::Entries) && row != "operation";
        let is_empty = row.starts_with("$quarantine");
        assert_eq!(telling.contains(row.as_str()), tells && !is_empty, "{row}");
    }
    compare(&text);
}

/// When answers change on purpose, the new file is read and copied over the old one, by hand.
fn compare(actual: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/access_matrix.txt");
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    if actual == expected {
        return;
    }
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("access_matrix.txt");
    std::fs::write(&fresh, actual).unwrap();
    let (mut old, mut new) = (expected.lines(), actual.lines());
    let mut changes = String::new();
    for _ in 0..expected.lines().count().max(actual.lines().count()) {
        let (old, new) = (old.next().unwrap_or(""), new.next().unwrap_or(""));
        if old != new {
            writeln!(changes, "-{old}\n+{new}").unwrap();
        }
    }
    panic!("{changes}answers changed; the new matrix is {}", fresh.display());
}

#[test]
fn every_interaction_and_operation_is_asked_as_every_kind_of_caller() {
    // LEAK-22
    assert_eq!(gaps(&TABLE, &operations(), REQUESTS), [""; 0]);
}

#[test]
fn a_row_without_requests_is_found() {
    let mut merge = TABLE[0];
    merge.code = "merge";
    let mut table = TABLE.to_vec();
    table.push(merge);
    let vias = |row: &str| VIAS.map(|via| format!("{row} is not asked by {}", via.name()));
    assert_eq!(gaps(&table, &operations(), REQUESTS), vias("merge"));
    let mut rows = operations();
    let mut match_patients = rows[0].clone();
    (match_patients.name, match_patients.on) = ("$match", "Patient".to_owned());
    rows.push(match_patients);
    assert_eq!(gaps(&TABLE, &rows, REQUESTS), vias("Patient $match"));
    // And so is a request that is of no row, or of another.
    let without: Vec<_> = TABLE.iter().copied().filter(|row| row.code != "history-type").collect();
    let gap = "GET Observation/_history is of no row: history-type";
    assert!(gaps(&without, &operations(), REQUESTS).contains(&gap.to_owned()));
    let wrong = Request { row: "read", ..*REQUESTS.iter().find(|it| it.row == "vread").unwrap() };
    let gap = "GET Observation/[o]/_history/1 is of vread, not of read";
    assert_eq!(gaps(&TABLE, &operations(), &[REQUESTS, &[wrong]].concat()), [gap]);
}
