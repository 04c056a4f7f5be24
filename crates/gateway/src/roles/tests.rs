//! What the text of a role says, and what is refused of it.

use registry::ClientId;

use super::*;

fn rule(types: &[&str], actions: &[&str], within: &str) -> WrittenRule {
    let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    WrittenRule {
        types: texts(types),
        actions: texts(actions),
        within: within.to_owned(),
        filter: None,
        without_labels: Vec::new(),
    }
}

fn written(rules: Vec<WrittenRule>) -> WrittenRole {
    WrittenRole {
        says: "For a test.".to_owned(),
        lane: None,
        budget: None,
        powers: Vec::new(),
        shared: Vec::new(),
        rules,
        break_glass: Vec::new(),
    }
}

fn name() -> RoleName {
    "ward".parse().expect("a role's name")
}

fn client() -> Client {
    Client {
        id: ClientId::new("app").expect("an id"),
        name: "App".to_owned(),
        role: Some(name()),
        patient: None,
        fhir_user: None,
        rules: Vec::new(),
        powers: Vec::new(),
        lane: Lane::Interactive,
        limit: None,
        plan: None,
        budget: None,
        created: contract::Instant::from_micros(0),
        disabled: None,
    }
}

fn roles(written: &WrittenRole) -> Roles {
    let mut roles = Roles::default();
    roles.define(name(), written.check(&name()).expect("a role"));
    roles
}

#[test]
fn what_is_wrong_in_a_role_is_refused_with_its_place() {
    let check = |change: &dyn Fn(&mut WrittenRole), place: &str, problem: &str| {
        let mut written = written(vec![rule(&["Patient"], &["read"], "all")]);
        change(&mut written);
        let error = written.check(&name()).expect_err(place);
        assert_eq!(error.place, place, "{error}");
        assert!(error.problem.contains(problem), "{error}");
    };
    check(&|role| role.says.clear(), "says", "1 to 500 bytes");
    check(&|role| role.budget = Some(0), "budget", "leave it out");
    check(&|role| role.rules.clear(), "rules", "add one");
    check(&|role| role.shared = vec!["organization".to_owned()], "shared", "\"organization\"");
    check(&|role| role.rules[0].types.clear(), "rules[0].types", "name a type");
    check(
        &|role| role.rules[0].types = vec!["patient".to_owned()],
        "rules[0].types",
        "\"patient\"",
    );
    check(&|role| role.rules[0].types.push("*".to_owned()), "rules[0].types", "stands alone");
    check(&|role| role.rules[0].actions.clear(), "rules[0].actions", "name an action");
    check(&|role| role.rules[0].actions = vec!["look".to_owned()], "rules[0].actions", "\"look\"");
    for within in ["everything", "compartment(Patient/1)", "compartment(user)", ""] {
        check(&|role| role.rules[0].within = within.to_owned(), "rules[0].within", within);
    }
    check(
        &|role| role.rules[0].filter = Some("status".to_owned()),
        "rules[0].filter",
        "name=value",
    );
    let label = |role: &mut WrittenRole| role.rules[0].without_labels = vec!["R".to_owned()];
    check(&label, "rules[0].without_labels", "system|code");
    check(
        &|role| role.break_glass = vec![rule(&["*"], &["read"], "x")],
        "break_glass[0].within",
        "x",
    );
    let of_one = |role: &mut WrittenRole| {
        role.rules[0].within = "compartment(patient)".to_owned();
        role.break_glass = vec![rule(&["*"], &["read"], "compartment(patient)")];
    };
    check(&of_one, "break_glass", "one patient");
    let long = |role: &mut WrittenRole| role.rules = vec![role.rules[0].clone(); 80];
    check(&long, "rules", "too many");
}

