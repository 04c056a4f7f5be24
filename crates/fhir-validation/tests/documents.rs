//! Documents and messages as wholes, and StructureDefinitions and ValueSets as resources.

mod support;

use fhir_validation::Options;
use support::{errors, r4};

fn told(json: &str, rule: &str) -> Vec<String> {
    let issues = r4().validate_json(json.as_bytes(), &Options::default());
    let of_rule = issues.into_iter().filter(|it| it.rule == rule);
    of_rule.map(|it| format!("{} {}", it.severity.as_str(), it.expression)).collect()
}

/// A document whose Composition is about this, with these further entries.
fn document(subject: &str, entries: &str) -> String {
    format!(
        r#"{{"resourceType":"Bundle","type":"document","identifier":{{"system":"urn:a","value":"1"}},"timestamp":"2020-01-01T00:00:00Z","entry":[{{"fullUrl":"http://a/Composition/1","resource":{{"resourceType":"Composition","id":"1","status":"final","type":{{"text":"x"}},"date":"2020","title":"x","author":[{{"display":"x"}}],"subject":{{"reference":"{subject}"}}}}}}{entries}]}}"#
    )
}

#[test]
fn a_document_has_with_it_what_its_composition_refers_to() {
    // VAL-174
    let entry = |id: &str, more: &str| {
        format!(
            r#",{{"fullUrl":"http://a/Patient/{id}","resource":{{"resourceType":"Patient","id":"{id}","active":true{more}}}}}"#
        )
    };
    let missing = "error Bundle.entry[0].resource.subject";
    assert_eq!(told(&document("Patient/1", ""), "reference-missing"), [missing]);
    let whole = document("Patient/1", &entry("1", ""));
    assert_eq!(told(&whole, "reference-missing"), [""; 0]);
    assert_eq!(told(&whole, "document"), [""; 0]);
    let alone = document("Patient/1", &format!("{}{}", entry("1", ""), entry("2", "")));
    assert_eq!(told(&alone, "document"), ["warning Bundle.entry[2]"]);
    // A way back leads there too.
    let back = r#","link":[{"type":"seealso","other":{"reference":"Patient/1"}}]"#;
    let backwards = document("Patient/1", &format!("{}{}", entry("1", ""), entry("2", back)));
    assert_eq!(told(&backwards, "document"), [""; 0]);
}

#[test]
fn a_message_has_its_focus_with_it() {
    // VAL-175
    let message = |entries: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"message","entry":[{{"fullUrl":"http://a/MessageHeader/1","resource":{{"resourceType":"MessageHeader","id":"1","eventUri":"urn:e","source":{{"endpoint":"http://a/e"}},"focus":[{{"reference":"Patient/1"}}]}}}}{entries}]}}"#
        )
    };
    let missing = "error Bundle.entry[0].resource.focus[0]";
    assert_eq!(told(&message(""), "reference-missing"), [missing]);
    let patient = r#",{"fullUrl":"http://a/Patient/1","resource":{"resourceType":"Patient","id":"1","active":true}}"#;
    assert_eq!(told(&message(patient), "reference-missing"), [""; 0]);
}

/// A profile of Observation with these elements after the root.
fn profile(elements: &str) -> String {
    format!(
        r#"{{"resourceType":"StructureDefinition","url":"http://a/p","name":"P","status":"draft","kind":"resource","abstract":false,"type":"Observation","baseDefinition":"http://hl7.org/fhir/StructureDefinition/Observation","derivation":"constraint","differential":{{"element":[{{"id":"Observation","path":"Observation"}}{elements}]}}}}"#
    )
}

#[test]
fn a_profile_can_be_laid_over_its_base() {
    // VAL-068
    let of_type = |path: &str, code: &str, profile: &str| {
        format!(
            r#",{{"id":"{path}","path":"{path}","type":[{{"code":"{code}","profile":["http://hl7.org/fhir/StructureDefinition/{profile}"]}}]}}"#
        )
    };
    let wrong = "element-profile StructureDefinition.differential.element[1].type[0].profile[0]";
    let cases: [(String, &[&str]); 6] = [
        (r#",{"id":"Observation.subject","path":"Observation.subject","min":1}"#.into(), &[]),
        (
            r#",{"id":"Observation.subjekt","path":"Observation.subjekt","min":1}"#.into(),
            &["snapshot StructureDefinition.differential.element[1]"],
        ),
        (
            r#",{"id":"Observation.status","path":"Observation.status","max":"2"}"#.into(),
            &["snapshot StructureDefinition.differential.element[1]"],
        ),
        (of_type("Observation.valueQuantity", "Quantity", "SimpleQuantity"), &[]),
        (of_type("Observation.valueQuantity", "Quantity", "Count"), &[wrong]),
        (of_type("Observation.extension", "Extension", "patient-birthTime"), &[]),
    ];
    for (elements, expected) in cases {
        assert_eq!(errors(&profile(&elements)), expected, "{elements}");
    }
    let unknown =
        profile("").replace("StructureDefinition/Observation\"", "StructureDefinition/X\"");
    assert_eq!(told(&unknown, "snapshot"), ["warning StructureDefinition"]);
}

#[test]
fn expressions_in_filters_are_fhirpath_about_parameters_that_are_there() {
    let set = |language: &str, expression: &str| {
        format!(
            r#"{{"resourceType":"ValueSet","status":"draft","extension":[{{"url":"http://hl7.org/fhir/tools/StructureDefinition/valueset-parameter","extension":[{{"url":"name","valueCode":"p-a"}}]}}],"compose":{{"include":[{{"system":"urn:s","filter":[{{"property":"x","op":"=","_value":{{"extension":[{{"url":"http://hl7.org/fhir/StructureDefinition/cqf-expression","valueExpression":{{"language":"{language}","expression":"{expression}"}}}}]}}}}]}}]}}}}"#
        )
    };
    let place = "error ValueSet.compose.include[0].filter[0].value.extension[0].value";
    assert_eq!(told(&set("text/fhirpath", "%p-a"), "value-set-expression"), [""; 0]);
    assert_eq!(told(&set("text/fhirpath", "%p-b"), "value-set-expression"), [place]);
    assert_eq!(told(&set("text/cql", "%p-a"), "value-set-expression"), [place]);
}
