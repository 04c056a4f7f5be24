//! Search parameters that are defined anew while others search: what of a query no index has yet
//! is looked for in the resources, and all else is answered from the index that there is.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::Builder;
use std::time::Duration;

use database::{Asked, Expect, Found, IndexedBy, SearchError};
use fhir_core::json::Document;
use fhir_schema::conformance::SearchParameter;
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::{Extractor, Handling, Zone};

use super::{EXTRACTOR, asked};
use crate::differential::{BASE, read_by};
use crate::support::{Clinic, block_on, put};

const PATIENTS: usize = 1500;

/// The usual parameters, and `own` of patients with this expression.
pub(super) fn with_own(kind: &str, expression: &str) -> Arc<Extractor<'static>> {
    let json = format!(
        r#"{{"resourceType":"SearchParameter","url":"http://own.example/own","status":"active",
            "code":"own","base":["Patient"],"type":"{kind}","expression":"{expression}"}}"#
    );
    let document = Document::parse(json.as_bytes()).unwrap();
    let definition = SearchParameter::read(document.root(), "own").unwrap();
    let (definitions, schema) = (DefinitionSet::r4(), Schema::r4());
    let (parameters, errors) =
        EXTRACTOR.parameters().with_posted(&[Arc::new(definition)], definitions, schema);
    assert_eq!(errors, []);
    Arc::new(EXTRACTOR.with_parameters(Arc::new(parameters)))
}

/// Each second one female, each third one married.
fn indexed() -> Clinic {
    let clinic = Clinic::over_sled();
    for begin in (0..PATIENTS).step_by(500) {
        let changes = (begin..begin + 500).map(|id| {
            let gender = if id % 2 == 0 { "female" } else { "male" };
            let married = if id % 3 == 0 { "M" } else { "S" };
            let json = format!(
                r#"{{"resourceType":"Patient","gender":"{gender}",
                    "maritalStatus":{{"coding":[{{"code":"{married}"}}]}}}}"#
            );
            put(&format!("Patient/{id}"), &json, Expect::Any)
        });
        clinic.commit(changes.collect()).unwrap();
    }
    let extractor = Arc::clone(&EXTRACTOR);
    let by = IndexedBy { extractor, base: BASE.into(), zone: Zone::UTC };
    clinic.database().index_by(by).unwrap();
    assert!(clinic.database().wait_for_index(Duration::from_secs(60)));
    clinic
}

/// What is found with no more looked at than an index must.
const LITTLE: u64 = 40;

fn search(
    clinic: &Clinic,
    extractor: &Arc<Extractor<'static>>,
    request: &str,
    (most, after, budget): (usize, Option<&[u8]>, u64),
) -> Result<Found, SearchError> {
    let query = read_by(extractor, request, Handling::Strict).unwrap();
    let asked = Asked { extractor, most, after, budget, ..asked() };
    block_on(clinic.snapshot().search(&query, &asked))
}

