//! What of a tenant's data one caller may see.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use fhir_core::{ResourceId, ResourceType};
use fhir_search::{Clause, Codes, Query};
use search_index::{Owners, Visible, VisiblePart, VisibleTypes, VisibleWithin};

use crate::indexing::IndexedBy;

/// The part of the data that a [`crate::Snapshot`] shows.
#[derive(Debug, Clone)]
pub struct Visibility {
    part: Part,
    /// The same to the search index, made when first asked for, once for all copies.
    to_index: Arc<OnceLock<Visible>>,
}

impl PartialEq for Visibility {
    fn eq(&self, other: &Self) -> bool {
        self.part == other.part
    }
}

impl From<Part> for Visibility {
    fn from(part: Part) -> Self {
        Self { part, to_index: Arc::default() }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Everything,
    /// All resources of these types.
    Types(BTreeSet<ResourceType>),
    /// Of each of these types what one of its parts shows.
    Parts(Arc<BTreeMap<ResourceType, Vec<Seen>>>),
}

/// A part of the resources of one type: all that it says must be so of a version that it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// In which compartments.
    pub within: SeenWithin,
    /// What it must match.
    pub filter: Option<Arc<Filter>>,
}

/// In which compartments versions are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeenWithin {
    /// In any and in none.
    Anywhere,
    /// In the compartment of one of these: a Patient, whose data it is, or an
    /// [`crate::Author`], who wrote it.
    Compartments(Owners),
}

/// Criteria that a version must match. They are judged by all data, visible or not.
#[derive(Clone)]
pub struct Filter {
    /// Conditions on the one type.
    pub query: Query,
    /// By what values are taken.
    pub by: IndexedBy,
    /// What is known of codes.
    pub codes: Arc<dyn Codes>,
}

impl Filter {
    /// Whether it asks other resources than the one it is about.
    pub(crate) fn follows(&self) -> bool {
        fn follows(clause: &Clause) -> bool {
            match clause {
                Clause::All(clauses) | Clause::Any(clauses) => clauses.iter().any(follows),
                Clause::Not(clause) => follows(clause),
                Clause::Chain(_) | Clause::Has(_) | Clause::List(_) => true,
                Clause::Value(_)
                | Clause::Missing { .. }
                | Clause::Text(_)
                | Clause::Content(_) => false,
            }
        }
        self.query.types.iter().flat_map(|of| &of.clauses).any(follows)
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.query == other.query
    }
}

/// Nobody's data is in a log.
impl fmt::Debug for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Filter").finish_non_exhaustive()
    }
}

impl SeenWithin {
    /// Whether what stands in these compartments is shown.
    pub(crate) fn has(&self, named: &[(ResourceType, ResourceId)]) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Compartments(about) => named.iter().any(|it| about.contains(it)),
        }
    }
}

impl Seen {
    /// All of a type.
    #[must_use]
    pub fn whole() -> Self {
        Self { within: SeenWithin::Anywhere, filter: None }
    }

    /// What stands in the compartment of one of these patients.
    #[must_use]
    pub fn within_patients(patients: impl IntoIterator<Item = ResourceId>) -> Self {
        let patient = ResourceType::new("Patient").expect("the name of a type");
        let about = patients.into_iter().map(|id| (patient.clone(), id)).collect();
        Self { within: SeenWithin::Compartments(about), filter: None }
    }

    fn is_whole(&self) -> bool {
        self.within == SeenWithin::Anywhere && self.filter.is_none()
    }
}

impl Visibility {
    /// All data: for a decision without restriction.
    #[must_use]
    pub fn everything() -> Self {
        Part::Everything.into()
    }

    /// All resources of these types, and none of any other.
    #[must_use]
    pub fn of_types(types: BTreeSet<ResourceType>) -> Self {
        Part::Types(types).into()
    }

    /// Of each of these types what one of its parts shows, and none of any other.
    #[must_use]
    pub fn of_parts(mut parts: BTreeMap<ResourceType, Vec<Seen>>) -> Self {
        for of_type in parts.values_mut() {
            if of_type.iter().any(Seen::is_whole) {
                *of_type = vec![Seen::whole()];
            }
        }
        parts.retain(|_, of_type| !of_type.is_empty());
        if parts.values().flatten().all(Seen::is_whole) {
            return Self::of_types(parts.into_keys().collect());
        }
        Part::Parts(Arc::new(parts)).into()
    }

    /// Whether nothing is hidden.
    pub(crate) fn is_everything(&self) -> bool {
        self.part == Part::Everything
    }

