//! `hearthgate import` from outside: what is sent, what is sent again, what is reported.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

mod stub;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use stub::{Answer, Sent, Stub, answered, outcome};

/// Files to import, and what came of it.
struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn import(&self, stub: &Stub, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_hearthgate"))
            .current_dir(self.dir.path())
            .args(["import", "--url", &stub.url, "--report", "report.json"])
            .args(arguments)
            .output()
            .unwrap()
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.dir.path().join("report.json")).unwrap()).unwrap()
    }
}

fn made(_: usize, sent: &Sent) -> Answer {
    if sent.line == "POST /fhir" {
        let bundle: Value = serde_json::from_str(&sent.body).unwrap();
        let entries = bundle["entry"].as_array().unwrap().len();
        return answered(&vec!["201 Created"; entries]);
    }
    Answer::With(201, None, String::new())
}

fn basic(id: &str) -> String {
    format!(r#"{{"resourceType":"Basic","id":"{id}"}}"#)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_kind_of_file_arrives_as_it_was_written() {
    let case = Case::new();
    let stub = Stub::start(Arc::new(made));
    let transaction = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Observation","valueQuantity":{"value":1.00e0}},"request":{"method":"POST","url":"Observation"}},{"request":{"method":"DELETE","url":"Basic/9"}}]}"#;
    let collection = format!(
        r#"{{"resourceType":"Bundle","type":"collection","entry":[{{"resource":{}}},{{"resource":{{"resourceType":"Basic","n":0.010}}}}]}}"#,
        basic("2")
    );
    case.file("a/1.ndjson", format!("{transaction}\n\n{}\n", basic("1")));
    let lines = zstd::encode_all(collection.as_bytes(), 3).unwrap();
    case.file("a/2.json.zst", lines);
    case.file("a/notes.txt", "not imported");
    let output = case.import(&stub, &["--in-flight", "1", "a"]);
    assert!(output.status.success(), "{output:?}");
    let sent: Vec<(String, String)> =
        stub.sent().into_iter().map(|sent| (sent.line, sent.body)).collect();
    let expected = [
        ("POST /fhir", transaction.to_owned()),
        ("PUT /fhir/Basic/1", basic("1")),
        ("PUT /fhir/Basic/2", basic("2")),
        ("POST /fhir/Basic", r#"{"resourceType":"Basic","n":0.010}"#.to_owned()),
    ];
    assert_eq!(sent, expected.map(|(line, body)| (line.to_owned(), body)));
    assert!(
        stub.sent()
            .iter()
            .all(|sent| sent.content_type.as_deref() == Some("application/fhir+json"))
    );

    let report = case.report();
    assert_eq!(report["complete"], true);
    assert_eq!(
        report["types"],
        json!({
            "Basic": { "sent": 4, "created": 4, "existing": 0, "failed": 0, "unknown": 0 },
            "Observation": { "sent": 1, "created": 1, "existing": 0, "failed": 0, "unknown": 0 }
        })
    );
    assert_eq!(report["filesSkipped"], 1);
    assert!(report["resourcesPerSecond"].as_f64().unwrap() > 0.0);
    let stdout = text(&output.stdout);
    assert!(stdout.contains("5 resources in "), "{stdout}");
    assert!(output.stderr.is_empty(), "no bar without a terminal");
}

#[test]
fn where_everything_is_now_is_written_down_when_asked_for() {
    let case = Case::new();
    let stub = Stub::start(Arc::new(|_, sent: &Sent| match sent.line.as_str() {
        "POST /fhir" => Answer::With(
            200,
            None,
            r#"{"resourceType":"Bundle","entry":[
                {"response":{"status":"201 Created","location":"Patient/7/_history/1"}},
                {"response":{"status":"422 Unprocessable","location":"Patient/8/_history/1"}}]}"#
                .to_owned(),
        ),
        "PUT /fhir/Basic/bad" => outcome(422, "no"),
        _ => Answer::With(200, None, String::new()),
    }));
    let entry = r#"{"resource":{"resourceType":"Patient"}}"#;
    let batch = format!(r#"{{"resourceType":"Bundle","type":"batch","entry":[{entry},{entry}]}}"#);
    case.file("a.ndjson", format!("{}\n{batch}\n{}\n", basic("1"), basic("bad")));
    let arguments = ["--in-flight", "1", "--locations", "locations.ndjson", "a.ndjson"];
    let output = case.import(&stub, &arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let written = fs::read_to_string(case.dir.path().join("locations.ndjson")).unwrap();
    let lines: Vec<Value> =
        written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = [
        json!({ "file": "a.ndjson", "line": 1, "location": "Basic/1" }),
        json!({ "file": "a.ndjson", "line": 2, "entry": 1, "location": "Patient/7/_history/1" }),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn an_argument_is_begun_when_the_one_before_is_answered() {
    let case = Case::new();
    // How many of the first argument are answered, and whether one of the second came before.
    let seen = Arc::new((Mutex::new((0, false)), Condvar::new()));
    let shared = seen.clone();
    let stub = Stub::start(Arc::new(move |number, sent: &Sent| {
        let (lock, changed) = &*shared;
        let mut seen = lock.lock().unwrap();
        if sent.line.contains("/second-") {
            seen.1 |= seen.0 < 10;
            changed.notify_all();
        } else {
            if number == 9 {
                // The last of the first argument is answered late: whoever does not wait for it
                // comes meanwhile.
                let limit = Duration::from_millis(300);
                seen = changed.wait_timeout_while(seen, limit, |seen| !seen.1).unwrap().0;
            }
            seen.0 += 1;
        }
        Answer::With(201, None, String::new())
    }));
    let lines = |word: &str| -> String {
        let ids = (0..10).map(|number| basic(&format!("{word}-{number}")));
        ids.map(|line| line + "\n").collect()
    };
    case.file("1.ndjson", lines("first"));
    case.file("2.ndjson", lines("second"));
    let output = case.import(&stub, &["1.ndjson", "2.ndjson"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stub.sent().len(), 20);
    assert_eq!(*seen.0.lock().unwrap(), (10, false));
}

#[test]
fn as_many_are_in_flight_as_was_said_and_no_more() {
    let case = Case::new();
    // How many are in flight now, and at most.
    let counts = Arc::new((Mutex::new((0, 0)), Condvar::new()));
    let shared = counts.clone();
    let stub = Stub::start(Arc::new(move |_, _: &Sent| {
        let (lock, changed) = &*shared;
        let mut counts = lock.lock().unwrap();
        counts.0 += 1;
        counts.1 = counts.1.max(counts.0);
        changed.notify_all();
        // Nobody is answered before as many came at once as may.
        let limit = Duration::from_secs(10);
        let mut counts =
            changed.wait_timeout_while(counts, limit, |counts| counts.1 < 3).unwrap().0;
        counts.0 -= 1;
        Answer::With(201, None, String::new())
    }));
    let lines: String = (0..30).map(|id| basic(&id.to_string()) + "\n").collect();
    case.file("x.ndjson", lines);
    let output = case.import(&stub, &["--in-flight", "3", "x.ndjson"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(counts.0.lock().unwrap().1, 3);
}

#[test]
fn a_busy_server_is_asked_again_and_what_it_asks_for_is_kept() {
    let case = Case::new();
    let stub = Stub::start(Arc::new(|number, sent: &Sent| match number {
        0 => Answer::With(503, Some("0"), String::new()),
        1 => Answer::With(429, Some("1"), String::new()),
        2 => Answer::With(503, None, String::new()),
        _ => made(number, sent),
    }));
    let bundle = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Basic"}}]}"#;
    case.file("x.json", bundle);
    let output = case.import(&stub, &["x.json"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stub.lines(), ["POST /fhir"; 4]);
    let report = case.report();
    assert_eq!(report["total"]["created"], 1);
    assert!(report["seconds"].as_f64().unwrap() >= 1.0, "{report}");
}

#[test]
fn a_post_without_an_answer_is_reported_and_not_repeated_and_a_put_is_repeated() {
    let case = Case::new();
    let stub = Stub::start(Arc::new(|number, sent: &Sent| match number {
        0..=2 => Answer::BreakOff,
        3 => Answer::With(502, None, String::new()),
        4 => Answer::With(504, None, String::new()),
        _ => made(number, sent),
    }));
    let bundle = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Patient"}}]}"#;
    let post = r#"{"resourceType":"Basic"}"#;
    let text = [bundle, post, &basic("1"), bundle, &basic("2")].join("\n");
    case.file("x.ndjson", text);
    let output = case.import(&stub, &["--in-flight", "1", "x.ndjson"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        stub.lines(),
        [
            "POST /fhir",
            "POST /fhir/Basic",
            "PUT /fhir/Basic/1",
            "PUT /fhir/Basic/1",
            "PUT /fhir/Basic/1",
            "PUT /fhir/Basic/1",
            "POST /fhir",
            "PUT /fhir/Basic/2",
        ]
    );
    let report = case.report();
    assert_eq!(report["types"]["Patient"]["unknown"], 1);
    assert_eq!(report["types"]["Patient"]["created"], 1);
    assert_eq!(report["types"]["Basic"]["unknown"], 1);
    assert_eq!(report["types"]["Basic"]["created"], 2);
    let failures = report["failures"].as_array().unwrap();
    let kinds: Vec<(&Value, &Value)> =
        failures.iter().map(|failure| (&failure["line"], &failure["kind"])).collect();
    assert_eq!(kinds, [(&json!(1), &json!("unknown")), (&json!(2), &json!("unknown"))]);
}

#[test]
fn what_fails_is_said_with_its_place_and_reason_and_the_rest_goes_on() {
    let case = Case::new();
    let stub = Stub::start(Arc::new(|number, sent: &Sent| {
        if sent.body.contains("\"bad\"") {
            return outcome(422, "Basic.code is missing");
        }
        if sent.body.contains("\"batch\"") {
            let answer = json!({ "resourceType": "Bundle", "entry": [
                { "response": { "status": "200 OK" } },
                { "response": { "status": "404 Not Found", "outcome": { "issue": [
                    { "severity": "error", "code": "not-found", "diagnostics": "no such thing" } ] } } }
            ] });
            return Answer::With(200, None, answer.to_string());
        }
        made(number, sent)
    }));
    let batch = format!(
        r#"{{"resourceType":"Bundle","type":"batch","entry":[{{"resource":{0}}},{{"resource":{0}}}]}}"#,
        basic("b")
    );
    case.file("x.ndjson", [&basic("bad"), "{oops", &batch, &basic("good")].join("\n"));
    let output = case.import(&stub, &["x.ndjson"]);
    assert_eq!(output.status.code(), Some(1));
    let stdout = text(&output.stdout);
    for line in [
        "refused: x.ndjson:1 (Basic): 422 Basic.code is missing",
        "refused: x.ndjson:3 entry 2 (Basic): 404 no such thing",
        "Basic  4     1        1         2       0",
    ] {
        assert!(stdout.lines().any(|found| found == line), "{line}:\n{stdout}");
    }
    assert!(stdout.contains("unreadable: x.ndjson:2: "), "{stdout}");
    let report = case.report();
    assert_eq!(report["complete"], false);
    assert_eq!(report["failures"].as_array().unwrap().len(), 3);
}

#[test]
fn the_key_is_sent_and_shown_nowhere() {
    let case = Case::new();
    let stub = Stub::start(Arc::new(|number, sent: &Sent| {
        if sent.authorization.as_deref() == Some("Bearer hg_planted") {
            made(number, sent)
        } else {
            outcome(401, "who are you")
        }
    }));
    case.file("x.json", basic("1"));
    case.file("right.key", "hg_planted\n");
    case.file("wrong.key", "hg_other\n");
    case.file("no.key", "two words\n");

    let output = case.import(&stub, &["--key-file", "right.key", "x.json"]);
    assert!(output.status.success(), "{output:?}");
    let said = text(&output.stdout) + &text(&output.stderr) + &case.report().to_string();
    assert!(!said.contains("planted"), "{said}");

    let output = case.import(&stub, &["--key-file", "wrong.key", "x.json"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("does not accept the key") && stderr.contains("--key-file"),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(case.report()["endedEarly"].as_str().unwrap().contains("who are you"));

    let output = case.import(&stub, &["--key-file", "no.key", "x.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no.key holds no key"));
}

#[test]
fn a_server_that_stays_away_ends_the_import_with_one_line() {
    let case = Case::new();
    // A port that nothing listens on: it was just given back.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let lines: String = (0..100).map(|id| basic(&id.to_string()) + "\n").collect();
    case.file("x.ndjson", lines);
    let output = Command::new(env!("CARGO_BIN_EXE_hearthgate"))
        .current_dir(case.dir.path())
        .args(["import", "--retry-seconds", "0", "x.ndjson", "--url"])
        .arg(format!("http://127.0.0.1:{port}/fhir"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("the import ended early"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    let stdout = text(&output.stdout);
    assert!(!stdout.contains("Basic  100 "), "the rest was not tried: {stdout}");
}

#[test]
fn an_answer_that_does_not_match_its_transaction_is_not_taken_for_success() {
    let case = Case::new();
    let stub = Stub::start(Arc::new(|number, _: &Sent| match number {
        0 => answered(&["201 Created"]),
        _ => Answer::With(200, None, "<html>".to_owned()),
    }));
    let bundle = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Basic"}},{"resource":{"resourceType":"Basic"}}]}"#;
    case.file("x.ndjson", format!("{bundle}\n{bundle}\n"));
    let output = case.import(&stub, &["--in-flight", "1", "x.ndjson"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(case.report()["total"]["unknown"], 4);
    let stdout = text(&output.stdout);
    assert!(stdout.contains("2 entries sent, 1 answered"), "{stdout}");
}

#[test]
fn what_demo_data_writes_import_takes() {
    let case = Case::new();
    let stub = Stub::start(Arc::new(made));
    let made = Command::new(env!("CARGO_BIN_EXE_hearthgate"))
        .current_dir(case.dir.path())
        .args(["demo-data", "--patients", "3", "--out", "demo.ndjson"])
        .status()
        .unwrap();
    assert!(made.success());
    let output = case.import(&stub, &["demo.ndjson"]);
    assert!(output.status.success(), "{output:?}");
    let report = case.report();
    assert_eq!(report["types"]["Patient"]["created"], 3);
    assert_eq!(report["total"]["failed"], 0);
}
