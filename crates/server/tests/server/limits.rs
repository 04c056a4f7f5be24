//! Bounds, and JSON that is none.

use server::Limits;
use std::sync::Arc;

use contract::Grant;

use crate::support::{Fault, PATIENCE, Site, raw};

fn small() -> Limits {
    Limits { body_bytes: 1000, bundle_entries: 2, ..Limits::default() }
}

fn patient(bytes: usize) -> String {
    let frame = r#"{"resourceType":"Patient","language":""}"#;
    frame.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - frame.len())))
}

#[tokio::test]
async fn bodies_that_are_held_together_are_bounded_and_one_more_is_503() {
    // HTTP-206
    let site = Site::limited(Limits { held_bytes: 1500, ..Limits::default() }).await;
    let before = site.ids.given();
    site.fail(Fault::Held);
    let meanwhile = async {
        let begun = async {
            while site.ids.given() < before + 2 {
                tokio::task::yield_now().await;
            }
        };
        let begun = tokio::time::timeout(PATIENCE, begun).await;
        let refused = site.post("Patient", patient(600)).await;
        site.fail(Fault::None);
        assert!(begun.is_ok(), "the first was not begun");
        let refused = refused.is(503);
        assert_eq!(
            (refused.code().as_str(), refused.header("retry-after")),
            ("transient", Some("1"))
        );
    };
    let (first, ()) = tokio::join!(site.post("Patient", patient(1000)), meanwhile);
    first.is(201);
    assert_eq!(site.position(), 1);
    site.post("Patient", patient(1400)).await.is(201);
}

#[tokio::test]
async fn a_body_longer_than_the_limit_is_413() {
    // HTTP-221
    let site = Site::limited(small()).await;
    site.post("Patient", patient(1000)).await.is(201);
    let refused = site.post("Patient", patient(1001)).await.is(413);
    assert_eq!(refused.code(), "too-long");
    assert_eq!(site.position(), 1);
}

