//! `cargo xtask conformance checklist FILE`: which requirements of a checklist a test of the
//! workspace shows, and which none does.

mod id;
mod requirements;
mod test_functions;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use integration_tests::test_data;

use id::Id;
use requirements::{Level, Requirement};
use test_functions::TestFunction;

/// Ids that one test may carry: one that carries more shows none of them in particular.
const IDS_OF_A_TEST: usize = 5;

/// Which requirements have a test.
#[derive(clap::Args)]
pub(crate) struct Checklist {
    /// The checklist's name, such as `validation`.
    file: String,
    /// The folder of checklists; without it, `checklists` beside the folder that
    /// HEARTHGATE_TEST_DATA names.
    #[arg(long)]
    checklists: Option<PathBuf>,
    /// List each id with its tests.
    #[arg(long)]
    ids: bool,
    /// Fail when a requirement of this level has no test.
    #[arg(long)]
    require: Option<Level>,
}

impl Checklist {
    /// Counts, and prints what is missing; an error when a level that is required is not whole.
    pub(crate) fn run(&self) -> Result<(), Box<dyn Error>> {
        let folder = match &self.checklists {
            Some(folder) => folder.clone(),
            None => match test_data::folder() {
                Some(data) => data.parent().unwrap_or(&data).join("checklists"),
                None => return Ok(()),
            },
        };
        let path = folder.join(format!("{}.md", self.file));
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let tests = test_functions::of_workspace(&root)?;
        let coverage = Coverage::new(requirements::read(&text), &tests);
        test_data::say(coverage.report(&self.file, self.ids).trim_end());
        match self.require.map(|level| (level, coverage.missing(level).count())) {
            Some((level, missing @ 1..)) => {
                Err(format!("{missing} of level {level} have no test").into())
            }
            _ => Ok(()),
        }
    }
}

/// Each requirement with the tests that carry its id.
struct Coverage<'t> {
    requirements: Vec<(Requirement, Vec<&'t TestFunction>)>,
    faults: Vec<String>,
}

impl<'t> Coverage<'t> {
    fn new(requirements: Vec<Requirement>, tests: &'t [TestFunction]) -> Self {
        let mut by_id: BTreeMap<&Id, Vec<&TestFunction>> = BTreeMap::new();
        let known = |id: &Id| requirements.iter().any(|it| it.id == *id);
        let prefixes: Vec<&str> = requirements.iter().map(|it| it.id.prefix()).collect();
        let mut faults = Vec::new();
        for test in tests {
            let mut is_ours = false;
            for id in &test.ids {
                by_id.entry(id).or_default().push(test);
                is_ours |= prefixes.contains(&id.prefix());
                if prefixes.contains(&id.prefix()) && !known(id) {
                    faults.push(format!("{test}: no requirement is {id}"));
                }
            }
            for range in test.ranges.iter().filter(|it| prefixes.contains(&it.prefix())) {
                faults.push(format!("{test}: a range from {range} on; name each id"));
            }
            if is_ours && test.ids.len() > IDS_OF_A_TEST {
                let count = test.ids.len();
                faults.push(format!("{test}: {count} ids; a test has {IDS_OF_A_TEST} at most"));
            }
        }
        let found = |it: &Requirement| by_id.get(&it.id).cloned().unwrap_or_default();
        let tested = requirements.iter().map(found).collect::<Vec<_>>();
        Self { requirements: requirements.into_iter().zip(tested).collect(), faults }
    }

    fn of(&self, level: Level) -> impl Iterator<Item = &(Requirement, Vec<&'t TestFunction>)> {
        self.requirements.iter().filter(move |(it, _)| it.level == level)
    }

    fn missing(&self, level: Level) -> impl Iterator<Item = &Requirement> {
        self.of(level).filter(|(_, tests)| tests.is_empty()).map(|(it, _)| it)
    }

    fn report(&self, name: &str, with_ids: bool) -> String {
        let counts = Level::ALL.map(|level| {
            let all = self.of(level).count();
            format!("{level} {} of {all}", all - self.missing(level).count())
        });
        let mut report = format!("{name}: {} have a test\n", counts.join(", "));
        let mut line = |text: &str| writeln!(report, "{text}").expect("a String takes all");
        for level in Level::ALL {
            for requirement in self.missing(level) {
                line(&format!("  missing {} [{level}] {}", requirement.id, requirement.text));
            }
        }
        for (requirement, tests) in self.requirements.iter().filter(|_| with_ids) {
            for test in tests {
                line(&format!("  {} {test}", requirement.id));
            }
        }
        for fault in &self.faults {
            line(&format!("  fault {fault}"));
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::{Coverage, requirements, test_functions};

    #[test]
    fn what_has_a_test_is_counted_and_what_has_none_is_named() {
        let list =
            "- AB-001 [M] one — T: a\n- AB-002 [M] two\n- AB-003 [S] three\n- AB-004 [X] x\n";
        let source = "\
#[test]
fn one_holds() {
    // AB-001, AB-009
}
#[test]
fn much_holds() {
    // AB-001, CD-001, CD-002, CD-003, CD-004, CD-005
    // AB-002 to AB-003
}
#[test]
fn another_list_s_holds() {
    // CD-001, CD-002, CD-003, CD-004, CD-005, CD-006
}
";
        let tests = test_functions::of_file("a.rs", source);
        let coverage = Coverage::new(requirements::read(list), &tests);
        assert_eq!(
            coverage.report("ab", true),
            "\
ab: M 1 of 2, S 0 of 1, X 0 of 1 have a test
  missing AB-002 [M] two
  missing AB-003 [S] three
  missing AB-004 [X] x
  AB-001 a.rs:2 one_holds
  AB-001 a.rs:6 much_holds
  fault a.rs:2 one_holds: no requirement is AB-009
  fault a.rs:6 much_holds: a range from AB-002 on; name each id
  fault a.rs:6 much_holds: 6 ids; a test has 5 at most
"
        );
    }
}
