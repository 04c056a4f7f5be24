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
