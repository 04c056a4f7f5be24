//! The audit: every request is written down with who saw what, and what cannot be is not done.

use std::sync::atomic::Ordering;
use std::time::Duration;

use contract::Power;
use serde_json::Value;
use store::audit::{Event, Outcome};

use crate::support::{Access, Answer, PATIENCE, Site, rule};

async fn get(site: &Site, target: &str) -> Answer {
    site.ask("GET", target).send().await
}

async fn put(site: &Site, target: &str, body: &str) {
    let (of, id) = target.split_once('/').unwrap();
    let body = format!(r#"{{"resourceType":"{of}","id":"{id}"{body}}}"#);
    let answer = site.ask("PUT", target).body(body).send().await;
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
}

/// A site with two patients and an observation of the first.
async fn with_data() -> Site {
    let site = Site::on_disk().await;
    put(&site, "Patient/a", r#","name":[{"family":"Seldom"}]"#).await;
    put(&site, "Patient/b", "").await;
    let observation =
        r#","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/a"}"#;
    put(&site, "Observation/o", observation).await;
    site
}

fn auditor() -> Access {
    Access::owner().with(Power::Audit)
}

fn patients(event: &Event) -> Vec<&str> {
    event.patients.iter().map(|patient| &**patient).collect()
}

fn told(event: &Event) -> (&str, u16, Vec<&str>) {
    (event.act.kind.code(), event.act.status, patients(event))
}

#[tokio::test]
async fn each_request_is_one_event_with_whose_data_it_showed() {
    // SEC-AUD
    let site = with_data().await;
    let before = site.audited().await.len();
    assert_eq!(before, 3);
    get(&site, "Observation/o").await.is(200);
    get(&site, "Observation/o/_history/1").await.is(200);
    get(&site, "Patient/b").await.is(200);
    get(&site, "Patient/none").await.is(404);
    get(&site, "Observation?subject=Patient/a&_include=Observation:subject").await.is(200);
    get(&site, "Observation/o/_history").await.is(200);
    get(&site, "Patient?family=Seldom&_elements=gender").await.is(200);
    site.ask("DELETE", "Observation/o").send().await.is(204);
    get(&site, "metadata").await.is(200);
    let events = site.audited().await;
    let events: Vec<_> = events[before..].iter().collect();
    let all: Vec<_> = events.iter().map(|event| told(event)).collect();
    assert_eq!(
        all,
        [
            ("read", 200, vec!["a"]),
            ("vread", 200, vec!["a"]),
            ("read", 200, vec!["b"]),
            ("read", 404, vec![]),
            ("search-type", 200, vec!["a"]),
            ("history-instance", 200, vec!["a"]),
            ("search-type", 200, vec!["a"]),
            ("delete", 204, vec!["a"]),
        ]
    );
    let read = events[0];
    assert_eq!(read.client.as_deref(), Some("clinic-app"));
    let act = (read.act.resource_type.as_deref(), read.act.id.as_deref(), read.act.version);
    assert_eq!(act, (Some("Observation"), Some("o"), Some(1)));
    let shown: Vec<_> =
        events[4].shown.iter().map(|of| format!("{}/{}", of.resource_type, of.id)).collect();
    assert_eq!(shown, ["Observation/o", "Patient/a"]);
    assert_eq!(events[3].outcome, Outcome::NotFound);
}

#[tokio::test]
async fn values_of_queries_are_not_kept() {
    let site = with_data().await;
    get(&site, "Patient?family=Seldom&birthdate=1970-01-01").await.is(200);
    let form = site.ask("POST", "Patient/_search");
    form.bytes("application/x-www-form-urlencoded", "family:exact=Seldom").send().await.is(200);
    let events = site.audited().await;
    let queries: Vec<_> = events.iter().filter_map(|event| event.query.as_deref()).collect();
    assert_eq!(queries, ["family=&birthdate=", "family:exact="]);
    assert!(!format!("{events:?}").contains("Seldom"));
}

#[tokio::test]
async fn a_bundle_is_one_event_that_says_what_its_entries_did() {
    let site = with_data().await;
    for kind in ["batch", "transaction"] {
        let bundle = format!(
            r#"{{"resourceType":"Bundle","type":"{kind}","entry":[
            {{"request":{{"method":"GET","url":"Patient/b"}}}},
            {{"resource":{{"resourceType":"Basic","id":"x","code":{{"text":"t"}},
              "subject":{{"reference":"Patient/a"}}}},
              "request":{{"method":"PUT","url":"Basic/x"}}}}]}}"#
        );
        site.ask("POST", "").body(bundle).send().await.is(200);
        let events = site.audited().await;
        let event = events.last().unwrap();
        assert_eq!(told(event), ("batch-or-transaction", 200, vec!["a", "b"]), "{kind}");
        let mut entries: Vec<_> = event
            .entries
            .iter()
            .map(|act| (act.kind.code(), act.resource_type.as_deref(), act.id.as_deref()))
            .collect();
        entries.sort_unstable();
        let expected = [("read", Some("Patient"), Some("b")), ("update", Some("Basic"), Some("x"))];
        assert_eq!(entries, expected, "{kind}");
    }
}

