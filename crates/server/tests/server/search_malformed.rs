//! Parameters that are wrong in every way that they can be: each answer names the parameter, and
//! where in it what is wrong stands.

use crate::support::Site;

/// A search, the parameter, and the place as the answer says it: in the value from its first
/// character on.
const MALFORMED: &[(&str, &str, &str)] = &[
    // Dates.
    ("Patient?birthdate=abc", "birthdate", "character 1 of the value"),
    ("Patient?birthdate=2021-02-30", "birthdate", "character 1 of the value"),
    ("Patient?birthdate=2021-13", "birthdate", "character 1 of the value"),
    ("Patient?birthdate=ge2021-1-1", "birthdate", "character 3 of the value"),
    ("Patient?birthdate=2020,20x", "birthdate", "character 6 of the value"),
    ("Observation?date=2020-01-01T10", "date", "character 1 of the value"),
    ("Observation?date=2020-01-01T25:00Z", "date", "character 1 of the value"),
    ("Observation?date=2020-01-01T10:00Q", "date", "character 1 of the value"),
    ("Patient?_lastUpdated=yesterday", "_lastUpdated", "character 1 of the value"),
    ("Patient?_lastUpdated=gt", "_lastUpdated", "character 3 of the value"),
    // Prefixes.
    ("Patient?birthdate=GT2020", "birthdate", "character 1 of the value"),
    ("Patient?birthdate=xx2020", "birthdate", "character 1 of the value"),
    ("Patient?birthdate=gt%202020", "birthdate", "character 3 of the value"),
    ("RiskAssessment?probability=>0.5", "probability", "character 1 of the value"),
    // Numbers and quantities.
    ("RiskAssessment?probability=much", "probability", "character 1 of the value"),
    ("RiskAssessment?probability=gt0.5.1", "probability", "character 3 of the value"),
    ("RiskAssessment?probability=1e", "probability", "character 1 of the value"),
    ("RiskAssessment?probability=NaN", "probability", "character 1 of the value"),
    ("Observation?value-quantity=5.4.4", "value-quantity", "character 1 of the value"),
    ("Observation?value-quantity=lt|http://unitsofmeasure.org|mg", "value-quantity", "character 3"),
    ("Observation?value-quantity=1|a|b|c", "value-quantity", "of the value"),
    // Tokens.
    ("Observation?code=a|b|c", "code", "of the value"),
    ("Patient?identifier:of-type=a|b", "identifier", "of the value"),
    ("Patient?gender:missing=maybe", "gender", "character 1 of the value"),
    ("Patient?gender:contains=a", "gender", "character 8 of the name"),
    ("Observation?code:below=x", "code", "of the value"),
    ("Observation?code:in=", "code", "of the value"),
    // References.
    ("Observation?subject=Patient/a_b", "subject", "of the value"),
    ("Observation?subject=a b", "subject", "of the value"),
    ("Observation?subject:Nothing=1", "subject", "character 9 of the name"),
    ("Observation?subject:identifier=a|b|c", "subject", "of the value"),
    ("Observation?subject.nothing=1", "subject", "character 9 of the name"),
    ("Observation?code.text=1", "code", "character 1 of the name"),
    ("Observation?subject..name=1", "subject", "of the name"),
    ("Observation?subject:Patient.birthdate=x", "subject", "character 1 of the value"),
    // Other kinds.
    ("Patient?name=..", "name", "character 1 of the value"),
    ("Patient?name:soundex=a", "name", "character 6 of the name"),
    ("ValueSet?url:contains=a", "url", "character 5 of the name"),
    ("Observation?code-value-quantity=a", "code-value-quantity", "character 1 of the value"),
    ("Observation?code-value-quantity=a$b$c", "code-value-quantity", "of the value"),
    ("Observation?code-value-quantity=a$x", "code-value-quantity", "character 3 of the value"),
    ("Observation?code-value-quantity:missing=true", "code-value-quantity", "of the name"),
    ("Location?near=91|0", "near", "character 1 of the value"),
    ("Location?near=0|181", "near", "character 3 of the value"),
    ("Location?near=0", "near", "of the value"),
    ("Location?near=0|0|far", "near", "character 5 of the value"),
    ("Location?near=0|0|1|parsec", "near", "character 7 of the value"),
    // How the answer looks.
    ("Patient?_count=many", "_count", "character 1 of the value"),
    ("Patient?_count=-1", "_count", "character 1 of the value"),
    ("Patient?_count=1&_count=2", "_count", "character 1 of the name"),
    ("Patient?_total=some", "_total", "character 1 of the value"),
    ("Patient?_summary=most", "_summary", "character 1 of the value"),
    ("Patient?_elements=a,b!", "_elements", "character 3 of the value"),
    ("Patient?_contained=maybe", "_contained", "character 1 of the value"),
    ("Patient?_containedType=parent", "_containedType", "character 1 of the value"),
    ("?_type=Patient,Nothing", "_type", "character 9 of the value"),
    // Others.
    ("Patient?_has:Observation=1", "_has", "of the name"),
    ("Patient?_has:Nothing:subject:code=1", "_has", "character 6 of the name"),
    ("Patient?_has:Observation:nothing:code=1", "_has", "character 18 of the name"),
    ("Patient?_has:Observation:subject:nothing=1", "_has", "character 26 of the name"),
    ("Patient?_has:Observation:subject:date=x", "_has", "character 1 of the value"),
    ("Patient?_list=a_b", "_list", "character 1 of the value"),
    ("Patient?_text=(a", "_text", "character 3 of the value"),
    ("Patient?_content=a or", "_content", "character 5 of the value"),
    ("Patient?_query=mine", "_query", "of the value"),
    ("Patient?_filter=birthdate", "_filter", "of the value"),
    ("Patient?_filter=birthdate xx 2020", "_filter", "character 11 of the value"),
    ("Patient?_filter=birthdate ge x", "_filter", "character 14 of the value"),
    ("Patient?_filter=(gender eq male", "_filter", "of the value"),
    ("Patient?_filter=gender eq male and", "_filter", "of the value"),
    ("Patient?_filter=nothing eq 1", "_filter", "character 1 of the value"),
];

