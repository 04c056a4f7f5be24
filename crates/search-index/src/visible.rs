//! What of the data a search may find: one more condition in every step that it takes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use fhir_core::{ResourceId, ResourceType};
use fhir_search::Clause;

/// What a search may find.
#[derive(Debug, Clone, PartialEq)]
pub enum Visible {
    /// Everything.
    Everything,
    /// What one of these shows; with none of them nothing.
    Any(Vec<VisiblePart>),
}

/// A part of the data. All that it says must be so of a resource that it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct VisiblePart {
    /// Of which types.
    pub types: VisibleTypes,
    /// In which compartments.
    pub within: VisibleWithin,
}

impl VisiblePart {
    /// Whether a resource that it shows may come to say something that it does not show. A
    /// resource stays of its type.
    pub(crate) fn may_change(&self) -> bool {
        let has_clauses = match &self.types {
            VisibleTypes::All => false,
            VisibleTypes::These(types) => types.iter().any(|(_, clauses)| !clauses.is_empty()),
        };
        has_clauses || self.within != VisibleWithin::Anywhere
    }
}

/// Of which types resources are shown.
#[derive(Debug, Clone)]
pub enum VisibleTypes {
    /// Of every one.
    All,
    /// Of these, if all clauses hold. They are judged by all data, visible or not. Copies share
    /// them, and two that do are known to be the same without a look.
    These(Arc<[(ResourceType, Vec<Clause>)]>),
}

impl PartialEq for VisibleTypes {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, Self::All) => true,
            (Self::These(own), Self::These(others)) => Arc::ptr_eq(own, others) || own == others,
            (Self::All, Self::These(_)) | (Self::These(_), Self::All) => false,
        }
    }
}

/// In which compartments resources are shown.
#[derive(Debug, Clone, PartialEq)]
pub enum VisibleWithin {
    /// In any and in none.
    Anywhere,
    /// In the compartment of one of these resources, as [`crate::Subject::compartments`] said.
    Compartments(Owners),
}

/// Whose compartments are meant: each once, in order. Copies share them, and two that do are known
/// to be the same without a look: what a caller may see says the same of very many types.
#[derive(Debug, Clone)]
pub struct Owners {
    all: Arc<[(ResourceType, ResourceId)]>,
    /// The same for the same ones, worked out once for all copies.
    hash: u64,
}

impl PartialEq for Owners {
    fn eq(&self, other: &Self) -> bool {
        // The comparison of Arcs to slices looks at what they hold even where they share it.
        Arc::ptr_eq(&self.all, &other.all) || (self.hash == other.hash && self.all == other.all)
    }
}

impl Eq for Owners {}

impl Hash for Owners {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Owners {
    /// Whether it is one of them.
    #[must_use]
    pub fn contains(&self, owner: &(ResourceType, ResourceId)) -> bool {
        let (of, id) = owner;
        let ([(first, _), ..], [.., (last, _)]) = (&*self.all, &*self.all) else { return false };
        // Most are of one type, and most that are asked for of another one.
        if of < first || of > last {
            return false;
        }
        match first == last {
            true => self.all.binary_search_by(|(_, it)| it.cmp(id)).is_ok(),
            false => self.all.binary_search(owner).is_ok(),
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &(ResourceType, ResourceId)> {
        self.all.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl FromIterator<(ResourceType, ResourceId)> for Owners {
    fn from_iter<I: IntoIterator<Item = (ResourceType, ResourceId)>>(owners: I) -> Self {
        let mut owners: Vec<_> = owners.into_iter().collect();
        owners.sort_unstable();
        owners.dedup();
        let mut hasher = DefaultHasher::new();
        for (of, id) in &owners {
            (of.as_str(), id.as_str()).hash(&mut hasher);
        }
        Self { all: owners.into(), hash: hasher.finish() }
    }
}

impl<const N: usize> From<[(ResourceType, ResourceId); N]> for Owners {
    fn from(owners: [(ResourceType, ResourceId); N]) -> Self {
        owners.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(ids: &[&str]) -> Owners {
        ids.iter().map(|id| ("Patient".parse().unwrap(), id.parse().unwrap())).collect()
    }

    #[test]
    fn owners_are_the_same_whoever_listed_them_and_in_whatever_order() {
        let one = owners(&["1", "2", "2"]);
        assert_eq!(one, owners(&["2", "1"]));
        assert_eq!(one, one.clone());
        assert_ne!(one, owners(&["1"]));
        assert_ne!(one, owners(&["12"]));
        let both: std::collections::HashSet<Owners> = [one.clone(), owners(&["1", "2"])].into();
        assert_eq!((both.len(), one.len()), (1, 2));
    }

    fn owner(of: &str, id: &str) -> (ResourceType, ResourceId) {
        (of.parse().unwrap(), id.parse().unwrap())
    }

    #[test]
    fn an_owner_is_found_among_those_of_its_type_and_of_several() {
        let patients = owners(&["1", "3", "5"]);
        for (of, id, expected) in [
            ("Patient", "1", true),
            ("Patient", "3", true),
            ("Patient", "5", true),
            ("Patient", "2", false),
            ("Group", "1", false),
            ("Practitioner", "1", false),
        ] {
            assert_eq!(patients.contains(&owner(of, id)), expected, "{of}/{id}");
        }
        let both = Owners::from([owner("Group", "1"), owner("Patient", "2")]);
        assert!(both.contains(&owner("Group", "1")) && both.contains(&owner("Patient", "2")));
        assert!(!both.contains(&owner("Group", "2")) && !both.contains(&owner("Location", "2")));
        assert!(!Owners::from([]).contains(&owner("Group", "1")));
    }
}
