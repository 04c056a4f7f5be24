//! Whatever comes in, validation ends soon and does not panic.

mod support;

use std::time::{Duration, Instant};

use fhir_validation::Options;
use proptest::prelude::*;
use support::{URL, errors_of, r4, with_profile};

/// How long one hostile resource may take, in a build without optimisation on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

#[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn validate(json: &str) -> usize {
    let before = Instant::now();
    let issues = r4().validate_json(json.as_bytes(), &Options::default());
    assert!(before.elapsed() < LIMIT, "{:?} for {:.80}", before.elapsed(), json);
    issues.len()
}

#[test]
fn deep_nesting_and_many_repetitions_end_soon() {
    // VAL-012
    let depth = 5000;
    let nest = format!(
        "{{\"resourceType\":\"Patient\",\"extension\":[{}{}]}}",
        "{\"url\":\"http://a/b\",\"extension\":[".repeat(depth),
        "]}".repeat(depth)
    );
    assert_eq!(validate(&nest), 1);
    let names = vec![r#"{"family":"x"}"#; 100_000].join(",");
    validate(&format!(r#"{{"resourceType":"Patient","name":[{names}]}}"#));
    let unknown: Vec<String> = (0..100_000).map(|at| format!("\"a{at}\":1")).collect();
    let unknown = format!("{{\"resourceType\":\"Patient\",{}}}", unknown.join(","));
    assert_eq!(validate(&unknown), Options::default().cap);
    let long = "a<&".repeat(1_000_000);
    validate(&format!(
        r#"{{"resourceType":"Patient","text":{{"status":"generated","div":"{long}"}}}}"#
    ));
}

#[test]
fn a_thousand_contained_resources_are_looked_at_once() {
    // VAL-095
    let contained: Vec<String> = (0..1000)
        .map(|at| format!(r#"{{"resourceType":"Organization","id":"o{at}","name":"x"}}"#))
        .collect();
    let json = format!(r#"{{"resourceType":"Patient","contained":[{}]}}"#, contained.join(","));
    assert_eq!(validate(&json), 1000);
}

fn any_json() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "resourceType",
        "id",
        "name",
        "_name",
        "given",
        "_given",
        "extension",
        "url",
        "valueString",
        "_valueString",
        "contained",
        "entry",
        "resource",
        "text",
        "div",
        "coding",
        "system",
        "code",
        "subject",
        "reference",
        "meta",
        "profile",
        "item",
        "link",
        "other",
        "x",
    ]);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-1.50".to_owned()),
        Just("\"\"".to_owned()),
        Just("\"Patient\"".to_owned()),
        Just("\"Bundle\"".to_owned()),
        Just("\"Observation\"".to_owned()),
        Just("\"#x\"".to_owned()),
        Just("\"http://hl7.org/fhir/StructureDefinition/vitalsigns\"".to_owned()),
        Just("\"http://hl7.org/fhir/StructureDefinition/patient-birthTime\"".to_owned()),
        "\"[a-z<>&é ]{0,8}\"",
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|it| format!("[{}]", it.join(","))),
            prop::collection::btree_map(names.clone(), inner, 0..6).prop_map(|it| {
                let members: Vec<String> =
                    it.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn validation_of_any_json_ends_without_panic_and_the_same_twice(json in any_json()) {
        let typed = json.replacen('{', "{\"resourceType\":\"Bundle\",\"type\":\"collection\",", 1);
        for text in [&json, &typed] {
            let issues = r4().validate_json(text.as_bytes(), &Options::default());
            prop_assert_eq!(&issues, &r4().validate_json(text.as_bytes(), &Options::default()));
        }
    }
}

#[test]
fn a_profile_that_asks_for_itself_comes_to_an_end() {
    // VAL-012, VAL-107
    let asks_itself = format!(
        r#"{{"id":"Patient.active","path":"Patient.active","constraint":[{{"key":"c-1","severity":"error","human":"h","expression":"%resource.conformsTo('{URL}')"}}]}}"#
    );
    let validator = with_profile("Patient", &asks_itself);
    let options = Options { profiles: &[URL], ..Options::default() };
    let json = r#"{"resourceType":"Patient","active":true}"#;
    let issues = validator.validate_json(json.as_bytes(), &options);
    assert_eq!(errors_of(&issues), [""; 0]);
}