/// What is ignored where it may be, and refused with strict handling.
const IGNORED: &[(&str, &str, &str)] = &[
    ("Patient?nothing=1", "nothing", "character 1 of the name"),
    ("Patient?name=", "name", "character 1 of the value"),
    ("Patient?_sort=nothing", "_sort", "character 1 of the value"),
    ("Patient?_sort=name,-nothing", "_sort", "character 7 of the value"),
    ("Location?_sort=near", "_sort", "character 1 of the value"),
    ("Patient?_include=nothing", "_include", "character 1 of the value"),
    ("Patient?_include=Patient:nothing", "_include", "character 9 of the value"),
    ("Patient?_include=Patient:organization:Group", "_include", "character 22 of the value"),
    ("Patient?_revinclude=Observation:code", "_revinclude", "character 13 of the value"),
];

#[tokio::test]
async fn whatever_is_malformed_is_named_with_its_place() {
    // SRCH-012, SRCH-024, SRCH-061, SRCH-148, SRCH-151
    let site = Site::start().await;
    let mut wrong = Vec::new();
    let all = MALFORMED.iter().map(|case| (case, false)).chain(IGNORED.iter().map(|it| (it, true)));
    for ((target, parameter, place), is_strict) in all {
        let target = target.replace(' ', "%20").replace('|', "%7C").replace('>', "%3E");
        let ask = site.ask("GET", &target);
        let ask = if is_strict { ask.header("prefer", "handling=strict") } else { ask };
        let answer = ask.send().await;
        let names_it = answer.status == 400
            && answer.expressions() == [format!("http.{parameter}")]
            && answer.text().contains(place);
        if !names_it {
            wrong.push(format!("{target}: {} {}", answer.status, answer.text()));
        }
        if is_strict {
            site.get(&target).await.is(200);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