#[tokio::test]
async fn a_length_beyond_the_limit_is_refused_before_the_body_comes() {
    // HTTP-221
    let site = Site::limited(small()).await;
    let ask = site.ask("POST", "Patient");
    let grant = Grant::new(ask.grant()).unwrap().encode().unwrap();
    let lines = "content-type: application/fhir+json\r\ncontent-length: 1073741824\r\n";
    let answer = raw(&site.socket, ask.head(&grant, lines).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_body_of_unknown_length_is_read_no_further_than_the_limit() {
    // HTTP-221
    let site = Site::limited(small()).await;
    let ask = site.ask("POST", "Patient");
    let grant = Grant::new(ask.grant()).unwrap().encode().unwrap();
    let lines = "content-type: application/fhir+json\r\ntransfer-encoding: chunked\r\n";
    // The second chunk is announced and never comes.
    let chunks = format!("{:x}\r\n{}\r\nffff\r\n{{", 900, "x".repeat(900));
    let partly = format!("{}{chunks}{}", ask.head(&grant, lines), "x".repeat(200));
    let answer = raw(&site.socket, partly.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_bundle_with_more_entries_than_the_limit_is_413() {
    // HTTP-196
    let site = Site::limited(small()).await;
    let entry =
        r#"{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}"#;
    for of in ["batch", "transaction"] {
        let bundle = |entries: &[&str]| {
            let entries = entries.join(",");
            format!(r#"{{"resourceType":"Bundle","type":"{of}","entry":[{entries}]}}"#)
        };
        site.post("", bundle(&[entry; 2])).await.is(200);
        let position = site.position();
        let refused = site.post("", bundle(&[entry; 3])).await.is(413);
        assert_eq!(
            (refused.code(), refused.expressions()),
            ("too-costly".into(), vec!["Bundle.entry".into()])
        );
        assert_eq!(site.position(), position);
    }
}

/// Entries that are none are counted as well, before anything is made of them.
#[tokio::test]
async fn entries_are_counted_before_they_are_read() {
    let site = Site::limited(small()).await;
    let bundle = |entries: &str| {
        format!(r#"{{"resourceType":"Bundle","type":"batch","entry":[{entries}]}}"#)
    };
    assert_eq!(site.post("", bundle("1,1")).await.is(400).code(), "structure");
    assert_eq!(site.post("", bundle("1,1,1")).await.is(413).code(), "too-costly");
}

#[tokio::test]
async fn an_answer_lists_no_more_than_fifty_issues() {
    let site = Site::start().await;
    let list = |reference: &str| {
        let item = format!(r#"{{"item":{{"reference":"{reference}"}}}}"#);
        let items = vec![item; 1000].join(",");
        format!(
            r#"{{"resourceType":"List","status":"current","mode":"working","entry":[{items}]}}"#
        )
    };
    let bundle = |of: &str, entries: String| {
        format!(r#"{{"resourceType":"Bundle","type":"{of}","entry":[{entries}]}}"#)
    };
    let request = r#""request":{"method":"POST","url":"List"}"#;
    let entry = format!(r#"{{"resource":{},{request}}}"#, list("urn:uuid:1"));
    let malformed = vec![r#"{"fullUrl":"urn:uuid:1"}"#; 1000].join(",");
    for answer in [
        site.post("List", list("Patient?identifier=a|b")).await.is(400),
        site.post("", bundle("transaction", entry.clone())).await.is(400),
        site.post("", bundle("batch", entry)).await.is(200),
        site.post("", bundle("batch", malformed)).await.is(400),
    ] {
        assert_eq!(answer.text().matches("\"severity\"").count(), 50);
    }
}

/// A short Bundle can name a long resource often.
#[tokio::test]
async fn a_bundle_reads_no_more_than_the_limit() {
    let site = Site::limited(Limits { answer_bytes: 5000, ..Limits::default() }).await;
    let long = patient(2000).replacen('{', r#"{"id":"1","#, 1);
    site.put("Patient/1", long).await.is(201);
    let read =
        |count: usize| vec![r#"{"request":{"method":"GET","url":"Patient/1"}}"#; count].join(",");
    let bundle = |of: &str, entries: String| {
        format!(r#"{{"resourceType":"Bundle","type":"{of}","entry":[{entries}]}}"#)
    };
    let batch = site.post("", bundle("batch", read(4))).await.is(200).json();
    let statuses = batch["entry"].as_array().unwrap().iter();
    let statuses: Vec<_> = statuses
        .map(|entry| entry["response"]["status"].as_str().unwrap()[..3].to_owned())
        .collect();
    assert_eq!(statuses, ["200", "200", "413", "413"]);
    site.post("", bundle("transaction", read(2))).await.is(200);
    let write =
        r#"{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}"#;
    let refused =
        site.post("", bundle("transaction", format!("{write},{}", read(3)))).await.is(413);
    assert_eq!(
        (refused.code(), refused.expressions()),
        ("too-costly".into(), vec!["Bundle.entry[3]".into()])
    );
    assert_eq!(site.position(), 1);
}

#[tokio::test]
async fn an_answer_repeats_little_of_what_was_sent() {
    let site = Site::start().await;
    let long = "é".repeat(10_000);
    let url = format!(
        r#"{{"resourceType":"Bundle","type":"batch","entry":[{{"request":{{"method":"GET","url":"http://x/{long}"}}}}]}}"#
    );
    let name = format!(r#"{{"resourceType":"Patient","{long}":1,"{long}":1}}"#);
    for answer in [site.post("", url).await.is(200), site.post("Patient", name).await.is(400)] {
        assert!(answer.text().len() < 3000, "{}", answer.text().len());
    }
}

#[tokio::test]
async fn nesting_beyond_the_limit_is_refused() {
    // HTTP-222
    let site = Site::start().await;
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"resourceType":"Basic","x":{open}{close}}}"#)
    };
    site.post("Basic", nested(127)).await.is(201);
    for depth in [128, 100_000] {
        assert_eq!(site.post("Basic", nested(depth)).await.is(400).code(), "structure");
    }
    let bare = site.post("Basic", "[".repeat(100_000)).await;
    bare.is(400);
    let objects = format!("{}{}", r#"{"a":"#.repeat(100_000), "1");
    site.post("", objects).await.is(400);
    assert_eq!(site.position(), 1);
}

#[tokio::test]
async fn a_name_given_twice_is_refused_wherever_it_stands() {
    // HTTP-223
    let site = Site::start().await;
    let check = async |body: &str, expression: &str| {
        let refused = site.put("Patient/1", body).await.is(400);
        assert_eq!(refused.expressions(), [expression], "{body}");
    };
    check(r#"{"resourceType":"Patient","id":"1","id":"2"}"#, "Patient").await;
    check(r#"{"resourceType":"Patient","id":"1","i\u0064":"2"}"#, "Patient").await;
    check(
        r#"{"resourceType":"Patient","id":"1","name":[{"text":"a","text":"a"}]}"#,
        "Patient.name[0]",
    )
    .await;
    let bundle = r#"{"resourceType":"Bundle","type":"batch","entry":[{"resource":{"resourceType":"Patient","active":true,"active":true},"request":{"method":"POST","url":"Patient"}}]}"#;
    site.post("", bundle).await.is(400);
    assert_eq!(site.position(), 0);
}

#[tokio::test]
async fn bytes_that_are_no_utf8_or_follow_the_resource_are_refused() {
    // HTTP-019
    let site = Site::start().await;
    let check = async |body: &[u8]| {
        let ask = site.ask("POST", "Patient").bytes("application/fhir+json", body.to_vec());
        assert_eq!(ask.send().await.is(400).code(), "structure", "{body:?}");
    };
    check(b"{\"resourceType\":\"Patient\",\"language\":\"\xFF\"}").await;
    check(b"{\"resourceType\":\"Patient\",\"language\":\"\xED\xA0\x80\"}").await;
    check(b"\xEF\xBB\xBF{\"resourceType\":\"Patient\"}").await;
    check(b"\xFF\xFE{\x00}\x00").await;
    check(b"{\"resourceType\":\"Patient\"}x").await;
    check(b"{\"resourceType\":\"Patient\"}{}").await;
    check(b"{\"resourceType\":\"Patient\"}\0").await;
    check(b"{\"resourceType\":\"Patient\",\"language\":\"\\ud800\"}").await;
    check(b"{\"resourceType\":\"Patient\",\"language\":\"a\nb\"}").await;
    check(b"{\"resourceType\":\"Patient\",}").await;
    check(b"{'resourceType':'Patient'}").await;
    assert_eq!(site.position(), 0);
    // White space around it is no fault.
    site.post("Patient", " \r\n\t{\"resourceType\":\"Patient\"}\n\n").await.is(201);
}

#[tokio::test]
async fn a_body_that_ends_early_is_no_write() {
    let site = Arc::new(Site::start().await);
    let ask = site.ask("POST", "Patient");
    let grant = Grant::new(ask.grant()).unwrap().encode().unwrap();
    let whole = r#"{"resourceType":"Patient"}"#;
    let lines = format!(
        "content-type: application/fhir+json\r\nconnection: close\r\ncontent-length: {}\r\n",
        whole.len() + 1
    );
    {
        use tokio::io::AsyncWriteExt as _;
        let mut stream = tokio::net::UnixStream::connect(&site.socket).await.unwrap();
        let request = format!("{}{whole}", ask.head(&grant, &lines));
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Whatever it answers: nothing is written.
        drop(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await);
        assert!(!String::from_utf8(answer).unwrap().contains(" 201 "));
    }
    site.put("Patient/1", r#"{"resourceType":"Patient","id":"1"}"#).await.is(201);
    assert_eq!(site.position(), 1);
}

/// A short patch may be answered with a long resource: in a Bundle no more of them are than the
/// limit, and what was done is done.
#[tokio::test]
async fn a_bundle_answers_no_more_patched_resources_than_the_limit() {
    let site = Site::limited(Limits { answer_bytes: 5000, ..Limits::default() }).await;
    let mut entries = Vec::new();
    for id in 1..=3 {
        let long = patient(2000).replacen('{', &format!(r#"{{"id":"{id}","#), 1);
        site.put(&format!("Patient/{id}"), long).await.is(201);
        entries.push(format!(
            r#"{{"request":{{"method":"PATCH","url":"Patient/{id}"}},"resource":{{"resourceType":"Parameters","parameter":[{{"name":"operation","part":[{{"name":"type","valueCode":"replace"}},{{"name":"path","valueString":"Patient.language"}},{{"name":"value","valueCode":"{}"}}]}}]}}}}"#,
            "y".repeat(1900)
        ));
    }
    check_whole(&site, &entries).await;
    let patched = site.get("Patient/3").await.is(200).json();
    assert!(patched["language"].as_str().unwrap().starts_with('y'));
}

/// Sends these three in a Bundle of each kind: all are done, and two are answered whole.
async fn check_whole(site: &Site, entries: &[String]) {
    for of in ["transaction", "batch"] {
        let entries = entries.join(",");
        let bundle = format!(r#"{{"resourceType":"Bundle","type":"{of}","entry":[{entries}]}}"#);
        let ask = site.ask("POST", "").header("prefer", "return=representation").body(bundle);
        let answer = ask.send().await.is(200).json();
        let answered = answer["entry"].as_array().unwrap();
        let done = |entry: &&serde_json::Value| {
            entry["response"]["status"].as_str().unwrap().starts_with("200")
        };
        assert_eq!(answered.iter().filter(done).count(), 3, "{of}");
        let whole = answered.iter().filter(|entry| entry["resource"].is_object()).count();
        assert_eq!(whole, 2, "{of}");
    }
}

/// So with what is there already of what a Bundle would create.
#[tokio::test]
async fn a_bundle_answers_no_more_matches_of_creates_than_the_limit() {
    let site = Site::limited(Limits { answer_bytes: 5000, ..Limits::default() }).await;
    let mut entries = Vec::new();
    for id in 1..=3 {
        let long = patient(2000).replacen('{', &format!(r#"{{"id":"{id}","#), 1);
        site.put(&format!("Patient/{id}"), long).await.is(201);
        entries.push(format!(
            r#"{{"request":{{"method":"POST","url":"Patient","ifNoneExist":"_id={id}"}},"resource":{{"resourceType":"Patient"}}}}"#
        ));
    }
    check_whole(&site, &entries).await;
}

/// A short patch makes a resource as long as the one it is for: it takes room as if that had been
/// sent.
#[tokio::test]
async fn what_a_patch_makes_is_held_like_a_body() {
    // HTTP-206
    let site = Site::limited(Limits { held_bytes: 3000, ..Limits::default() }).await;
    for id in ["1", "2"] {
        let long = patient(2000).replacen('{', &format!(r#"{{"id":"{id}","#), 1);
        site.put(&format!("Patient/{id}"), long).await.is(201);
    }
    let patch = async |patch: String| {
        let ask = site.ask("PATCH", "Patient/1").bytes("application/json-patch+json", patch);
        ask.send().await
    };
    let fits = r#"[{"op":"add","path":"/active","value":true}]"#;
    let copies = r#"[{"op":"copy","from":"/language","path":"/implicitRules"}]"#;
    let position = site.position();
    patch(format!("{fits}{}", " ".repeat(1000))).await.is(503);
    let long = format!(r#"[{{"op":"test","path":"/gender","value":"{}"}}]"#, "x".repeat(500));
    patch(long).await.is(503);
    assert_eq!(patch(copies.to_owned()).await.is(503).code(), "transient");
    // Several in a transaction are there at once.
    let entry = |id: &str| {
        format!(
            r#"{{"request":{{"method":"PATCH","url":"Patient/{id}"}},"resource":{{"resourceType":"Parameters"}}}}"#
        )
    };
    let whole = |entries: &[String]| {
        let entries = entries.join(",");
        format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#)
    };
    let refused = site.post("", whole(&[entry("1"), entry("2")])).await.is(503);
    assert_eq!(refused.expressions(), ["Bundle.entry[1]"]);
    assert_eq!(site.position(), position);
    // What was not done holds nothing.
    patch(fits.to_owned()).await.is(200);
    site.post("", whole(&[entry("1")])).await.is(200);
}
