//! The tables of docs/scopes.md, and properties of grammar and translation.

use std::collections::BTreeSet;

use contract::{Action, ResourceId, ResourceType, Rule, Types, Within};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use smart::{Context, Level, ResourceScope, Scope, Scopes, TranslationError, rules};

const ACTIONS: [Action; 6] =
    [Action::Create, Action::Read, Action::History, Action::Update, Action::Delete, Action::Search];

/// The cells of the rows under the table's head.
fn rows(head: &str) -> Vec<Vec<String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/scopes.md");
    let text = std::fs::read_to_string(path).expect("the page is there");
    let below = text.lines().skip_while(|line| *line != head).skip(2);
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim().trim_matches('`').replace('\\', "")).collect()
    };
    let rows: Vec<_> = below.take_while(|line| line.starts_with('|')).map(cells).collect();
    assert!(!rows.is_empty(), "no table {head}");
    rows
}

fn type_named(name: &str) -> ResourceType {
    ResourceType::new(name).expect("a type's name")
}

fn only(name: &str) -> Types {
    Types::Only([type_named(name)].into())
}

fn patient() -> ResourceId {
    ResourceId::new("p-1").expect("an id")
}

fn shared() -> BTreeSet<ResourceType> {
    ["Practitioner", "Organization"].map(type_named).into()
}

fn person() -> Vec<Rule> {
    let look = [Action::Read, Action::Search, Action::History].into_iter().collect();
    vec![
        Rule::within_all(Types::All, look),
        Rule {
            filter: Some("status=preliminary".to_owned()),
            ..Rule::within_all(only("Observation"), [Action::Update].into_iter().collect())
        },
    ]
}

fn in_words(rule: &Rule) -> String {
    let types = Vec::from(rule.types.clone()).join(" ");
    let actions = ACTIONS.iter().filter(|action| rule.actions.contains(action));
    let actions: Vec<_> = actions.map(ToString::to_string).collect();
    let filter = rule.filter.iter().map(|filter| format!(", {filter}")).collect::<String>();
    format!("{types}: {}, {}{filter}", actions.join(" "), rule.within)
}

#[test]
fn scopes_mean_the_rules_that_the_page_says() {
    let (patient, shared, person) = (patient(), shared(), person());
    for row in rows("| scopes | person | rules |") {
        let [scopes, with_person, expected] = row.as_slice() else { panic!("{row:?}") };
        let context = Context {
            patient: Some(&patient),
            user: (with_person == "yes").then_some(&person),
            shared: Some(&shared),
        };
        let read = Scopes::parse(scopes).expect(scopes);
        let given = rules(&read, &context).expect(scopes);
        let mut words: Vec<_> = given.iter().map(in_words).collect();
        words.sort();
        let words = if words.is_empty() { "nothing".to_owned() } else { words.join("; ") };
        let mut expected: Vec<_> = expected.split("; ").collect();
        expected.sort_unstable();
        assert_eq!(words, expected.join("; "), "{scopes}");
    }
}

// LEAK-23
#[test]
fn what_is_no_whole_scope_is_refused_where_the_page_says() {
    for row in rows("| refused | at |") {
        let [scopes, at] = row.as_slice() else { panic!("{row:?}") };
        let refused = Scopes::parse(scopes).expect_err(scopes);
        assert_eq!(refused.at.to_string(), *at, "{scopes}: {refused}");
    }
}

// LEAK-24
#[test]
fn without_its_context_a_scope_is_an_error_and_not_more_or_nothing() {
    let person = person();
    let check = |scopes: &str, context: &Context<'_>, expected: TranslationError| {
        let scopes = Scopes::parse(scopes).expect(scopes);
        assert_eq!(rules(&scopes, context), Err(expected), "{scopes}");
    };
    let without_patient = Context { user: Some(&person), ..Context::default() };
    check("patient/*.rs", &without_patient, TranslationError::PatientMissing);
    check("system/*.rs patient/Patient.r", &without_patient, TranslationError::PatientMissing);
    let patient = patient();
    let without_person = Context { patient: Some(&patient), ..Context::default() };
    check("user/*.rs", &without_person, TranslationError::UserMissing);
}

#[test]
fn every_scope_that_is_known_is_read_and_written_again() {
    let all = "launch openid fhirUser profile offline_access online_access launch/patient \
               launch/encounter?role=current patient/*.cruds user/Observation.rs?code=a|b,c&status:not=d";
    assert_eq!(Scopes::parse(all).expect("known").to_string(), all);
}

#[test]
fn what_is_not_known_is_told_apart_from_what_is() {
    let (known, unknown) = Scopes::parse_known("openid email patient/Patient.r");
    assert_eq!(known.to_string(), "openid patient/Patient.r");
    assert_eq!(unknown.len(), 1);
    assert_eq!((unknown[0].at, unknown[0].scope.as_str()), (7, "email"));
}

