//! `cargo xtask conformance validator`: the official validator cases, one by one, with what was
//! wanted and what was found.

#[path = "../../../fhir-validation/tests/official/mod.rs"]
mod official;

use std::error::Error;

use integration_tests::test_data;

/// Runs the cases; an error when something differs that the list does not have, or the list has
/// what agrees.
pub(super) fn run() -> Result<(), Box<dyn Error>> {
    let Some(folder) = test_data::folder() else {
        return Ok(());
    };
    let cases = official::run(&folder.join("validator"))?;
    let known = official::known();
    let word = |is_error: bool| if is_error { "error" } else { "ok" };
    for case in &cases {
        let got = word(!case.got.is_empty());
        let path = match case.path_agrees() {
            Some(true) => ", same path",
            Some(false) => ", other path",
            None => "",
        };
        test_data::say(&format!("{}: want {}, got {got}{path}", case.name, word(case.wants_error)));
        if !case.agrees() {
            let reason = known.get(&*case.name).copied().unwrap_or("not on the list");
            test_data::say(&format!("    {reason}"));
        }
        if !case.agrees() || case.path_agrees() == Some(false) {
            for (expression, text) in case.got.iter().take(3) {
                test_data::say(&format!("    {expression}: {text}"));
            }
        }
    }
    let count =
        |holds: &dyn Fn(&official::Case) -> bool| cases.iter().filter(|it| holds(it)).count();
    let wanted = count(&|it| it.wants_error);
    test_data::say(&format!(
        "{} of {} agree; of {wanted} with an error {} missed, of {} without {} refused; of {} where \
         both find an error, {} at the same path",
        count(&|it| it.agrees()),
        cases.len(),
        count(&|it| it.wants_error && it.got.is_empty()),
        cases.len() - wanted,
        count(&|it| !it.wants_error && !it.got.is_empty()),
        count(&|it| it.path_agrees().is_some()),
        count(&|it| it.path_agrees() == Some(true)),
    ));
    let surprises = official::surprises(&cases);
    if surprises.is_empty() {
        return Ok(());
    }
    Err(format!("not as the list says: {}", surprises.join("; ")).into())
}
