//! Numbers, kept exactly as written.

use crate::support::Site;

const NUMBERS: [&str; 12] = [
    "1.0",
    "0.010",
    "1e3",
    "1E+3",
    "-0",
    "-0.0",
    "123456789012345678901234567890",
    "0.123456789012345678901234567890",
    "1.7976931348623157e309",
    "9007199254740993",
    "2.50e-7",
    "0",
];

fn observation(number: &str) -> String {
    format!(
        r#"{{ "resourceType" : "Observation", "id": "n", "status": "final", "valueQuantity": {{ "value" : {number} }}, "component": [ {{"valueQuantity": {{"value":{number}}}}} ] }}"#
    )
}

#[tokio::test]
async fn every_digit_that_goes_in_comes_out() {
    // HTTP-079
    let site = Site::on_disk().await;
    for (index, number) in NUMBERS.iter().enumerate() {
        let expected = format!(
            r#""status":"final","valueQuantity":{{"value":{number}}},"component":[{{"valueQuantity":{{"value":{number}}}}}]}}"#
        );
        let written = site.put("Observation/n", observation(number)).await;
        assert!(written.text().ends_with(&expected), "{}", written.text());
        let created = site.post("Observation", observation(number)).await.is(201).reference();
        let version = format!("Observation/n/_history/{}", index + 1);
        for target in [created.as_str(), "Observation/n", version.as_str()] {
            let read = site.get(target).await.is(200);
            assert!(read.text().ends_with(&expected), "{}", read.text());
        }
        let pretty = site.get("Observation/n?_pretty=true").await.text();
        assert!(pretty.contains(&format!("\"value\": {number}\n")), "{pretty}");
    }
    let history = site.get("Observation/n/_history").await.text();
    for number in NUMBERS {
        assert_eq!(history.matches(&format!("\"value\":{number}}}")).count(), 2, "{number}");
    }
}

#[tokio::test]
async fn every_digit_survives_a_transaction_and_a_restart() {
    let site = Site::on_disk().await;
    let entries: Vec<String> = NUMBERS
        .iter()
        .map(|number| {
            let body = observation(number)
                .replace("\"final\"", "\"final\", \"subject\": {\"reference\": \"urn:uuid:p\"}");
            format!(r#"{{"resource":{body},"request":{{"method":"POST","url":"Observation"}}}}"#)
        })
        .collect();
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"fullUrl":"urn:uuid:p","resource":{{"resourceType":"Patient"}},"request":{{"method":"POST","url":"Patient"}}}},{}]}}"#,
        entries.join(",")
    );
    let answer = site.post("", bundle).await.is(200);
    let patient = answer.entry_reference(0);
    let references: Vec<String> =
        (1..=NUMBERS.len()).map(|index| answer.entry_reference(index)).collect();
    let site = site.restart().await;
    for (number, reference) in NUMBERS.iter().zip(references) {
        let expected = format!(
            r#""status":"final","subject":{{"reference":"{patient}"}},"valueQuantity":{{"value":{number}}},"component":[{{"valueQuantity":{{"value":{number}}}}}]}}"#
        );
        let read = site.get(&reference).await.is(200);
        assert!(read.text().ends_with(&expected), "{}", read.text());
    }
}

#[tokio::test]
async fn what_is_no_number_is_refused() {
    let site = Site::start().await;
    for number in ["01", "+1", ".5", "1.", "1e", "0x1", "NaN", "Infinity", "--1"] {
        let refused = site.put("Observation/n", observation(number)).await.is(400);
        assert_eq!(refused.code(), "structure", "{number}");
        assert_eq!(refused.expressions(), ["Observation.valueQuantity.value"], "{number}");
    }
}