#[tokio::test]
async fn what_is_denied_is_written_down_and_what_a_caller_may_not_see_is_told_inside() {
    let site = with_data().await;
    let reads_observations = Access::of(vec![rule(&["Observation"], &["read"], "all")]);
    site.ask("GET", "Patient/a").by(&reads_observations).send().await.is(403);
    site.ask("GET", "Patient/b").by(&Access::of_patient("a")).send().await.is(404);
    let events = site.audited().await;
    let [denied, unseen] = &events[events.len() - 2..] else { panic!("two events") };
    assert_eq!((denied.outcome, denied.restricted), (Outcome::Denied, false));
    assert_eq!(patients(denied), ["a"]);
    assert_eq!((unseen.outcome, unseen.restricted), (Outcome::NotFound, true));
}

#[tokio::test]
async fn audit_events_are_found_by_who_has_the_power_alone() {
    let site = with_data().await;
    get(&site, "Patient/a").await.is(200);
    get(&site, "AuditEvent").await.is(403);
    get(&site, "AuditEvent/log-0").await.is(403);
    let search = async |query: &str| {
        let found = site.ask("GET", query).by(&auditor()).send().await.is(200).json();
        let entries = found["entry"].as_array().cloned().unwrap_or_default();
        let next = found["link"].as_array().unwrap().iter().find(|it| it["relation"] == "next");
        let next = next.map(|it| it["url"].as_str().unwrap().to_owned());
        (entries.into_iter().map(|it| it["resource"].clone()).collect::<Vec<Value>>(), next)
    };
    let (of_patient, _) = search("AuditEvent?patient=a&_count=2").await;
    assert_eq!(of_patient.len(), 2);
    let read = &of_patient[0];
    let profile =
        "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientRead";
    assert_eq!(read["meta"]["profile"][0], profile);
    assert_eq!((&read["action"], &read["outcome"]), (&"R".into(), &"0".into()));
    assert_eq!(read["entity"][0]["what"]["reference"], "Patient/a");
    // Page by page it is all, each once.
    let (mut ids, mut query) =
        (Vec::new(), "AuditEvent?agent=clinic-app&date=ge2026-01-02&_count=3".to_owned());
    loop {
        let (events, next) = search(&query).await;
        ids.extend(events.iter().map(|it| it["id"].as_str().unwrap().to_owned()));
        let Some(next) = next else { break };
        query = next.split_once("/fhir/").unwrap().1.to_owned();
    }
    let numbers: Vec<u64> = ids.iter().map(|id| id["log-".len()..].parse().unwrap()).collect();
    assert!(
        numbers.windows(2).all(|pair| pair[0] == pair[1] + 1) && *numbers.last().unwrap() == 0,
        "{numbers:?}"
    );
    assert_eq!(search("AuditEvent?entity=Observation/o").await.0.len(), 1);
    assert!(search("AuditEvent?date=lt2026-01-02").await.0.is_empty());
    assert!(search("AuditEvent?patient=nobody").await.0.is_empty());
    let refused = site.ask("GET", "AuditEvent?subtype=read").by(&auditor()).send().await.is(400);
    assert!(refused.text().contains("date, patient, agent, entity, _count"), "{}", refused.text());
    let event = site.ask("GET", "AuditEvent/log-0").by(&auditor()).send().await.is(200).json();
    assert_eq!((&event["action"], &event["id"]), (&"U".into(), &"log-0".into()));
    site.ask("GET", "AuditEvent/log-99999").by(&auditor()).send().await.is(404);
}

