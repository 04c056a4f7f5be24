//! Conditions along references, in compartments and on lists.

use super::Few;

fn refers(name: &str, id: &str) -> String {
    format!(r#""{name}":{{"reference":"{id}"}}"#)
}

fn subject(id: &str) -> String {
    refers("subject", id)
}

fn few(resources: &[(&str, String)]) -> Few {
    let all: Vec<(&str, &str)> = resources.iter().map(|(name, of)| (*name, &**of)).collect();
    Few::of(&all)
}

#[test]
fn a_reference_is_found_by_id_by_type_and_id_and_by_url() {
    // SRCH-115, SRCH-116, SRCH-117, SRCH-118, SRCH-119
    let few = few(&[
        ("Observation/1", subject("Patient/p")),
        ("Observation/2", subject("https://own.example/fhir/Patient/p")),
        ("Observation/3", subject("https://other.example/Patient/p")),
        ("Observation/4", subject("Group/p")),
        ("Observation/5", subject("Patient/p/_history/3")),
    ]);
    few.check(&[
        ("Observation?patient=p", "1 2 5"),
        ("Observation?patient=Patient/p", "1 2 5"),
        ("Observation?patient=https://own.example/fhir/Patient/p", "1 2 5"),
        ("Observation?subject:Patient=p", "1 2 5"),
        ("Observation?subject=p", "1 2 4 5"),
        ("Observation?subject=https://other.example/Patient/p", "3"),
        ("Observation?subject=Patient/p/_history/3", "5"),
    ]);
}

#[test]
fn a_reference_is_found_by_the_identifier_that_it_has() {
    // SRCH-121
    let few = Few::of(&[
        ("Observation/1", r#""subject":{"identifier":{"system":"urn:n","value":"7"}}"#),
        ("Observation/2", r#""subject":{"identifier":{"value":"7"}}"#),
        ("Observation/3", r#""subject":{"reference":"Patient/7"}"#),
    ]);
    few.check(&[
        ("Observation?subject:identifier=urn:n|7", "1"),
        ("Observation?subject:identifier=7", "1 2"),
    ]);
}

#[test]
fn a_chain_leads_to_resources_that_are_there() {
    // SRCH-160, SRCH-161, SRCH-162, SRCH-164, SRCH-120
    let few = few(&[
        ("Organization/o", r#""name":"Acme""#.to_owned()),
        (
            "Patient/p",
            format!(
                r#""name":[{{"family":"Peter"}}],{}"#,
                refers("managingOrganization", "Organization/o")
            ),
        ),
        ("Device/d", r#""deviceName":[{"name":"Peter's","type":"other"}]"#.to_owned()),
        ("Group/g", r#""code":{"coding":[{"code":"x"}]}"#.to_owned()),
        ("Observation/1", subject("Patient/p")),
        ("Observation/2", subject("Patient/gone")),
        ("Observation/3", subject("Patient/p/_history/1")),
        ("Observation/4", subject("Group/g")),
        ("Observation/5", subject("https://other.example/Patient/p")),
    ]);
    few.check(&[
        ("Observation?subject:Patient.name=peter", "1 3"),
        ("Observation?patient.name=peter", "1 3"),
        ("Observation?subject.name=peter", "1 3"),
        ("Observation?patient.organization.name=acme", "1 3"),
        ("Observation?subject:Group.code=x", "4"),
        ("Observation?patient._id=p", "1 3"),
    ]);
}

#[test]
fn each_chain_is_satisfied_by_itself_and_takes_modifiers_at_its_end() {
    // SRCH-163, SRCH-158, SRCH-165
    let general = |ids: &[&str]| {
        let all: Vec<_> = ids.iter().map(|it| format!(r#"{{"reference":"{it}"}}"#)).collect();
        format!(r#""generalPractitioner":[{}]"#, all.join(","))
    };
    let few = few(&[
        ("Practitioner/1", r#""name":[{"family":"A"}],"gender":"male""#.to_owned()),
        ("Practitioner/2", r#""name":[{"family":"B"}],"gender":"female""#.to_owned()),
        ("Patient/1", general(&["Practitioner/1", "Practitioner/2"])),
        ("Patient/2", general(&["Practitioner/1"])),
        ("Patient/3", String::new()),
    ]);
    few.check(&[
        (
            "Patient?general-practitioner:Practitioner.family=a\
             &general-practitioner:Practitioner.gender=female",
            "1",
        ),
        ("Patient?general-practitioner:Practitioner.gender:not=male", "1"),
        ("Patient?general-practitioner:Practitioner.identifier:missing=true", "1 2"),
        ("Patient?general-practitioner:Practitioner.family:exact=A", "1 2"),
    ]);
}

#[test]
fn chains_go_into_contained_resources_which_are_no_matches_themselves() {
    // SRCH-223, SRCH-127
    let few = Few::of(&[(
        "MedicationRequest/1",
        r##""contained":[{"resourceType":"Medication","id":"m",
            "code":{"coding":[{"code":"abc"}]},"manufacturer":{"reference":"#o"}},
            {"resourceType":"Organization","id":"o","name":"Acme"}],
        "medicationReference":{"reference":"#m"}"##,
    )]);
    few.check(&[
        ("MedicationRequest?medication.code=abc", "1"),
        ("MedicationRequest?medication.code=x", ""),
        ("MedicationRequest?medication:Medication.manufacturer.name=acme", "1"),
        ("MedicationRequest?medication=m", ""),
        ("Medication?code=abc", ""),
        ("Organization?name=acme", ""),
    ]);
}

#[test]
fn a_resource_is_found_by_what_refers_to_it() {
    // SRCH-037, SRCH-038, SRCH-039, SRCH-040
    let observed = |code: &str, of: &str| {
        format!(r#""code":{{"coding":[{{"code":"{code}"}}]}},{}"#, subject(of))
    };
    let few = few(&[
        ("Organization/o", r#""name":"Acme""#.to_owned()),
        ("Patient/1", refers("managingOrganization", "Organization/o")),
        ("Patient/2", String::new()),
        ("Patient/3", String::new()),
        ("Observation/a", observed("x", "Patient/1")),
        ("Observation/b", observed("y", "Patient/1")),
        ("Observation/c", observed("y", "Patient/2")),
        (
            "AuditEvent/e",
            r#""entity":[{"what":{"reference":"Observation/c"}}],"type":{"code":"t"}"#.to_owned(),
        ),
    ]);
    few.check(&[
        ("Patient?_has:Observation:patient:code=x", "1"),
        ("Patient?_has:Observation:patient:code=x,y", "1 2"),
        ("Patient?_has:Observation:patient:code=x&_has:Observation:patient:code=y", "1"),
        ("Patient?_has:Observation:patient:_has:AuditEvent:entity:type=t", "2"),
        ("Observation?patient._has:Observation:patient:code=x", "a b"),
        ("Organization?_has:Patient:organization:_has:Observation:patient:code=x", "o"),
    ]);
}

#[test]
fn a_hierarchy_is_followed_up_and_down_and_a_cycle_once() {
    // SRCH-125
    let few = few(&[
        ("Location/1", String::new()),
        ("Location/2", refers("partOf", "Location/1")),
        ("Location/3", refers("partOf", "Location/2")),
        ("Location/4", refers("partOf", "Location/3")),
        ("Location/5", refers("partOf", "Location/6")),
        ("Location/6", refers("partOf", "Location/5")),
    ]);
    few.check(&[
        ("Location?partof=2", "3"),
        ("Location?partof:below=2", "3 4"),
        ("Location?partof:below=1", "2 3 4"),
        ("Location?partof:above=2", "2 3"),
        ("Location?partof:below=5", "5 6"),
        ("Location?partof:above=5", "5 6"),
    ]);
}

#[test]
fn a_compartment_has_what_refers_to_its_resource_and_that_itself() {
    // SRCH-007, SRCH-008
    let few = few(&[
        ("Patient/1", String::new()),
        ("Patient/2", String::new()),
        ("Observation/a", subject("Patient/1")),
        ("Observation/b", subject("Patient/2")),
        ("Observation/c", r#""performer":[{"reference":"Patient/1"}]"#.to_owned()),
        ("Encounter/d", subject("Patient/1")),
    ]);
    few.check(&[
        ("Patient/1/Observation", "a c"),
        ("Patient/1/Observation?_id=c", "c"),
        ("Patient/1/Patient", "1"),
        ("Patient/1/*", "d a c 1"),
        ("Patient/1/*?_type=Encounter", "d"),
    ]);
}

#[test]
fn what_is_on_a_list_is_found_by_it() {
    // SRCH-036
    let few = few(&[
        ("List/l", r#""entry":[{"item":{"reference":"Patient/1"}}]"#.to_owned()),
        ("Patient/1", r#""gender":"male""#.to_owned()),
        ("Patient/2", r#""gender":"male""#.to_owned()),
    ]);
    few.check(&[
        ("Patient?_list=l", "1"),
        ("Patient?_list=l&gender=female", ""),
        ("Patient?_list=none", ""),
    ]);
}

#[test]
fn canonicals_lead_to_what_has_their_url_and_version() {
    // SRCH-166, SRCH-180
    let few = few(&[
        (
            "Questionnaire/1",
            r#""url":"http://a.example/q","version":"1.0","title":"Old""#.to_owned(),
        ),
        ("Questionnaire/2", r#""url":"http://a.example/q","version":"2","title":"New""#.to_owned()),
        ("Questionnaire/3", r#""url":"http://a.example/q/3","title":"New""#.to_owned()),
        ("QuestionnaireResponse/any", r#""questionnaire":"http://a.example/q""#.to_owned()),
        ("QuestionnaireResponse/one", r#""questionnaire":"http://a.example/q|1.0""#.to_owned()),
        ("QuestionnaireResponse/two", r#""questionnaire":"http://a.example/q|2#part""#.to_owned()),
        ("QuestionnaireResponse/none", r#""questionnaire":"http://a.example/q|3""#.to_owned()),
    ]);
    few.check(&[
        ("QuestionnaireResponse?questionnaire.title=old", "any one"),
        ("QuestionnaireResponse?questionnaire:Questionnaire.title=new", "any two"),
        ("QuestionnaireResponse?questionnaire.title=else", ""),
        ("Questionnaire?_has:QuestionnaireResponse:questionnaire:_id=any", "1 2"),
        ("Questionnaire?_has:QuestionnaireResponse:questionnaire:_id=two", "2"),
        ("Questionnaire?_has:QuestionnaireResponse:questionnaire:_id=none", ""),
    ]);
}

#[test]
fn what_is_contained_matches_for_what_it_says_itself() {
    // SRCH-222
    let medication = |id: &str, code: &str| {
        format!(
            r#"{{"resourceType":"Medication","id":"{id}","code":{{"coding":[{{"code":"{code}"}}]}}}}"#
        )
    };
    let few = few(&[
        (
            "MedicationRequest/r",
            format!(
                r##""contained":[{},{},{{"resourceType":"Observation","id":"o","subject":{{"reference":"Patient/1"}}}}],"medicationReference":{{"reference":"#a"}},"subject":{{"reference":"Patient/1"}}"##,
                medication("a", "x"),
                medication("b", "y")
            ),
        ),
        ("Medication/c", r#""code":{"coding":[{"code":"x"}]}"#.to_owned()),
    ]);
    for (request, expected) in [
        ("Medication?code=x", "r#a"),
        ("Medication?code:not=x", "r#b"),
        ("Medication?_id=b", "r#b"),
        ("Medication?_lastUpdated=ge2000", ""),
        ("Medication?_has:MedicationRequest:medication:_id=r", ""),
        ("Patient/1/Observation?", "r#o"),
        ("Patient/2/Observation?", ""),
    ] {
        assert_eq!(few.contained(request), expected, "{request}");
    }
    few.check(&[("Medication?code=x", "c")]);
}