/// Asks for a new parameter until it is indexed; how often it was not.
fn until_indexed(clinic: &Clinic, extractor: &Arc<Extractor<'static>>, request: &str) -> usize {
    for tries in 0..100_000 {
        match search(clinic, extractor, request, (1, None, LITTLE)) {
            Ok(_) => return tries,
            Err(SearchError::TooCostly { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it is not indexed");
}

#[test]
fn a_new_parameter_is_found_by_at_once_and_what_asks_by_others_needs_no_scan_meanwhile() {
    // SRCH-237, SRCH-240
    let clinic = indexed();
    let own = with_own("token", "Patient.maritalStatus");
    clinic.database().index_with(&own).unwrap();
    let first = search(&clinic, &own, "Patient?own=M", (1, None, 1_000_000)).unwrap();
    assert_eq!(first.total, Some(500));
    let being_indexed = first.being_indexed.expect("nothing is indexed yet");
    assert_eq!(being_indexed.parameters.iter().map(|it| it.code()).collect::<Vec<_>>(), ["own"]);
    assert!(being_indexed.percent < 100);
    let mut written = 0;
    loop {
        // The old index goes on following the log: by so few that `LITTLE` does for them.
        if written < 200 {
            let json = r#"{"resourceType":"Patient","gender":"other","maritalStatus":{"coding":[{"code":"M"}]}}"#;
            clinic.write(put(&format!("Patient/new-{written}"), json, Expect::Any));
            written += 1;
        }
        let others = search(&clinic, &own, "Patient?gender=other", (0, None, LITTLE)).unwrap();
        assert_eq!((others.total, others.being_indexed), (Some(written), None));
        let found = search(&clinic, &own, "Patient?own=M", (0, None, 1_000_000)).unwrap();
        assert_eq!(found.total, Some(500 + written));
        if found.being_indexed.is_none() && clinic.database().being_indexed(&own).is_none() {
            break;
        }
    }
    until_indexed(&clinic, &own, "Patient?own=M&gender=female");
}

#[test]
fn pages_go_on_in_the_next_index_and_end_clearly_where_a_parameter_is_another_now() {
    // SRCH-240
    let clinic = indexed();
    let married = with_own("token", "Patient.maritalStatus");
    let by_gender = "Patient?gender=female&_sort=_id";
    let first = search(&clinic, &EXTRACTOR, by_gender, (700, None, LITTLE)).unwrap();
    clinic.database().index_with(&married).unwrap();
    let scanned = search(&clinic, &married, "Patient?own=M", (300, None, 1_000_000)).unwrap();
    until_indexed(&clinic, &married, "Patient?own=M");
    let second =
        search(&clinic, &married, by_gender, (700, first.next.as_deref(), LITTLE)).unwrap();
    assert_eq!((first.matches.len(), second.matches.len()), (700, 50));
    let ids = |found: &Found| found.matches.iter().map(|it| it.id.clone()).collect::<Vec<_>>();
    assert!(ids(&second).iter().all(|id| !ids(&first).contains(id)));
    let after = (300, scanned.next.as_deref(), 1_000_000);
    assert_eq!(search(&clinic, &married, "Patient?own=M", after).unwrap().matches.len(), 200);
    // It is another parameter now.
    let in_index = search(&clinic, &married, "Patient?own=M", (300, None, LITTLE)).unwrap();
    let of_gender = with_own("token", "Patient.gender");
    clinic.database().index_with(&of_gender).unwrap();
    for next in [scanned.next, in_index.next] {
        let after = (300, next.as_deref(), 1_000_000);
        let request = "Patient?own=female";
        let gone = search(&clinic, &of_gender, request, after).unwrap_err();
        assert!(matches!(gone, SearchError::ParametersChanged), "{gone}");
    }
    let found = search(&clinic, &of_gender, "Patient?own=female", (0, None, 1_000_000));
    assert_eq!(found.unwrap().total, Some(750));
    until_indexed(&clinic, &of_gender, "Patient?own=female");
}

#[test]
fn what_is_removed_or_changed_back_needs_no_other_index() {
    // SRCH-240
    let clinic = indexed();
    let own = with_own("token", "Patient.maritalStatus");
    clinic.database().index_with(&own).unwrap();
    clinic.database().index_with(&EXTRACTOR).unwrap();
    assert_eq!(clinic.database().being_indexed(&EXTRACTOR), None);
    let found = search(&clinic, &EXTRACTOR, "Patient?gender=female", (0, None, LITTLE));
    assert_eq!(found.unwrap().total, Some(750));
    // What finds the same is no other parameter.
    let same = with_own("token", "Patient.maritalStatus");
    clinic.database().index_with(&own).unwrap();
    until_indexed(&clinic, &own, "Patient?own=M");
    clinic.database().index_with(&same).unwrap();
    assert_eq!(clinic.database().being_indexed(&same), None);
}

#[test]
fn parameters_that_are_defined_again_and_again_are_indexed_all_the_same() {
    // SRCH-240
    let clinic = indexed();
    let expressions = ["Patient.maritalStatus", "Patient.gender", "Patient.communication.language"];
    let all = expressions.map(|expression| with_own("token", expression));
    let (changing, each, (end, is_over)) = (Arc::clone(clinic.database()), all.clone(), channel());
    let changes = Builder::new().spawn(move || {
        let mut newest = 0;
        while is_over.try_recv().is_err() {
            newest = (newest + 1) % each.len();
            changing.index_with(&each[newest]).unwrap();
        }
        newest
    });
    // What is being made is not given up for what is newer.
    let is_current = |own: &Arc<Extractor<'static>>| {
        search(&clinic, own, "Patient?own=x", (1, None, LITTLE)).is_ok()
    };
    while !all.iter().any(is_current) {
        std::thread::yield_now();
    }
    end.send(()).unwrap();
    let newest = &all[changes.unwrap().join().unwrap()];
    until_indexed(&clinic, newest, "Patient?own=x");
    assert_eq!(clinic.database().being_indexed(newest), None);
}

#[test]
fn parameters_that_are_changed_back_as_the_next_index_is_made_are_indexed_as_they_were() {
    // SRCH-240
    let clinic = Clinic::over_the_model();
    clinic.write(put("Patient/1", r#"{"resourceType":"Patient","gender":"male"}"#, Expect::Any));
    let [own, other] =
        ["Patient.gender", "Patient.maritalStatus"].map(|expression| with_own("token", expression));
    let by = IndexedBy { extractor: Arc::clone(&own), base: BASE.into(), zone: Zone::UTC };
    clinic.database().index_by(by).unwrap();
    assert!(clinic.database().wait_for_index(Duration::from_secs(60)));
    for round in 0..200 {
        clinic.database().index_with(&other).unwrap();
        // Somewhere about where the next index stands in the place of the current one.
        for _ in 0..round * 20 {
            std::thread::yield_now();
        }
        clinic.database().index_with(&own).unwrap();
        until_indexed(&clinic, &own, "Patient?own=male");
    }
}

#[test]
fn an_index_that_is_begun_while_its_database_closes_ends_with_it() {
    let own = with_own("token", "Patient.maritalStatus");
    for round in 0..20 {
        let clinic = Clinic::over_the_model();
        let extractor = Arc::clone(&EXTRACTOR);
        let by = IndexedBy { extractor, base: BASE.into(), zone: Zone::UTC };
        clinic.database().index_by(by).unwrap();
        assert!(clinic.database().wait_for_index(Duration::from_secs(60)));
        let (changing, own) = (Arc::clone(clinic.database()), Arc::clone(&own));
        let changes = Builder::new().spawn(move || {
            while changing.takes_commits() {
                changing.index_with(&own).unwrap();
                changing.index_with(&EXTRACTOR).unwrap();
            }
        });
        let (closing, (closed, is_closed)) = (Arc::clone(clinic.database()), channel());
        let closes = Builder::new().spawn(move || closed.send(closing.close().is_ok()));
        let answer = is_closed.recv_timeout(Duration::from_secs(30));
        assert_eq!(answer, Ok(true), "it does not close in round {round}");
        changes.unwrap().join().unwrap();
        closes.unwrap().join().unwrap().unwrap();
    }
}

#[test]
fn a_hostile_parameter_stops_neither_commits_nor_the_index() {
    // SRCH-240
    let clinic = indexed();
    let expression = "Patient.name.where(given.exists()).select(%resource.descendants()).count()";
    let hostile = with_own("number", expression);
    clinic.database().index_with(&hostile).unwrap();
    until_indexed(&clinic, &hostile, "Patient?own=0");
    let names = r#"{"family":"F","given":["G"]},"#.repeat(500);
    let names = names.trim_end_matches(',');
    let json = format!(r#"{{"resourceType":"Patient","gender":"other","name":[{names}]}}"#);
    clinic.write(put("Patient/long", &json, Expect::Any));
    let of_other = search(&clinic, &hostile, "Patient?gender=other", (0, None, LITTLE)).unwrap();
    assert_eq!(of_other.total, Some(1));
    let without = "Patient?gender=other&own:missing=true";
    assert_eq!(search(&clinic, &hostile, without, (0, None, LITTLE)).unwrap().total, Some(1));
    let left_out = clinic.database().left_out_of_index();
    assert_eq!(left_out, [("Patient".into(), "own".into(), 1)]);
}