#[tokio::test]
async fn nobody_makes_changes_or_deletes_audit_events() {
    let site = with_data().await;
    let body = r#"{"resourceType":"AuditEvent","id":"log-0"}"#;
    let patch = r#"[{"op":"remove","path":"/outcome"}]"#;
    let all = [
        site.ask("POST", "AuditEvent").body(body),
        site.ask("PUT", "AuditEvent/log-0").body(body),
        site.ask("PUT", "AuditEvent?date=2026").body(body),
        site.ask("PATCH", "AuditEvent/log-0").bytes("application/json-patch+json", patch),
        site.ask("DELETE", "AuditEvent/log-0"),
        site.ask("DELETE", "AuditEvent?date=2026"),
    ];
    for ask in all {
        let refused = ask.by(&auditor()).send().await.is(405);
        assert!(refused.text().contains("records itself"), "{}", refused.text());
    }
    let bundle = |kind: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{{"resource":{body},
            "request":{{"method":"POST","url":"AuditEvent"}}}}]}}"#
        )
    };
    let ask = site.ask("POST", "").by(&auditor());
    ask.body(bundle("transaction")).send().await.is(405);
    let ask = site.ask("POST", "").by(&auditor());
    let batch = ask.body(bundle("batch")).send().await.is(200);
    assert_eq!(batch.entry(0)["status"], "405 Method Not Allowed");
}

#[tokio::test]
async fn a_patient_sees_who_looked_at_the_record_in_plain_words() {
    let site = with_data().await;
    get(&site, "Observation?subject=Patient/a").await.is(200);
    get(&site, "Patient/b").await.is(200);
    let ask = async |path: &str, access: &Access| site.ask("GET", path).by(access).send().await;
    let patient = Access::of_patient("a");
    let log = ask("Patient/a/$access-log", &patient).await.is(200).json();
    let accesses = log["parameter"].as_array().unwrap();
    let what: Vec<&str> =
        accesses.iter().map(|it| it["part"][2]["valueString"].as_str().unwrap()).collect();
    assert_eq!(
        what,
        [
            "searched measurements and test results, and saw a measurement or test result",
            "wrote a measurement or test result (Observation/o)",
            "wrote your personal details",
        ]
    );
    assert_eq!(
        accesses[0]["part"][1]["valueString"],
        "the app \"clinic-app\", in no role that was named"
    );
    ask("Patient/b/$access-log", &patient).await.is(404);
    let reads_observations = Access::of(vec![rule(&["Observation"], &["read"], "all")]);
    ask("Patient/a/$access-log", &reads_observations).await.is(403);
    ask("Patient/a/$access-log", &reads_observations.with(Power::Audit)).await.is(200);
    let page = site.ask("GET", "Patient/a/$access-log?_count=1").header("accept", "text/html");
    let page = page.by(&patient).send().await.is(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let text = page.text();
    assert!(text.contains("<h2>Friday, 2 January 2026</h2>"), "{text}");
    assert!(text.contains("Looked at this list") && text.contains("Seldom"), "{text}");
    assert!(text.contains(">Show earlier entries</a>") && !text.contains("Patient/b"), "{text}");
    assert!(!text.contains("<script"), "{text}");
}

#[tokio::test]
async fn what_others_are_in_an_event_the_patient_is_not_told() {
    let site = with_data().await;
    let bundle = r#"{"resourceType":"Bundle","type":"batch","entry":[
        {"request":{"method":"GET","url":"Patient/a"}},
        {"request":{"method":"GET","url":"Patient/b"}}]}"#;
    site.ask("POST", "").body(bundle).send().await.is(200);
    get(&site, "Patient?_id=a,b").await.is(200);
    let patient = Access::of_patient("a");
    let log = site.ask("GET", "Patient/a/$access-log?_count=2").by(&patient).send().await;
    let log = log.is(200).json();
    let what = |at: usize| log["parameter"][at]["part"][2]["valueString"].as_str().unwrap();
    assert_eq!(what(0), "searched personal details, and saw some of yours");
    let rest = "the rest was about others, or about you and others";
    let own = format!("did several things at once: looked at your personal details; {rest}");
    assert_eq!(what(1), own);
}

