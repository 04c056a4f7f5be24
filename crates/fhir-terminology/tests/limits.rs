//! What a value set may cost.

mod support;

use fhir_terminology::{ExpandRequest, ExpansionLimits, Terminology, TerminologyError};
use support::{ask, system, text, value_set, with};

/// A code system of so many concepts that does not tell `a` from `A`.
fn large(count: usize) -> String {
    let concepts: Vec<String> = (0..count).map(|n| format!(r#"{{"code":"c{n}"}}"#)).collect();
    system(r#""content":"complete","caseSensitive":false"#, &concepts.join(","))
}

fn expand(terminology: &Terminology, limits: ExpansionLimits) -> Result<usize, TerminologyError> {
    let set = terminology.resolve("http://x/vs")?;
    set.expand(&ExpandRequest { count: Some(0), ..ExpandRequest::default() }, limits)
        .map(|expansion| expansion.total)
}

fn filtered(filters: usize, includes: usize, op: &str) -> Result<usize, TerminologyError> {
    let filter = format!(r#"{{"property":"code","op":"{op}","value":"c1"}}"#);
    let include = format!(
        r#"{{"system":"http://x/s","filter":[{}]}}"#,
        vec![filter.as_str(); filters].join(",")
    );
    let compose = format!(r#"{{"include":[{}]}}"#, vec![include.as_str(); includes].join(","));
    expand(&with(&[&large(2), &value_set(&compose)]), ExpansionLimits::default())
}

#[test]
fn filters_are_counted_by_what_they_cost() {
    // TERM-037, TERM-065
    assert_eq!(filtered(100, 1, "=").unwrap(), 1);
    assert_eq!(filtered(50, 1, "regex").unwrap(), 1);
    for (filters, includes, op) in [(101, 1, "="), (1, 150, "regex"), (50, 3, "regex")] {
        let refused = filtered(filters, includes, op);
        assert!(
            matches!(refused, Err(TerminologyError::TooCostly { .. })),
            "{filters} {refused:?}"
        );
    }
}

#[test]
fn an_expansion_is_counted_by_the_looks_that_it_takes() {
    // TERM-065
    let check = |compose: &str, total: usize, steps: usize| {
        let terminology = with(&[&large(100), &value_set(compose)]);
        let limits = |steps| ExpansionLimits { steps, ..ExpansionLimits::default() };
        assert_eq!(expand(&terminology, limits(steps)).unwrap(), total, "{compose}");
        let refused = expand(&terminology, limits(steps - 1));
        assert!(matches!(refused, Err(TerminologyError::TooCostly { .. })), "{compose}");
    };
    let all = r#"{"system":"http://x/s"}"#;
    check(&format!(r#"{{"include":[{all}]}}"#), 100, 200);
    check(&format!(r#"{{"include":[{all},{all}]}}"#), 100, 400);
    let import = r#"{"system":"http://x/s","valueSet":["http://x/vs/all"]}"#;
    check(&format!(r#"{{"include":[{import}]}}"#), 100, 300);
    check(&format!(r#"{{"include":[{all}],"exclude":[{all},{import}]}}"#), 0, 500);
    let nested = r#"{"valueSet":["http://x/vs/all"]}"#;
    check(&format!(r#"{{"include":[{nested}]}}"#), 100, 400);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it measures how long something takes")]
fn a_list_is_searched_by_code_however_long_it_is() {
    // TERM-005, TERM-088: far from it even when built for debugging.
    const COUNT: usize = 20_000;
    let listed: Vec<String> = (0..COUNT).map(|n| format!(r#"{{"code":"C{n}"}}"#)).collect();
    let all: Vec<String> = (0..COUNT).map(|n| format!("C{n}")).collect();
    let compose = format!(
        r#"{{"include":[{{"system":"http://x/s"}}],"exclude":[{{"system":"http://x/s","concept":[{}]}},
            {{"system":"http://x/s","filter":[{{"property":"code","op":"not-in","value":"{}"}}]}}]}}"#,
        listed.join(","),
        all.join(",")
    );
    let terminology = with(&[&large(COUNT), &value_set(&compose)]);
    let started = std::time::Instant::now();
    assert_eq!(expand(&terminology, ExpansionLimits::default()).unwrap(), 0);
    let took = started.elapsed();
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_concept_has_at_most_a_hundred_codings() {
    let validate = |count: usize| {
        let codings = vec![r#"{"system":"http://x/s","code":"c1"}"#; count].join(",");
        let concept = format!(
            r#"{{"name":"codeableConcept","valueCodeableConcept":{{"coding":[{codings}]}}}}"#
        );
        let url = text("url", "valueUri", "http://x/vs/all");
        ask(&with(&[&large(2)]), "ValueSet/$validate-code", &[&url, &concept], None)
    };
    validate(100).unwrap();
    let issue = validate(101).unwrap_err().issue();
    assert_eq!(issue.code.as_str(), "too-costly");
    assert_eq!(issue.expression, ["Parameters.parameter[1]"]);
}
