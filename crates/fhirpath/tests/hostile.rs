//! Whatever the expression and whatever the data: an answer or an error, within bounds.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

use fhir_core::json::Document;
use fhir_schema::Schema;
use fhirpath::{
    CompileProblem, Context, EvaluationError, EvaluationProblem, Expression, FhirValue, Item,
    Options,
};
use proptest::prelude::*;

fn compile(text: &str) -> Result<Expression, fhirpath::CompileError> {
    Expression::compile_for_anything(text, Schema::r4(), Options::default())
}

/// How many items the expression finds.
fn evaluate(text: &str, json: &str, budget: u64) -> Result<usize, EvaluationError> {
    let schema = Schema::r4();
    let expression = compile(text).unwrap();
    let document = Document::parse(json.as_bytes()).unwrap();
    let context = Context::new(schema).with_budget(budget);
    let focus = Item::Fhir(FhirValue::resource(schema, document.root()));
    expression.evaluate(&context, &focus).map(|items| items.len())
}

const PATIENT: &str = r#"{"resourceType":"Patient","name":[{"given":["A","B"]}]}"#;

#[test]
fn what_is_too_deep_or_too_long_is_refused() {
    for text in [
        format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000)),
        "-".repeat(5_000) + "1",
        "a".to_owned() + &".a".repeat(5_000),
        "true".to_owned() + &" and true".repeat(5_000),
        "1".to_owned() + &"[0]".repeat(5_000),
        "'".to_owned() + &"x".repeat(70_000) + "'",
    ] {
        let error = compile(&text).unwrap_err();
        assert!(matches!(error.problem, CompileProblem::TooLarge(_)), "{error}");
    }
}

#[test]
fn the_deepest_that_is_accepted_is_evaluated() {
    let given = format!("{}true{}", "(".repeat(95), ")".repeat(95));
    assert_eq!(evaluate(&given, PATIENT, 100_000).unwrap(), 1);
    let given = "true".to_owned() + &" and true".repeat(95);
    assert_eq!(evaluate(&given, PATIENT, 100_000).unwrap(), 1);
    let given = "name".to_owned() + &".where(true)".repeat(45) + &".select($this)".repeat(45);
    assert_eq!(evaluate(&given, PATIENT, 100_000).unwrap(), 1);
    // Each start stands once in what is compiled, however many stand around it.
    let given = "1.aggregate(1,".repeat(90) + "1" + &")".repeat(90);
    assert_eq!(evaluate(&given, PATIENT, 100_000).unwrap(), 1);
    let given = "where(".repeat(90) + "true" + &")".repeat(90);
    assert_eq!(evaluate(&given, PATIENT, 100_000).unwrap(), 1);
    let deep = format!(
        r#"{{"resourceType":"Patient","extension":[{}{}]}}"#,
        r#"{"url":"a","extension":["#.repeat(60),
        "]}".repeat(60),
    );
    let given = "descendants().select(descendants())".to_owned() + &".where(true)".repeat(90);
    assert!(evaluate(&given, &deep, 10_000_000).is_ok());
}