#[tokio::test]
async fn a_deletion_that_deleted_nothing_is_not_written_down_as_one() {
    let site = with_data().await;
    let before = site.audited().await.len();
    let patient = Access::of_patient("b");
    for target in ["Patient/a", "Observation/o"] {
        site.ask("DELETE", target).by(&patient).send().await.is(204);
    }
    site.delete("Observation/o").await.is(204);
    let events = site.audited().await;
    let outcomes: Vec<Outcome> = events[before..].iter().map(|event| event.outcome).collect();
    assert_eq!(outcomes, [Outcome::NotFound, Outcome::NotFound, Outcome::Done]);
}

#[tokio::test]
async fn who_reads_patients_alone_is_told_no_clinical_data_by_the_access_log() {
    let site = with_data().await;
    get(&site, "Observation/o").await.is(200);
    get(&site, "Patient/a/Observation").await.is(200);
    let told = async |access: &Access| {
        let log = site.ask("GET", "Patient/a/$access-log").by(access).send().await.is(200);
        log.text()
    };
    let own = told(&Access::of_patient("a")).await;
    assert!(own.contains("Observation/o") && own.contains("test results"), "{own}");
    let desk = told(&Access::of(vec![rule(&["Patient"], &["read"], "all")])).await;
    assert!(!desk.contains("Observation") && !desk.contains("test result"), "{desk}");
    assert!(desk.contains("looked through data about the patient"), "{desk}");
}

#[tokio::test]
async fn each_denied_entry_of_a_batch_is_an_event_of_its_own() {
    let site = with_data().await;
    let before = site.audited().await.len();
    let bundle = r#"{"resourceType":"Bundle","type":"batch","entry":[
        {"request":{"method":"GET","url":"Observation/o"}},
        {"request":{"method":"GET","url":"Patient/a"}},
        {"request":{"method":"GET","url":"Patient/b"}}]}"#;
    let access = Access::of(vec![rule(&["Observation"], &["read"], "all")]);
    site.ask("POST", "").by(&access).body(bundle).send().await.is(200);
    let events = site.audited().await;
    let all: Vec<_> = events[before..].iter().map(told).collect();
    let whole = ("batch-or-transaction", 200, vec!["a"]);
    assert_eq!(all, [whole, ("read", 403, vec!["a"]), ("read", 403, vec!["b"])]);
    assert!(events[before + 1..].iter().all(|event| event.outcome == Outcome::Denied));
    assert_eq!(events[before].request_id, events[before + 2].request_id);
}