    /// The parts of a type that may be seen; `None` where all of it or nothing may.
    pub(crate) fn parts_of(&self, resource_type: &ResourceType) -> Option<&[Seen]> {
        let Part::Parts(parts) = &self.part else { return None };
        let of_type = parts.get(resource_type)?;
        (!of_type.iter().any(Seen::is_whole)).then_some(of_type)
    }

    /// The types of which something may be seen; `None` for all.
    pub(crate) fn some_of(&self) -> Option<Vec<&ResourceType>> {
        match &self.part {
            Part::Everything => None,
            Part::Types(types) => Some(types.iter().collect()),
            Part::Parts(parts) => Some(parts.keys().collect()),
        }
    }

    /// Whether any resource of this type may be seen, should there be one.
    #[must_use]
    pub fn shows_some_of(&self, resource_type: &ResourceType) -> bool {
        match &self.part {
            Part::Everything => true,
            Part::Types(types) => types.contains(resource_type),
            Part::Parts(parts) => parts.contains_key(resource_type),
        }
    }

    /// What must be matched by what is shown.
    pub(crate) fn filters(&self) -> impl Iterator<Item = &Filter> {
        let parts = match &self.part {
            Part::Parts(parts) => Some(parts),
            Part::Everything | Part::Types(_) => None,
        };
        let parts = parts.into_iter().flat_map(|parts| parts.values()).flatten();
        parts.filter_map(|seen| seen.filter.as_deref())
    }

    /// The same to the search index.
    pub(crate) fn as_visible(&self) -> &Visible {
        self.to_index.get_or_init(|| self.part.as_visible())
    }
}

impl Part {
    fn as_visible(&self) -> Visible {
        let of_types = |types: Vec<_>| VisiblePart {
            types: VisibleTypes::These(types.into()),
            within: VisibleWithin::Anywhere,
        };
        match self {
            Self::Everything => Visible::Everything,
            Self::Types(types) => {
                let types = types.iter().map(|of| (of.clone(), Vec::new())).collect();
                Visible::Any(vec![of_types(types)])
            }
            Self::Parts(parts) => {
                let mut within: Vec<(&SeenWithin, Vec<_>)> = Vec::new();
                for (of, seen) in
                    parts.iter().flat_map(|(of, all)| all.iter().map(move |it| (of, it)))
                {
                    let filter = seen.filter.iter().flat_map(|it| &it.query.types);
                    let clauses = filter.flat_map(|of| of.clauses.iter().cloned()).collect();
                    let of_type = (of.clone(), clauses);
                    match within.iter_mut().find(|(known, _)| *known == &seen.within) {
                        Some((_, types)) => types.push(of_type),
                        None => within.push((&seen.within, vec![of_type])),
                    }
                }
                let parts = within.into_iter().map(|(within, types)| match within {
                    SeenWithin::Anywhere => of_types(types),
                    SeenWithin::Compartments(about) => VisiblePart {
                        types: VisibleTypes::These(types.into()),
                        within: VisibleWithin::Compartments(about.clone()),
                    },
                });
                Visible::Any(parts.collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> ResourceType {
        ResourceType::new(name).unwrap()
    }

    fn within(id: &str) -> Seen {
        Seen::within_patients([ResourceId::new(id).unwrap()])
    }

    #[test]
    fn types_show_their_resources_and_no_others() {
        let visibility = Visibility::of_types([of("Patient"), of("Group")].into());
        assert!(visibility.shows_some_of(&of("Patient")) && visibility.shows_some_of(&of("Group")));
        assert!(!visibility.shows_some_of(&of("Observation")) && !visibility.is_everything());
    }

    #[test]
    fn parts_that_show_all_of_their_types_are_types() {
        let parts = [(of("Patient"), vec![within("1"), Seen::whole()]), (of("Group"), vec![])];
        let visibility = Visibility::of_parts(parts.into());
        assert_eq!(visibility, Visibility::of_types([of("Patient")].into()));
    }

    #[test]
    fn the_index_is_asked_for_each_compartment_once() {
        // SRCH-252
        let parts = [
            (of("Patient"), vec![within("1")]),
            (of("Observation"), vec![within("1"), within("2")]),
            (of("Practitioner"), vec![Seen::whole()]),
        ];
        let visibility = Visibility::of_parts(parts.into());
        let Visible::Any(parts) = visibility.as_visible() else { panic!("a part") };
        assert_eq!(parts.len(), 3);
        assert!(visibility.parts_of(&of("Practitioner")).is_none());
        assert_eq!(visibility.parts_of(&of("Observation")).unwrap().len(), 2);
    }
}
