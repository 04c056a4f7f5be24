//! Refusals as OperationOutcomes. That every answer of 400 and above has a valid one is checked
//! for every request of every test (`support::exchange`).

use crate::support::Site;

#[tokio::test]
async fn each_fault_names_its_place() {
    // HTTP-202, HTTP-203, HTTP-206
    let site = Site::start().await;
    let check = async |body: &str, code: &str, expressions: &[&str]| {
        let refused = site.post("", body).await;
        assert!(refused.status >= 400, "{body}");
        assert_eq!(refused.code(), code, "{body}");
        assert_eq!(refused.expressions(), expressions, "{body}");
    };
    check(r#"{"resourceType":"Patient"}"#, "invalid", &["resourceType"]).await;
    check(r#"{"resourceType":"Bundle"}"#, "required", &["Bundle.type"]).await;
    check(r#"{"resourceType":"Bundle","type":"document"}"#, "value", &["Bundle.type"]).await;
    check(r#"{"resourceType":"Bundle","type":"batch","entry":{}}"#, "structure", &["Bundle.entry"])
        .await;
    check(
        r#"{"resourceType":"Bundle","type":"batch","entry":[{"resource":{"resourceType":"Patient","name":[{"given":[01]}]}}]}"#,
        "structure",
        &["Bundle.entry[0].resource.name[0].given[0]"],
    )
    .await;
}

#[tokio::test]
async fn all_faults_of_a_bundle_are_told_at_once() {
    // HTTP-171, HTTP-205
    let site = Site::start().await;
    let bundle = r#"{"resourceType":"Bundle","type":"batch","entry":[
        {"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}},
        {"resource":{"resourceType":"Patient"}},
        {"fullUrl":"urn:uuid:1"}]}"#;
    for bundle in [bundle.to_owned(), bundle.replace("batch", "transaction")] {
        let refused = site.post("", bundle).await.is(400);
        assert_eq!(refused.expressions(), ["Bundle.entry[1].request", "Bundle.entry[2].request"]);
    }
    let dangling = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Observation","subject":{"reference":"urn:uuid:1"},"performer":[{"reference":"urn:uuid:2"}]},"request":{"method":"POST","url":"Observation"}}]}"#;
    assert_eq!(
        site.post("", dangling).await.is(400).expressions(),
        [
            "Bundle.entry[0].resource.subject.reference",
            "Bundle.entry[0].resource.performer[0].reference"
        ]
    );
    assert_eq!(site.position(), 0);
}

#[tokio::test]
async fn refusals_tell_nothing_of_the_inside() {
    // HTTP-204
    let site = Site::start().await;
    for target in ["Foo/1", "Patient/1", "Patient?x=y", "Patient/1/_history?_count=x"] {
        let text = site.get(target).await.text();
        for inside in ["panick", "src/", ".rs", "Error {", "sled", "/tmp"] {
            assert!(!text.contains(inside), "{target}: {text}");
        }
    }
}