#[tokio::test]
async fn a_patient_is_told_nothing_of_what_a_request_did_to_others() {
    let site = with_data().await;
    let of = |id: &str, patient: &str| {
        format!(
            r#"{{"resource":{{"resourceType":"Observation","id":"{id}","status":"final",
            "code":{{"text":"x"}},"subject":{{"reference":"Patient/{patient}"}}}},
            "request":{{"method":"PUT","url":"Observation/{id}"}}}}"#
        )
    };
    let read = |path: &str| format!(r#"{{"request":{{"method":"GET","url":"{path}"}}}}"#);
    let bundle = |kind: &str, entries: &[String]| {
        let entries = entries.join(",");
        format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{entries}]}}"#)
    };
    let of_both = [of("a1", "a"), of("b1", "b"), read("Patient/a"), read("Patient/b")];
    site.ask("POST", "").body(bundle("transaction", &of_both)).send().await.is(200);
    let others = [read("Patient/a"), read("Patient/b"), read("Observation/b1")];
    site.ask("POST", "").body(bundle("batch", &others)).send().await.is(200);
    let of_one = [of("a2", "a"), of("a3", "a"), read("Observation/none")];
    site.ask("POST", "").body(bundle("batch", &of_one)).send().await.is(200);
    put(&site, "Patient/c", r#","link":[{"type":"seealso","other":{"reference":"Patient/a"}}]"#)
        .await;
    get(&site, "Patient/c/Observation?_count=1").await.is(200);
    let event = site.ask("GET", "AuditEvent/log-0").by(&auditor()).send().await.is(200);
    assert!(event.text().contains("Patient/a"), "{}", event.text());

    let patient = Access::of_patient("a");
    let log = site.ask("GET", "Patient/a/$access-log").by(&patient).send().await.is(200);
    assert!(!log.text().contains("b1") && !log.text().contains("AuditEvent"), "{}", log.text());
    let log = log.json();
    let what = log["parameter"].as_array().unwrap().iter();
    let what: Vec<&str> = what.map(|it| it["part"][2]["valueString"].as_str().unwrap()).collect();
    let rest = "the rest was about others, or about you and others";
    assert_eq!(
        what[..5],
        [
            "looked at a record of who looked at your data",
            "wrote personal details, of you and others",
            "did several things at once: wrote measurements and test results (2 times)",
            &format!("did several things at once: looked at your personal details; {rest}"),
            &format!("did several things at once: looked at your personal details; {rest}"),
        ]
    );
    let all = site.ask("GET", "Patient/a/$access-log").by(&auditor()).send().await.is(200);
    assert!(all.text().contains("AuditEvent/log-"), "{}", all.text());
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_done() {
    let site = with_data().await;
    let until = async |status: u16| {
        let waiting = async {
            loop {
                let answer = get(&site, "Patient/a").await;
                if answer.status == status {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the status comes")
    };
    site.audit_disk.is_full.store(true, Ordering::SeqCst);
    let refused = until(503).await;
    assert!(refused.text().contains("audit log cannot be written"), "{}", refused.text());
    let written = site.position();
    site.ask("POST", "Basic").body(r#"{"resourceType":"Basic"}"#).send().await.is(503);
    assert_eq!(site.position(), written);
    get(&site, "metadata").await.is(200);
    let readiness = crate::support::raw(
        &site.channel_socket,
        b"GET /ready HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(readiness.contains("503") && readiness.contains("audit log"), "{readiness}");
    site.audit_disk.is_full.store(false, Ordering::SeqCst);
    until(200).await;
    // All that was answered is there, what was answered while the disk began to refuse as well.
    let events = site.audited().await;
    assert!(events.iter().filter(|event| event.act.kind.code() == "read").count() >= 1);
}

#[tokio::test]
async fn so_many_reads_at_once_are_so_many_events() {
    let site = with_data().await;
    let before = site.audited().await.len();
    let reads = (0..200).map(|_| get(&site, "Patient/a"));
    for answer in futures_util::future::join_all(reads).await {
        answer.is(200);
    }
    assert_eq!(site.audited().await.len(), before + 200);
}

/// What the acts of an event name: type, id and version.
fn named(act: &store::audit::Act) -> String {
    let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or("-").to_owned();
    let version = act.version.map_or("-".to_owned(), |version| version.to_string());
    format!("{} {}/{}/{version}", act.kind.code(), text(&act.resource_type), text(&act.id))
}

#[tokio::test]
async fn what_criteria_delete_is_named_one_by_one_and_whose_it_was() {
    let limits = server::Limits { conditional_deletes: 3, ..server::Limits::default() };
    let site = Site::limited(limits).await;
    let basic = |patient: &str, tag: &str| {
        format!(
            r#","code":{{"text":"x"}},"subject":{{"reference":"Patient/{patient}"}},
            "meta":{{"tag":[{{"system":"urn:t","code":"{tag}"}}]}}"#
        )
    };
    for (id, patient, tag) in
        [("1", "a", "one"), ("2", "a", "two"), ("3", "b", "two"), ("4", "c", "t"), ("5", "d", "t")]
    {
        put(&site, &format!("Basic/{id}"), &basic(patient, tag)).await;
    }
    let before = site.audited().await.len();
    site.delete("Basic?_tag=urn:t|one").await.is(204);
    site.delete("Basic?_tag=urn:t|two").await.is(204);
    site.delete("Basic?_tag=urn:t|none").await.is(204);
    let entry = r#"{"request":{"method":"DELETE","url":"Basic?_tag=urn:t|t"}}"#;
    let bundle = format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entry}]}}"#);
    site.post("", bundle).await.is(200);
    let events = site.audited().await;
    let [single, several, none, bundle] = &events[before..] else { panic!("{events:?}") };
    assert_eq!(named(&single.act), "conditional-delete Basic/1/2");
    assert_eq!((single.entries.len(), patients(single)), (0, vec!["a"]));
    assert_eq!(named(&several.act), "conditional-delete Basic/-/-");
    let deleted: Vec<_> = several.entries.iter().map(named).collect();
    assert_eq!(deleted, ["delete Basic/2/2", "delete Basic/3/2"]);
    assert_eq!(patients(several), ["a", "b"]);
    assert_eq!(
        (named(&none.act).as_str(), none.entries.len()),
        ("conditional-delete Basic/-/-", 0)
    );
    let deleted: Vec<_> = bundle.entries.iter().map(named).collect();
    let expected = ["conditional-delete Basic/-/-", "delete Basic/4/2", "delete Basic/5/2"];
    assert_eq!((deleted, patients(bundle)), (expected.map(str::to_owned).to_vec(), vec!["c", "d"]));
    // Each is found by its own name.
    let found = site.ask("GET", "AuditEvent?entity=Basic/3").by(&auditor()).send().await.is(200);
    assert_eq!(found.json()["entry"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_denied_transaction_names_the_entry_that_was_denied() {
    let site = with_data().await;
    let before = site.audited().await.len();
    let read = |url: &str| format!(r#"{{"request":{{"method":"GET","url":"{url}"}}}}"#);
    let delete = r#"{"request":{"method":"DELETE","url":"Patient/a"}}"#.to_owned();
    let bundle = |entries: &[String]| {
        let entries = entries.join(",");
        format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#)
    };
    let access = Access::of(vec![rule(&["Observation"], &["read"], "all")]);
    let by = async |entries: &[String], access: &Access| {
        site.ask("POST", "").by(access).body(bundle(entries)).send().await
    };
    by(&[read("Observation/o"), delete], &access).await.is(403);
    by(&[read("Observation/o"), read("Patient/b")], &access).await.is(403);
    by(&[read("Patient/b")], &Access::of_patient("a")).await.is(404);
    let events = site.audited().await;
    let [written, read, unseen] = &events[before..] else { panic!("{events:?}") };
    for (event, entry, patient) in
        [(written, "delete Patient/a/-", "a"), (read, "read Patient/b/-", "b")]
    {
        let denied = event.entries.iter().filter(|act| act.status == 403).map(named);
        assert_eq!(denied.collect::<Vec<_>>(), [entry]);
        assert_eq!(event.outcome, Outcome::Denied);
        assert!(patients(event).contains(&patient), "{event:?}");
    }
    let entries: Vec<_> = unseen.entries.iter().map(|act| (named(act), act.status)).collect();
    assert_eq!(entries, [("read Patient/b/-".to_owned(), 404)]);
}

#[tokio::test]
async fn a_denial_within_a_bundle_is_explained_to_the_operator() {
    // LEAK-29
    let site = with_data().await;
    let read = |url: &str| format!(r#"{{"request":{{"method":"GET","url":"{url}"}}}}"#);
    let by = async |kind: &str, url: &str, access: &Access| {
        let entry = read(url);
        let bundle = format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{entry}]}}"#);
        let id = format!("{kind}-{}", url.replace('/', "-"));
        let ask = site.ask("POST", "").by(access).header("x-request-id", &id);
        ask.body(bundle).send().await;
        site.denials.of_request(&id)
    };
    let patient = Access::of_patient("a");
    let observer = Access::of(vec![rule(&["Observation"], &["read"], "all")]);
    for kind in ["batch", "transaction"] {
        let unseen = by(kind, "Patient/b", &patient).await;
        assert_eq!(unseen.len(), 1, "{unseen:?}");
        assert_eq!((unseen[0].status, unseen[0].asked.as_str()), (404, "read Patient"));
        let decided = &unseen[0].decided;
        assert!(decided.starts_with("Bundle.entry[0]: nothing is there, or"), "{decided}");
        let denied = by(kind, "Patient/a", &observer).await;
        assert_eq!((denied.len(), denied[0].status), (1, 403));
        assert!(denied[0].decided.contains("no-rule-for-type"), "{denied:?}");
        assert!(by(kind, "Observation/none", &observer).await.is_empty());
    }
}

#[tokio::test]
async fn an_event_says_by_which_role() {
    let site = with_data().await;
    site.ask("GET", "Patient/a").by(&Access::owner().acting_as("reader")).send().await.is(200);
    let events = site.audited().await;
    let event = events.last().unwrap();
    assert_eq!(
        (event.client.as_deref(), event.role.as_deref()),
        (Some("clinic-app"), Some("reader"))
    );
    let found = site.ask("GET", "AuditEvent?_count=1").by(&auditor()).send().await.is(200).json();
    let agent = &found["entry"][0]["resource"]["agent"][0];
    assert_eq!(agent["role"][0]["text"], "reader", "{agent}");
}

#[tokio::test]
async fn nothing_is_committed_once_the_audit_log_takes_no_more() {
    let site = with_data().await;
    let before = site.position();
    let bundle = r#"{"resourceType":"Bundle","type":"batch","entry":[
        {"request":{"method":"DELETE","url":"Observation/o"}},
        {"resource":{"resourceType":"Basic","code":{"text":"x"}},
         "request":{"method":"POST","url":"Basic"}}]}"#;
    site.fail(crate::support::Fault::Held);
    let meanwhile = async {
        // The batch has begun, and its first entry waits for the store; then the disk is full.
        let known = async {
            loop {
                get(&site, "Patient/none").await;
                site.audit_disk.is_full.store(true, Ordering::SeqCst);
                if get(&site, "Patient/a").await.status == 503 {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, known).await.expect("the full disk is known");
        site.fail(crate::support::Fault::None);
    };
    let ask = site.ask("POST", "").body(bundle);
    let (answer, ()) = tokio::join!(ask.send(), meanwhile);
    answer.is(503);
    // What was being written when that was not known yet is, and nothing after it.
    assert_eq!(site.position(), before + 1);
    site.audit_disk.is_full.store(false, Ordering::SeqCst);
}