/// Whether one of `scopes` says, for itself, that what has this type and matches `met` may have
/// this done to it: the reference, written without regard to rules.
fn says(
    scopes: &[ResourceScope],
    level: Level,
    of: &ResourceType,
    action: &Action,
    met: &[&str],
) -> bool {
    scopes.iter().any(|scope| {
        scope.level == level
            && scope.types.touch(Some(of))
            && scope.permissions.actions().any(|held| held == *action)
            && scope.query.as_deref().is_none_or(|query| met.contains(&query))
    })
}

const TYPES: [&str; 4] = ["Patient", "Observation", "Practitioner", "Condition"];
const QUERIES: [&str; 2] = ["category=laboratory", "status=final"];

fn resource_scope(levels: &'static [&'static str]) -> impl Strategy<Value = ResourceScope> {
    let types = select(vec!["*", "Patient", "Observation", "Practitioner"]);
    let permissions = select(vec!["c", "r", "s", "rs", "cud", "cruds", "us"]);
    let query = option::of(select(QUERIES.to_vec()));
    (select(levels.to_vec()), types, permissions, query).prop_map(
        |(level, of, permissions, query)| {
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            let text = format!("{level}/{of}.{permissions}{query}");
            match text.parse().expect("a scope") {
                Scope::Resource(scope) => scope,
                other => panic!("{other}"),
            }
        },
    )
}

/// What `rules` let be done to a resource that meets `met`, in the patient's compartment or not.
fn allows(rules: &[Rule], of: &ResourceType, action: &Action, met: &[&str], inside: bool) -> bool {
    rules.iter().any(|rule| {
        let within = match &rule.within {
            Within::All => true,
            Within::Compartment(_) => inside,
            _ => false,
        };
        let mut criteria = rule.filter.iter().flat_map(|filter| filter.split('&'));
        within
            && rule.types.touch(Some(of))
            && rule.actions.contains(action)
            && criteria.all(|criterion| met.contains(&criterion))
    })
}

proptest! {
    // LEAK-23
    #[test]
    fn any_text_is_read_or_refused_in_it_and_what_is_read_is_written_again(text in "[ -~]{0,60}") {
        let (scopes, errors) = Scopes::parse_known(&text);
        prop_assert!(errors.iter().all(|error| error.at <= text.len()));
        if scopes.iter().next().is_some() {
            let again = Scopes::parse(&scopes.to_string());
            prop_assert_eq!(again.as_ref(), Ok(&scopes));
        }
    }

    #[test]
    fn rules_allow_what_scopes_say_and_nothing_else(
        scopes in vec(resource_scope(&["patient", "system"]), 1..6),
        met in select(vec![vec![], vec![QUERIES[0]], vec![QUERIES[1]], QUERIES.to_vec()]),
    ) {
        let patient = patient();
        let context = Context { patient: Some(&patient), ..Context::default() };
        let list: Scopes = scopes.iter().cloned().map(Scope::Resource).collect();
        let given = rules(&list, &context).expect("there is a patient");
        for of in TYPES.map(type_named) {
            for action in &ACTIONS {
                for inside in [true, false] {
                    let said = says(&scopes, Level::System, &of, action, &met)
                        || inside && says(&scopes, Level::Patient, &of, action, &met);
                    let allowed = allows(&given, &of, action, &met, inside);
                    prop_assert_eq!(allowed, said, "{} {} {} {:?}", list, of, action, inside);
                }
            }
        }
    }

    #[test]
    fn what_the_person_may_not_no_scope_gives(
        scopes in vec(resource_scope(&["patient", "user"]), 1..6),
        met in select(vec![vec![], vec![QUERIES[0]], vec!["status=preliminary"]]),
    ) {
        let (patient, person, shared) = (patient(), person(), shared());
        let context =
            Context { patient: Some(&patient), user: Some(&person), shared: Some(&shared) };
        let list: Scopes = scopes.iter().cloned().map(Scope::Resource).collect();
        let given = rules(&list, &context).expect("there are both");
        for of in TYPES.map(type_named) {
            for action in &ACTIONS {
                let may = allows(&person, &of, action, &met, true);
                let said = says(&scopes, Level::User, &of, action, &met)
                    || says(&scopes, Level::Patient, &of, action, &met);
                prop_assert!(!allows(&given, &of, action, &met, true) || may && said);
                // Outside of the compartment: what user/ says, and of shared types their reading.
                let reads = matches!(action, Action::Read | Action::Search | Action::History);
                let outside = says(&scopes, Level::User, &of, action, &met)
                    || said && reads && shared.contains(&of);
                prop_assert!(!allows(&given, &of, action, &met, false) || may && outside);
            }
        }
    }
}