fn patient_with(members: &str) -> String {
    format!(r#"{{"resourceType":"Patient",{members}}}"#)
}

fn problem(text: &str, json: &str, budget: u64) -> EvaluationProblem {
    evaluate(text, json, budget).expect_err(text).problem
}

#[test]
fn parts_that_wait_for_each_other_do_not_overflow_the_stack() {
    let deep = patient_with(&format!(
        r#""extension":[{}{{"id":"z"}}{}]"#,
        r#"{"url":"a","extension":["#.repeat(60),
        "]}".repeat(60),
    ));
    // For each part of the expression as deep as the JSON.
    let step = "%resource.descendants().where(id = 'z').select(";
    let given = step.repeat(30) + "$this" + &")".repeat(30);
    assert_eq!(evaluate(&given, &deep, 1_000_000).unwrap(), 1);
    let given = step.repeat(90) + "$this" + &")".repeat(90);
    assert!(matches!(problem(&given, &deep, 1_000_000), EvaluationProblem::TooDeep(_)));
    // As deep as the expression has parts, each of which hands on to the next.
    for part in [
        "select($this.select($this.select($this.select($this.select($this)))))",
        "select(iif(true, iif(true, iif(true, iif(true, iif(true, $this))))))",
        "select(iif(true, repeat(name.given).trace('a').aggregate($this).as(string)) | $this)",
    ] {
        let given = "$this".to_owned() + &format!(".{part}").repeat(85);
        let problem = problem(&given, PATIENT, 1_000_000);
        assert!(matches!(problem, EvaluationProblem::TooDeep(_)), "{part}: {problem}");
    }
}

#[test]
fn an_object_of_many_members_is_gone_through_once() {
    let members: Vec<String> = (0..150_000).map(|it| format!(r#""m{it}":1"#)).collect();
    let beside: Vec<String> = (0..50_000).map(|it| format!(r#""_m{it}":{{}}"#)).collect();
    let json = format!(
        r#"{{"resourceType":"Questionnaire","x":{{{},{},"_b":{{}}}}}}"#,
        members.join(","),
        beside.join(","),
    );
    assert_eq!(evaluate("descendants().linkId.isDistinct()", &json, 1_000_000).unwrap(), 1);
    assert_eq!(evaluate("x.children().count()", &json, 1_000_000).unwrap(), 1);
    assert_eq!(evaluate("x.select(children().count())", &json, 1_000_000).unwrap(), 1);
    // Whoever goes through it again pays for it.
    let given = "x.select(".to_owned() + &"b | ".repeat(1_000) + "b)";
    let problem = problem(&given, &json, 1_000_000);
    assert!(matches!(problem, EvaluationProblem::BudgetExceeded(_)), "{problem}");
}

#[test]
fn what_is_compared_is_paid_for_on_both_sides() {
    let long = "m".repeat(60_000);
    let names: Vec<String> = (0..20_000).map(|it| format!(r#""n{it}""#)).collect();
    let backwards: Vec<String> = names.iter().rev().cloned().collect();
    let json = patient_with(&format!(
        r#""name":[{{"given":[{}]}},{{"given":[{}]}}],
        "q":[{{"valueQuantity":{{"value":1,"code":"{long}"}}}}],"x":"{long}""#,
        names.join(","),
        backwards.join(","),
    ));
    for text in [
        "name[0] ~ name[1]",
        "(1|2|3|4|5|6|7|8|9|10).select((1|2|3|4|5|6|7|8|9|10).select('' ~ %resource.x))",
        "(1|2|3|4|5|6|7|8|9|10).select((1|2|3|4|5|6|7|8|9|10).select('' = %resource.x))",
        "(1|2|3|4|5|6|7|8|9|10).select(1 'mg/mL' < 2 'kg/L')",
    ] {
        let budget = if text.contains("mg") { 150 } else { 50_000 };
        let problem = problem(text, &json, budget);
        assert!(matches!(problem, EvaluationProblem::BudgetExceeded(_)), "{text}: {problem}");
    }
    // Many members are compared without looking for each of them among all.
    let members: Vec<String> = (0..100_000).map(|it| format!(r#""m{it}":1"#)).collect();
    let backwards: Vec<String> = members.iter().rev().cloned().collect();
    let json =
        patient_with(&format!(r#""x":[{{{}}},{{{}}}]"#, members.join(","), backwards.join(",")));
    assert_eq!(evaluate("(x[0] = x[1]).allTrue()", &json, 1_000_000).unwrap(), 1);
    assert_eq!(evaluate("(x[0] ~ x[1]).allTrue()", &json, 1_000_000).unwrap(), 1);
}

#[test]
fn sorting_takes_no_longer_where_much_is_empty() {
    let mut names = vec!["{}"; 50_000];
    names.extend(vec![r#"{"family":"a"}"#; 50_000]);
    let json = patient_with(&format!(r#""name":[{}]"#, names.join(",")));
    assert_eq!(evaluate("name.sort(family)", &json, 2_000_000).unwrap(), 100_000);
}

#[test]
fn units_do_not_grow_without_end() {
    let chars = format!("'{}'.toChars()", "a".repeat(60));
    let given = format!("{chars}.aggregate($total * $total, 1 'm/m')");
    assert_eq!(evaluate(&given, PATIENT, 100_000).unwrap(), 0);
}

#[test]
fn patterns_are_paid_for_by_their_size_and_what_they_go_through() {
    let large = "([a-z]|[0-9]){1,900}!";
    let exceeds = |text: &str, json: &str, budget: u64| {
        let problem = problem(text, json, budget);
        assert!(matches!(problem, EvaluationProblem::BudgetExceeded(_)), "{text}: {problem}");
    };
    let text = "a".repeat(200_000);
    let json = patient_with(&format!(r#""id":"{text}""#));
    exceeds(&format!("id.matches('{large}')"), &json, 100_000);
    exceeds(&format!("id.matchesFull('{large}')"), &json, 100_000);
    exceeds(&format!("id.replaceMatches('{large}', '')"), &json, 100_000);
    // One that no literal gives is compiled once for many items.
    let numbers = "'a'.select('".to_owned() + &"1".repeat(2_000) + "').toChars()";
    let given = format!("{numbers}.select(matches('{large}' & ''))");
    assert_eq!(evaluate(&given, PATIENT, 200_000).unwrap(), 2_000);
    // And again for each that differs.
    exceeds(&format!("{numbers}.select(matches('{large}' & $index.toString()))"), PATIENT, 200_000);
    // What is replaced is paid for once, however many places there are.
    let given = "id.replaceMatches('a', 'bb').length()";
    assert_eq!(evaluate(given, &json, 300_000).unwrap(), 1);
    // All patterns of one expression have a bound too.
    let given =
        format!("'a'.matches('{large}')") + &format!(" or 'a'.matches('{large}')").repeat(90);
    let error = compile(&given).unwrap_err();
    assert!(matches!(error.problem, CompileProblem::TooLarge(_)), "{error}");
}

#[test]
fn what_would_never_end_is_stopped_by_the_budget() {
    let chars = "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'.toChars()";
    for text in [
        format!("{chars}.aggregate($total.combine($total | 'a').combine($total), 'a')"),
        format!("{chars}.aggregate($total & $total, 'a').length()"),
        format!("{chars}.aggregate($total.replace('a', 'aaaaaaaaaa'), 'a').length()"),
        format!("{chars}.select({chars}).select({chars}).select({chars})"),
        "1.repeat($this + 1)".to_owned(),
    ] {
        let error = evaluate(&text, PATIENT, 1_000_000).unwrap_err();
        let problem = error.problem;
        assert!(matches!(problem, EvaluationProblem::BudgetExceeded(_)), "{text}: {problem}");
    }
}

#[test]
fn evil_patterns_take_linear_time() {
    let text = "a".repeat(100_000);
    let json = format!(r#"{{"resourceType":"Patient","id":"{text}!"}}"#);
    for pattern in ["^(a+)+$", "^(a|aa)+$", "^([a-z]*)*$", "(.*)*x"] {
        let expression = format!("id.matches('{pattern}')");
        assert_eq!(evaluate(&expression, &json, 100_000).unwrap(), 1);
    }
    assert!(compile("'a'.matches('(((a{100}){100}){100})')").is_err());
}

#[test]
fn many_items_are_compared_without_looking_at_all_pairs() {
    let names: Vec<String> = (0..20_000).map(|it| format!(r#"{{"family":"f{it}"}}"#)).collect();
    let json = format!(r#"{{"resourceType":"Patient","name":[{}]}}"#, names.join(","));
    assert_eq!(evaluate("name.distinct()", &json, 1_000_000).unwrap(), 20_000);
    assert_eq!(evaluate("name.family.intersect(name.family)", &json, 1_000_000).unwrap(), 20_000);
}

#[test]
fn the_greatest_numbers_are_moved_beyond_without_a_panic() {
    let least = "('-170141183460469231731687303715884105727'.toDecimal() - 1)";
    for text in [
        format!("{least} / -1"),
        format!("-{least}"),
        format!("{least}.abs()"),
        "@2015-02-03 + 9223372036854775807.0 days".to_owned(),
        "@2015-02-03T10:00:00 - 9223372036854775807.0 days".to_owned(),
    ] {
        assert_eq!(evaluate(&text, PATIENT, 1_000).unwrap(), 0, "{text}");
    }
}

#[test]
fn errors_say_where_they_stand() {
    let error = compile("name.\n  given.foo()").unwrap_err();
    assert_eq!((error.at.line, error.at.column), (2, 9));
    assert_eq!(error.to_string(), "no function is named 'foo' at line 2, column 9");
    let error = evaluate("1 +\n name.given.single().length()", PATIENT, 1_000).unwrap_err();
    assert_eq!((error.at.line, error.at.column), (2, 7));
}

/// Pieces from which much is an expression.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z]{1,6}",
        Just("name".to_owned()),
        Just("given".to_owned()),
        Just("value".to_owned()),
        Just(".where(".to_owned()),
        Just(".select(".to_owned()),
        Just(".exists()".to_owned()),
        Just(".descendants()".to_owned()),
        Just(".toQuantity()".to_owned()),
        Just(".lowBoundary()".to_owned()),
        Just(".substring(1".to_owned()),
        Just("$this".to_owned()),
        Just(")".to_owned()),
        Just("(".to_owned()),
        Just(" | ".to_owned()),
        Just(" = ".to_owned()),
        Just(" + ".to_owned()),
        Just(" and ".to_owned()),
        Just(" is Quantity".to_owned()),
        Just("4 days".to_owned()),
        Just("@2015-02-03T10:11:12.345+01:00".to_owned()),
        Just("1.50 'mg'".to_owned()),
        Just("'a\\u00e4'".to_owned()),
        Just("-170141183460469231731687303715884105728.5".to_owned()),
        Just("'-170141183460469231731687303715884105727'.toDecimal()".to_owned()),
        Just(" - 1".to_owned()),
        Just(" / -1".to_owned()),
        Just(".abs()".to_owned()),
        Just("9223372036854775807.0 days".to_owned()),
        Just("@2015-02-03".to_owned()),
    ];
    prop::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat())
}

/// JSON of any shape, under names that R4 has.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("1e999".to_owned()),
        Just("0.10".to_owned()),
        Just(r#""2015-02""#.to_owned()),
        Just(r#""text""#.to_owned()),
    ];
    let name = prop_oneof![
        Just("name"),
        Just("_given"),
        Just("given"),
        Just("valueQuantity"),
        Just("value"),
        Just("code"),
        Just("contained"),
        Just("extension"),
        Just("resourceType"),
    ];
    let tree = leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::btree_map(name.clone(), inner, 0..4).prop_map(|members| {
                let members: Vec<String> =
                    members.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    });
    tree.prop_map(|tree| format!(r#"{{"resourceType":"Observation","component":{tree}}}"#))
}

proptest! {
    #[test]
    fn no_text_makes_the_compiler_panic(text in any::<String>()) {
        let _ = compile(&text);
    }

    #[test]
    fn no_expression_panics_on_any_json(text in pieces(), json in any_json()) {
        let schema = Schema::r4();
        if let Ok(expression) = compile(&text) {
            let document = Document::parse(json.as_bytes()).unwrap();
            let context = Context::new(schema).with_budget(100_000);
            let focus = Item::Fhir(FhirValue::resource(schema, document.root()));
            let _ = expression.evaluate(&context, &focus);
        }
    }

    #[test]
    fn every_function_takes_any_json(index in 0..FUNCTIONS.len(), json in any_json()) {
        let text = format!("descendants().select({})", FUNCTIONS[index]);
        let expression = compile(&text).unwrap();
        let schema = Schema::r4();
        let document = Document::parse(json.as_bytes()).unwrap();
        let context = Context::new(schema).with_budget(100_000);
        let focus = Item::Fhir(FhirValue::resource(schema, document.root()));
        let _ = expression.evaluate(&context, &focus);
    }
}

/// Calls of functions and operators that look into what they are given.
const FUNCTIONS: &[&str] = &[
    "$this = $this",
    "$this ~ $this",
    "$this < $this",
    "$this + $this",
    "$this * $this",
    "$this / $this",
    "-$this",
    "$this & 'a'",
    "value",
    "extension('a')",
    "resolve()",
    "type().name",
    "distinct()",
    "toString()",
    "toDecimal()",
    "toQuantity()",
    "toDateTime()",
    "lowBoundary()",
    "highBoundary()",
    "precision()",
    "abs()",
    "sqrt()",
    "power(3)",
    "round(2)",
    "exp()",
    "log(2)",
    "length()",
    "substring(1,2)",
    "matches('a')",
    "split('e').join('x')",
    "sort()",
    "getValue()",
    "repeat(value)",
    "checkModifiers()",
    "ofType(Quantity)",
    "is(Quantity)",
    "children().count()",
];