// LEAK-24
#[test]
fn a_role_that_needs_a_patient_or_a_person_gives_nothing_without() {
    let of_patient = roles(&written(vec![rule(&["*"], &["read"], "compartment(patient)")]));
    let mut one = client();
    assert_eq!(of_patient.rights_of(&one), Err(RoleProblem::PatientMissing(name())));
    one.patient = Some(ResourceId::new("p-1").expect("an id"));
    let rights = of_patient.rights_of(&one).expect("rights");
    assert_eq!(rights.rules[0].within.to_string(), "compartment(Patient/p-1)");

    let of_person = roles(&written(vec![rule(&["*"], &["read"], "careTeamOf(user)")]));
    let mut one = client();
    assert_eq!(of_person.rights_of(&one), Err(RoleProblem::UserMissing(name())));
    one.fhir_user = Some("Practitioner/7".parse().expect("a reference"));
    let rights = of_person.rights_of(&one).expect("rights");
    assert_eq!(rights.rules[0].within, Within::CareTeamOf);
    assert_eq!(Roles::default().rights_of(&one), Err(RoleProblem::Unknown(name())));
}

// LEAK-20
#[test]
fn shared_types_are_looked_at_whole_and_never_changed() {
    let mut role = written(vec![rule(&["*"], &["*"], "compartment(patient)")]);
    role.shared = vec!["Organization".to_owned(), "Practitioner".to_owned()];
    let mut one = client();
    one.patient = Some(ResourceId::new("p-1").expect("an id"));
    let rights = roles(&role).rights_of(&one).expect("rights");
    let shared = &rights.rules[1];
    assert!(shared.is_unrestricted() && rights.rules.len() == 2);
    assert_eq!(Vec::from(shared.types.clone()), ["Organization", "Practitioner"]);
    let looks = [Action::Read, Action::Search, Action::History];
    assert!(looks.iter().all(|action| shared.actions.contains(action)));
    let changes = [Action::Create, Action::Update, Action::Delete, Action::AnyOperation];
    assert!(!changes.iter().any(|action| shared.actions.contains(action)));
}

#[test]
fn a_client_adds_powers_and_a_budget_and_the_role_gives_the_rest() {
    let mut role = written(vec![rule(&["*"], &["read"], "all")]);
    role.powers = vec![Power::Audit];
    role.lane = Some(Lane::Bulk);
    role.budget = Some(7);
    let mut one = client();
    one.powers = vec![Power::Explain, Power::Audit];
    let rights = roles(&role).rights_of(&one).expect("rights");
    assert_eq!(rights.powers, [Power::Audit, Power::Explain]);
    assert_eq!((rights.lane, rights.budget), (Lane::Bulk, Some(7)));
    one.budget = Some(9);
    assert_eq!(roles(&role).rights_of(&one).expect("rights").budget, Some(9));
}

#[test]
fn a_role_is_told_in_plain_words() {
    let mut role = written(vec![
        rule(&["*"], &["*"], "own"),
        rule(&["Patient", "Observation"], &["read", "operation:$everything"], "careTeamOf(user)"),
    ]);
    role.rules[1].filter = Some("status=final".to_owned());
    role.rules[1].without_labels = vec!["x|R".to_owned(), "x|V".to_owned()];
    role.shared = vec!["Location".to_owned()];
    role.break_glass = vec![rule(&["*"], &["read"], "compartment(patient)")];
    role.powers = vec![Power::Audit];
    role.budget = Some(100);
    assert_eq!(
        role.check(&name()).expect("a role").to_string(),
        "For a test.\n\
         - May do everything, operations too, with every type that it made itself.\n\
         - May read, invoke $everything on Observation, Patient of the patients in whose care \
         teams the person is, as far as they match status=final, unless labelled x|R or x|V.\n\
         - May read, search, see the history of Location, which belong to no patient.\n\
         - After a break-glass, for its patient and its minutes: may read every type in the \
         patient's compartment.\n\
         - Has the powers: audit.\n\
         - A key takes `--user REF`, the person as a resource.\n\
         - Lane interactive: someone is waiting.\n\
         - A request may look at 100 rows at most.\n"
    );
}
