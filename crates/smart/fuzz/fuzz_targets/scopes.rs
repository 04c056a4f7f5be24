//! Any text: read or refused with a place in it, the same when written and read again, and never
//! a rule within all data for a patient's scopes.

#![no_main]

use contract::{ResourceId, Within};
use libfuzzer_sys::fuzz_target;
use smart::{Context, Level, Scope, Scopes, rules};

fuzz_target!(|text: &str| {
    let (scopes, errors) = Scopes::parse_known(text);
    assert!(errors.iter().all(|error| error.at <= text.len()));
    if scopes.iter().next().is_none() {
        return;
    }
    let again = Scopes::parse(&scopes.to_string());
    assert_eq!(again.as_ref(), Ok(&scopes));
    let patient = ResourceId::new("p").expect("an id");
    let context = Context { patient: Some(&patient), ..Context::default() };
    let of_patient = |scope: &&Scope| match scope {
        Scope::Resource(scope) => scope.level == Level::Patient,
        _ => true,
    };
    let of_patient: Scopes = scopes.iter().filter(of_patient).cloned().collect();
    let given = rules(&of_patient, &context).expect("there is a patient");
    assert!(given.iter().all(|rule| matches!(rule.within, Within::Compartment(_))));
});
