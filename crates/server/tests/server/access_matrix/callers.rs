//! Who asks, and about whose data.

use contract::Rule;

use super::requests::Request;
use crate::support::{Access, rule};

/// The user at the app that wrote what is the caller's.
pub(super) const MY_APP_USER: &str = "ada";

/// Whose data a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    Mine,
    Other,
    /// Another's now, and the caller's patient's once.
    Moved,
    /// Another's, and deleted.
    Gone,
}

pub(super) const OTHERS: [Whose; 3] = [Whose::Other, Whose::Moved, Whose::Gone];

impl Whose {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mine => "own",
            Self::Other => "other",
            Self::Moved => "moved",
            Self::Gone => "gone",
        }
    }

    /// A template about these data.
    pub(super) fn fill(self, template: &str) -> String {
        let (o, p) = match self {
            Self::Mine => ("o-mine", "p-mine"),
            Self::Other => ("o-other", "p-other"),
            Self::Moved => ("o-moved", "p-other"),
            Self::Gone => ("o-gone", "p-other"),
        };
        template.replace("[o]", o).replace("[p]", p)
    }
}

/// A caller with the name of its column.
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) access: Access,
}

fn caller(name: &str, rules: Vec<Rule>) -> Caller {
    Caller { name: name.to_owned(), access: known(rules) }
}

fn known(rules: Vec<Rule>) -> Access {
    let access = Access::of(rules).used_by(MY_APP_USER);
    access.being("Practitioner/pr-doc").launched_for("p-mine")
}

/// Who is denied a request whatever the data: nobody, who has no rule for the type, who lacks an
/// action that it takes.
pub(super) fn denied(request: &Request) -> Vec<Caller> {
    const ACTIONS: [&str; 7] =
        ["create", "read", "update", "delete", "search", "history", "operation:*"];
    let public = Caller { name: "public".to_owned(), access: Access::nobody() };
    let mut callers = vec![public, caller("other type", vec![rule(&["Schedule"], &["*"], "all")])];
    for lacking in request.takes {
        let left: Vec<&str> =
            ACTIONS.into_iter().filter(|action| !lacking.contains(action)).collect();
        let name = format!("no {}", lacking[0].trim_end_matches(":*"));
        callers.push(caller(&name, vec![rule(&["*"], &left, "all")]));
    }
    callers
}

/// Who may do everything within a part of the data, of each kind that a rule can say.
pub(super) fn within() -> Vec<Caller> {
    let within = |part: &str| rule(&["*"], &["*"], part);
    let mut filter = within("all");
    filter.filter = Some("_tag=urn:t|mine".to_owned());
    let mut label = within("all");
    label.without_labels = vec!["urn:s|R".to_owned()];
    vec![
        caller("compartment", vec![within("compartment(Patient/p-mine)")]),
        caller("group", vec![within("group(Group/g-team)")]),
        caller("careTeam", vec![within("careTeamOf(user)")]),
        caller("own", vec![within("own")]),
        caller("filter", vec![filter]),
        caller("label", vec![label]),
    ]
}

/// Who may do everything.
pub(super) fn whole() -> Caller {
    caller("everything", vec![rule(&["*"], &["*"], "all")])
}
