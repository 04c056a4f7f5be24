//! `$validate` over the socket.

use database::Rules;
use serde_json::{Value, json};

use crate::support::package::{self, PROFILE};
use crate::support::{Access, Answer, Site, check_issues, rule};

/// The rule ids of an outcome's errors.
fn errors(outcome: &Value) -> Vec<String> {
    let issues = outcome["issue"].as_array().expect("issues").iter();
    let errors = issues.filter(|issue| issue["severity"] == "error");
    errors.map(|issue| issue["details"]["coding"][0]["code"].as_str().unwrap().to_owned()).collect()
}

/// An outcome of `$validate`: 200, and what an OperationOutcome must have.
#[track_caller]
fn outcome(answer: Answer) -> Value {
    let outcome = answer.is(200).json();
    assert_eq!(outcome["resourceType"], "OperationOutcome");
    check_issues(&outcome);
    outcome
}

fn wrapped(resource: Value, parameters: &[(&str, &str, &str)]) -> Value {
    let mut list = vec![json!({ "name": "resource", "resource": resource })];
    for (name, member, value) in parameters {
        list.push(json!({ "name": name, *member: value }));
    }
    json!({ "resourceType": "Parameters", "parameter": list })
}

#[tokio::test]
async fn what_is_wrong_is_told_with_rule_place_and_line_and_nothing_is_written() {
    // VAL-190, VAL-191, VAL-196, VAL-199, VAL-010
    let site = Site::start().await;
    let before = site.position();
    let body = "{\"resourceType\":\"Patient\",\n \"gender\":\"none\",\n \"contact\":[{\"gender\":\
                \"male\"}]}";
    let told = outcome(site.post("Patient/$validate", body).await);
    assert_eq!(errors(&told), ["binding", "pat-1"]);
    let issue = &told["issue"][0];
    assert_eq!(issue["expression"], json!(["Patient.gender"]));
    assert_eq!(issue["code"], "code-invalid");
    assert!(
        issue["extension"][0]["url"].as_str().unwrap().ends_with("operationoutcome-issue-line")
    );
    assert_eq!(issue["extension"][0]["valueInteger"], 2);
    assert_eq!(site.position(), before);
    // The outcome itself is valid.
    let own = outcome(site.post("OperationOutcome/$validate", &told).await);
    assert_eq!(errors(&own), [""; 0], "{own}");
}

