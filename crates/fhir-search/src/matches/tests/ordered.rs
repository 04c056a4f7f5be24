//! The order of matches.

use super::Few;

#[test]
fn matches_are_ordered_by_each_key_in_turn_and_then_by_the_log() {
    // SRCH-190, SRCH-193
    let few = Few::of(&[
        ("Patient/b", r#""birthDate":"2000-01-01","gender":"male""#),
        ("Patient/a", r#""birthDate":"2000-01-01","gender":"male""#),
        ("Patient/c", r#""birthDate":"1990-01-01","gender":"male""#),
        ("Patient/d", r#""birthDate":"2000-01-01","gender":"female""#),
    ]);
    few.check(&[
        ("Patient", "a b c d"),
        ("Patient?_sort=birthdate", "c a b d"),
        ("Patient?_sort=-birthdate", "a b d c"),
        ("Patient?_sort=gender,-birthdate", "d a b c"),
        ("Patient?_sort=-gender,birthdate", "c a b d"),
        ("Patient?_sort=-_id", "d c b a"),
        ("Patient?_sort=_score", "a b c d"),
    ]);
}

#[test]
fn of_several_values_the_least_counts_or_the_greatest_and_without_one_it_is_last() {
    // SRCH-191, SRCH-192
    let few = Few::of(&[
        ("Patient/1", r#""name":[{"given":["Bea","Zoe"]}]"#),
        ("Patient/2", r#""name":[{"given":["Ann"]}]"#),
        ("Patient/3", ""),
        ("Patient/4", r#""name":[{"given":["carl"]}]"#),
        ("Patient/5", r#""name":[{"given":["Ännchen"]}]"#),
    ]);
    few.check(&[("Patient?_sort=given", "2 5 1 4 3"), ("Patient?_sort=-given", "1 4 5 2 3")]);
}

#[test]
fn each_kind_of_value_has_its_order() {
    // SRCH-194, SRCH-195
    let few = Few::of(&[
        (
            "Observation/1",
            r#""valueQuantity":{"value":10,"system":"http://unitsofmeasure.org","code":"g"},
            "effectivePeriod":{"start":"2020-01-01"},"meta":{"lastUpdated":"2020-01-03T00:00:00Z"},
            "subject":{"reference":"Patient/b"}"#,
        ),
        (
            "Observation/2",
            r#""valueQuantity":{"value":9000,"system":"http://unitsofmeasure.org","code":"mg"},
            "effectivePeriod":{"end":"2019-01-01"},"meta":{"lastUpdated":"2020-01-01T00:00:00Z"},
            "subject":{"reference":"Patient/a"}"#,
        ),
        (
            "Observation/3",
            r#""valueQuantity":{"value":-1,"system":"http://unitsofmeasure.org","code":"kg"},
            "effectiveDateTime":"2021-01-01","meta":{"lastUpdated":"2020-01-02T00:00:00Z"},
            "subject":{"reference":"Group/c"}"#,
        ),
        ("RiskAssessment/1", r#""prediction":[{"probabilityDecimal":0.5}]"#),
        ("RiskAssessment/2", r#""prediction":[{"probabilityDecimal":0.25}]"#),
        (
            "RiskAssessment/3",
            r#""prediction":[{"probabilityRange":{"low":{"value":0.1},"high":{"value":0.3}}}]"#,
        ),
        ("Location/B", ""),
        ("Location/a", ""),
        ("ValueSet/1", r#""url":"http://a.example/b""#),
        ("ValueSet/2", r#""url":"http://a.example/B""#),
    ]);
    few.check(&[
        ("Observation?_sort=value-quantity", "3 2 1"),
        ("Observation?_sort=-value-quantity", "1 2 3"),
        ("Observation?_sort=date", "2 1 3"),
        ("Observation?_sort=-date", "1 3 2"),
        ("Observation?_sort=_lastUpdated", "2 3 1"),
        ("Observation?_sort=-_lastUpdated", "1 3 2"),
        ("Observation?_sort=subject", "2 1 3"),
        ("RiskAssessment?_sort=probability", "3 2 1"),
        ("RiskAssessment?_sort=-probability", "1 3 2"),
        ("ValueSet?_sort=url", "2 1"),
        ("Location?_sort=_id", "B a"),
        ("Location?_sort=-_id", "a B"),
    ]);
}
