//! What stands beside values under names with an underscore before them (FHIR R4 2.6.2.3,
//! "JSON representation of primitive elements").

use std::borrow::Cow;

use fhir_core::json::Value;
use smallvec::SmallVec;

/// The members of an object whose names begin with an underscore: found once, so that an object
/// of many members is not gone through for each of them.
pub(super) struct Siblings<'a> {
    /// Sorted by name.
    all: SmallVec<[Sibling<'a>; 4]>,
}

struct Sibling<'a> {
    /// Without the underscore.
    name: Cow<'a, str>,
    value: Value<'a>,
    /// Whether the object has a member of this name too.
    has_value: bool,
}

impl<'a> Siblings<'a> {
    /// Those of an object, which is gone through twice at most.
    pub(super) fn of(object: Value<'a>) -> Self {
        let mut all = SmallVec::new();
        for (name, value) in object.members() {
            if let Some(name) = without_underscore(name) {
                all.push(Sibling { name, value, has_value: false });
            }
        }
        all.sort_unstable_by(|one: &Sibling<'_>, other| one.name.cmp(&other.name));
        let mut siblings = Self { all };
        if !siblings.all.is_empty() {
            for (name, _) in object.members() {
                if let Some(at) = siblings.place(&name) {
                    siblings.all[at].has_value = true;
                }
            }
        }
        siblings
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.all.binary_search_by(|it| (*it.name).cmp(name)).ok()
    }

    /// What stands beside the value under a name.
    pub(super) fn beside(&self, name: &str) -> Option<Value<'a>> {
        self.place(name).map(|at| self.all[at].value)
    }

    /// Whether a value stands under a name that has a sibling.
    pub(super) fn has_value(&self, name: &str) -> bool {
        self.place(name).is_some_and(|at| self.all[at].has_value)
    }
}

fn without_underscore(name: Cow<'_, str>) -> Option<Cow<'_, str>> {
    match name {
        Cow::Borrowed(name) => name.strip_prefix('_').map(Cow::Borrowed),
        Cow::Owned(name) => name.strip_prefix('_').map(|it| Cow::Owned(it.to_owned())),
    }
}