#[tokio::test]
async fn a_valid_resource_is_all_ok() {
    // VAL-194
    let site = Site::start().await;
    let patient = json!({ "resourceType": "Patient", "gender": "male",
        "text": { "status": "generated",
            "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">A</div>" } });
    for body in [patient.clone(), wrapped(patient, &[("mode", "valueCode", "create")])] {
        let told = outcome(site.post("Patient/$validate", body).await);
        let all_ok = json!([{ "severity": "information", "code": "informational",
            "diagnostics": "All OK" }]);
        assert_eq!(told["issue"], all_ok);
    }
}

#[tokio::test]
async fn profiles_are_asked_for_in_body_or_query_and_one_that_is_not_known_is_an_error() {
    // VAL-193
    let site = Site::start().await;
    site.add_package(package::tgz()).await;
    let patient = json!({ "resourceType": "Patient", "active": true });
    let check = async |target: &str, body: &Value, expected: &[&str]| {
        assert_eq!(errors(&outcome(site.post(target, body).await)), expected, "{target} {body}");
    };
    check("Patient/$validate", &patient, &[]).await;
    check(&format!("Patient/$validate?profile={PROFILE}"), &patient, &["cardinality"]).await;
    check(&format!("Patient/$validate?profile={PROFILE}|1.0.0"), &patient, &["cardinality"]).await;
    let unknown = "http://nowhere/profile";
    check(&format!("Patient/$validate?profile={unknown}"), &patient, &["profile-unknown"]).await;
    let both = wrapped(
        patient.clone(),
        &[("profile", "valueUri", PROFILE), ("profile", "valueCanonical", unknown)],
    );
    check("Patient/$validate", &both, &["cardinality", "profile-unknown"]).await;
    let claims = json!({ "resourceType": "Patient", "meta": { "profile": [PROFILE] } });
    check("Patient/$validate", &claims, &["cardinality"]).await;
    // A package is its tenant's alone.
    let other = Access::owner().in_tenant("other");
    let target = format!("Patient/$validate?profile={PROFILE}");
    let asked = site.ask("POST", &target).by(&other).body(&patient).send().await;
    assert_eq!(errors(&outcome(asked)), ["profile-unknown"]);
}

#[tokio::test]
async fn an_instance_is_validated_as_it_is_stored_or_as_it_would_be() {
    // VAL-190, VAL-192
    let site = Site::start().await;
    site.put("Patient/1", json!({ "resourceType": "Patient", "id": "1", "gender": "none" })).await;
    let stored = outcome(site.get("Patient/1/$validate").await);
    assert_eq!(errors(&stored), ["binding"]);
    assert_eq!(stored["issue"][0].get("extension"), None, "nobody has the lines of what is stored");
    let empty = json!({ "resourceType": "Parameters",
        "parameter": [{ "name": "mode", "valueCode": "update" }] });
    assert_eq!(errors(&outcome(site.post("Patient/1/$validate", empty).await)), ["binding"]);
    let mended = json!({ "resourceType": "Patient", "id": "1", "gender": "male" });
    assert_eq!(errors(&outcome(site.post("Patient/1/$validate", &mended).await)), [""; 0]);
    let other = wrapped(
        json!({ "resourceType": "Patient", "id": "2" }),
        &[("mode", "valueCode", "update")],
    );
    let told = site.post("Patient/1/$validate", other).await.is(200);
    assert_eq!(told.expressions().last().unwrap(), "Patient.id");
    let told = outcome(site.get("Patient/1/$validate?mode=delete").await);
    assert_eq!(told["issue"][0]["severity"], "information");
    let reader = Access::of(vec![rule(&["Patient"], &["read"], "all")]);
    let told = site.ask("GET", "Patient/1/$validate?mode=delete").by(&reader).send().await;
    assert_eq!(outcome(told)["issue"][0]["code"], "forbidden");
    site.get("Patient/2/$validate").await.is(404);
    site.get("Patient/2/$validate?mode=delete").await.is(404);
}

/// The codes of an outcome's errors.
fn codes(outcome: &Value) -> Vec<&str> {
    let issues = outcome["issue"].as_array().expect("issues").iter();
    let errors = issues.filter(|issue| issue["severity"] == "error");
    errors.map(|issue| issue["code"].as_str().expect("a code")).collect()
}

#[tokio::test]
async fn what_a_write_would_be_refused_for_is_told_in_its_mode_and_as_the_write_tells_it() {
    // VAL-192, VAL-196
    let site = Site::ruled(Rules {
        unique_identifiers: vec!["Patient urn:mrn".parse().unwrap()],
        references_exist: vec!["Patient".parse().unwrap()],
    })
    .await;
    let bearing = |id: &str, value: &str| {
        json!({ "resourceType": "Patient", "id": id,
            "identifier": [{ "system": "urn:mrn", "value": value }] })
    };
    let led = |id: &str| {
        json!({ "resourceType": "Patient", "id": id,
            "managingOrganization": { "reference": "Organization/none" } })
    };
    let subsetted = json!({ "resourceType": "Patient", "id": "1", "meta": { "tag": [{
        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
        "code": "SUBSETTED" }] } });
    site.put("Patient/1", bearing("1", "1")).await.is(201);
    let before = site.position();
    for (target, write, body) in [
        ("Patient", ("POST", "Patient"), bearing("x", "1")),
        ("Patient", ("POST", "Patient"), led("x")),
        ("Patient", ("PUT", "Patient/2"), bearing("2", "1")),
        ("Patient/2", ("PUT", "Patient/2"), bearing("2", "1")),
        ("Patient/2", ("PUT", "Patient/2"), led("2")),
        ("Patient/1", ("PUT", "Patient/1"), subsetted),
    ] {
        let mode = if write.0 == "POST" { "create" } else { "update" };
        let told = site.post(&format!("{target}/$validate?mode={mode}"), &body).await;
        let told = outcome(told);
        let refused = site.ask(write.0, write.1).body(&body).send().await;
        assert!(refused.status >= 400, "{body}");
        let issues = told["issue"].as_array().unwrap();
        assert_eq!(issues.last(), refused.json()["issue"].get(0), "{body}");
        // Asked of no write, it is right as it is.
        if target == "Patient" {
            let told = outcome(site.post("Patient/$validate", &body).await);
            assert_eq!(codes(&told), [""; 0], "{body}");
        }
    }
    assert_eq!(site.position(), before);
    // What bears an identifier keeps it, and another takes its own id.
    for (target, body) in [
        ("Patient/1/$validate?mode=update", bearing("1", "1")),
        ("Patient/$validate?mode=update", bearing("1", "1")),
        ("Patient/2/$validate?mode=update", bearing("2", "2")),
        ("Patient/1/$validate?mode=create", bearing("9", "9")),
    ] {
        assert_eq!(codes(&outcome(site.post(target, &body).await)), [""; 0], "{target}");
    }
    assert_eq!(codes(&outcome(site.get("Patient/1/$validate?mode=update").await)), [""; 0]);
    assert_eq!(codes(&outcome(site.get("Patient/1/$validate?mode=create").await)), ["duplicate"]);
    let nameless = json!({ "resourceType": "Patient" });
    let told = site.post("Patient/$validate?mode=update", &nameless).await;
    assert_eq!(told.is(200).expressions().last().unwrap(), "Patient.id");
}

#[tokio::test]
async fn who_may_not_write_is_told_so_and_nothing_of_what_is_there() {
    // VAL-192
    let rules =
        Rules { unique_identifiers: vec!["Patient urn:mrn".parse().unwrap()], ..Rules::default() };
    let site = Site::ruled(rules).await;
    let patient = |id: &str| {
        json!({ "resourceType": "Patient", "id": id,
            "identifier": [{ "system": "urn:mrn", "value": "1" }] })
    };
    site.put("Patient/1", patient("1")).await.is(201);
    let check = async |actions: &[&str], target: &str, id: &str, expected: &[&str]| {
        let access = Access::of(vec![rule(&["Patient"], actions, "all")]);
        let asked = site.ask("POST", target).by(&access).body(patient(id)).send().await;
        let told = outcome(asked);
        assert_eq!(codes(&told), expected, "{actions:?} {target}: {told}");
    };
    let (create, update) = ("Patient/$validate?mode=create", "Patient/$validate?mode=update");
    check(&["read", "update"], create, "2", &["forbidden"]).await;
    check(&["read", "create"], create, "2", &["duplicate"]).await;
    check(&["read", "create"], update, "1", &["forbidden"]).await;
    check(&["read", "update"], update, "1", &[]).await;
    // What is not there takes the right to create as well.
    check(&["read", "update"], update, "2", &["forbidden"]).await;
    check(&["read", "update"], "Patient/2/$validate?mode=update", "2", &["forbidden"]).await;
    check(&["read", "update", "create"], update, "2", &["duplicate"]).await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_its_mend() {
    // VAL-191, VAL-195
    let site = Site::start().await;
    let patient = json!({ "resourceType": "Patient" });
    let check = async |target: &str, body: &Value, status: u16, expression: &str| {
        let answer = site.post(target, body).await.is(status);
        assert_eq!(answer.expressions(), [expression], "{target} {body}");
    };
    let basic = json!({ "resourceType": "Basic" });
    check("Patient/$validate", &basic, 400, "resourceType").await;
    check("Patient/$validate", &wrapped(basic, &[]), 400, "resourceType").await;
    check("Patient/$validate?mode=erase", &patient, 400, "http.mode").await;
    check("Patient/$validate?mode=delete", &patient, 400, "http.mode").await;
    check("Patient/$validate?mode=profile", &patient, 400, "http.profile").await;
    check("Patient/$validate?colour=red", &patient, 400, "http.colour").await;
    let empty = json!({ "resourceType": "Parameters" });
    check("Patient/$validate", &empty, 400, "http.resource").await;
    site.get("Patient/$validate").await.is(400);
    site.post("$validate", &patient).await.is(501);
    // Parameters are a type like any other.
    let named = json!({ "resourceType": "Parameters", "parameter": [{ "name": "a" }] });
    outcome(site.post("Parameters/$validate", &named).await);
}

#[tokio::test]
async fn xml_is_told_of_with_the_lines_of_the_xml_and_in_xml() {
    // VAL-010
    let site = Site::start().await;
    let xml = "<Patient xmlns=\"http://hl7.org/fhir\">\n  <active value=\"true\"/>\n  \
               <gender value=\"none\"/>\n</Patient>";
    let ask = site.ask("POST", "Patient/$validate").bytes("application/fhir+xml", xml);
    let answer = ask.header("accept", "application/fhir+xml").send().await.is(200);
    assert!(answer.body.starts_with(b"<?xml"));
    let told = answer.json();
    assert_eq!(errors(&told), ["binding"]);
    assert_eq!(told["issue"][0]["extension"][0]["valueInteger"], 3);
    // What no JSON can be made of is told of all the same, as long as it is XML of a resource.
    let send = async |xml: &str| {
        let ask = site.ask("POST", "Patient/$validate");
        ask.bytes("application/fhir+xml", xml.to_owned()).send().await
    };
    let unknown = "<Patient xmlns=\"http://hl7.org/fhir\">\n <colour value=\"red\"/></Patient>";
    let told = outcome(send(unknown).await);
    assert_eq!(told["issue"][0]["severity"], "error");
    assert_eq!(told["issue"][0]["extension"][0]["valueInteger"], 2);
    drop(send("<Patient").await.is(400));
}

#[tokio::test]
async fn whoever_may_create_or_read_may_ask() {
    let site = Site::start().await;
    site.put("Patient/1", json!({ "resourceType": "Patient", "id": "1" })).await;
    let check = async |actions: &[&str], of_type: u16, of_instance: u16| {
        let access = Access::of(vec![rule(&["Patient"], actions, "all")]);
        let body = json!({ "resourceType": "Patient" });
        let asked = site.ask("POST", "Patient/$validate").by(&access).body(body).send().await;
        assert_eq!(asked.status, of_type, "{actions:?}");
        let asked = site.ask("GET", "Patient/1/$validate").by(&access).send().await;
        assert_eq!(asked.status, of_instance, "{actions:?}");
    };
    check(&["create"], 200, 403).await;
    check(&["read"], 200, 200).await;
    check(&["search", "delete"], 403, 403).await;
    // Even where the operation is named, what is stored is for whoever may read it.
    check(&["operation:$validate"], 200, 403).await;
    let own = Access::of_patient("1");
    site.ask("GET", "Patient/1/$validate").by(&own).send().await.is(200);
    site.put("Patient/2", json!({ "resourceType": "Patient", "id": "2" })).await;
    site.ask("GET", "Patient/2/$validate").by(&own).send().await.is(404);
}
