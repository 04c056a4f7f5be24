//! What of a tenant's data one caller may see.

use std::collections::BTreeSet;

use contract::{Restriction, Within};
use fhir_core::{ResourceId, ResourceType};

/// The part of the data that a [`crate::Snapshot`] shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visibility(Part);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Everything,
    /// All resources of these types.
    Types(BTreeSet<ResourceType>),
    /// These Patients themselves; nothing else of their compartments yet.
    Patients(BTreeSet<ResourceId>),
}

/// The restriction is narrower than can be enforced yet: what it covers is refused, never
/// answered unfiltered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the restriction is of a kind that is not enforced yet")]
pub struct NarrowerThanEnforced;

impl Visibility {
    /// All data: for a decision without restriction.
    #[must_use]
    pub fn everything() -> Self {
        Self(Part::Everything)
    }

    /// All resources of these types, and none of any other.
    #[must_use]
    pub fn of_types(types: BTreeSet<ResourceType>) -> Self {
        Self(Part::Types(types))
    }

    /// What `restriction` leaves of one type.
    ///
    /// # Errors
    /// [`NarrowerThanEnforced`] unless the type is Patient and every clause is a patient's
    /// compartment without a filter or labels.
    pub fn within(
        restriction: &Restriction,
        resource_type: &ResourceType,
    ) -> Result<Self, NarrowerThanEnforced> {
        if resource_type.as_str() != "Patient" {
            return Err(NarrowerThanEnforced);
        }
        let patient = |clause: &contract::Clause| match &clause.within {
            Within::Compartment(of)
                if of.resource_type == *resource_type
                    && clause.filter.is_none()
                    && clause.without_labels.is_empty() =>
            {
                Ok(of.id.clone())
            }
            _ => Err(NarrowerThanEnforced),
        };
        let patients = restriction.clauses.iter().map(patient).collect::<Result<_, _>>()?;
        Ok(Self(Part::Patients(patients)))
    }

    /// Whether nothing is hidden.
    pub(crate) fn is_everything(&self) -> bool {
        self.0 == Part::Everything
    }

    /// The types of which everything may be seen and beside which nothing may, where it is of
    /// types.
    pub(crate) fn types(&self) -> Option<&BTreeSet<ResourceType>> {
        match &self.0 {
            Part::Types(types) => Some(types),
            Part::Everything | Part::Patients(_) => None,
        }
    }

    /// The resources that alone may be seen, where it names them, in a fixed order.
    pub(crate) fn named(&self) -> Vec<(ResourceType, ResourceId)> {
        match &self.0 {
            Part::Everything | Part::Types(_) => Vec::new(),
            Part::Patients(ids) => {
                let patient = ResourceType::new("Patient").expect("the name of a type");
                ids.iter().map(|id| (patient.clone(), id.clone())).collect()
            }
        }
    }

    /// Whether any resource of this type may be seen, should there be one.
    pub(crate) fn shows_some_of(&self, resource_type: &ResourceType) -> bool {
        match &self.0 {
            Part::Everything => true,
            Part::Types(types) => types.contains(resource_type),
            Part::Patients(ids) => resource_type.as_str() == "Patient" && !ids.is_empty(),
        }
    }

    /// Whether this resource may be seen, should it exist.
    #[must_use]
    pub fn shows(&self, resource_type: &ResourceType, id: &ResourceId) -> bool {
        match &self.0 {
            Part::Everything => true,
            Part::Types(types) => types.contains(resource_type),
            Part::Patients(ids) => resource_type.as_str() == "Patient" && ids.contains(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NarrowerThanEnforced, Visibility};
    use contract::{Clause, Restriction, Types};
    use fhir_core::{ResourceId, ResourceType};

    fn clause(within: &str) -> Clause {
        Clause {
            types: Types::All,
            within: within.parse().unwrap(),
            filter: None,
            without_labels: Vec::new(),
        }
    }

    fn visibility(clauses: Vec<Clause>, of: &str) -> Result<Visibility, NarrowerThanEnforced> {
        Visibility::within(&Restriction { clauses }, &ResourceType::new(of).unwrap())
    }

    #[test]
    fn a_compartment_shows_its_patient_and_no_one_else() {
        let visibility = visibility(vec![clause("compartment(Patient/1)")], "Patient").unwrap();
        let shows = |of: &str, id: &str| {
            visibility.shows(&ResourceType::new(of).unwrap(), &ResourceId::new(id).unwrap())
        };
        assert!(shows("Patient", "1"));
        assert!(!shows("Patient", "2"));
        assert!(!shows("Observation", "1"));
    }

    #[test]
    fn types_show_their_resources_and_no_others() {
        let of = |name: &str| ResourceType::new(name).unwrap();
        let visibility = Visibility::of_types([of("Patient"), of("Group")].into());
        let id = ResourceId::new("1").unwrap();
        assert!(visibility.shows(&of("Patient"), &id) && visibility.shows(&of("Group"), &id));
        assert!(!visibility.shows(&of("Observation"), &id) && !visibility.is_everything());
    }

    #[test]
    fn what_is_not_enforced_yet_is_refused() {
        let filtered =
            Clause { filter: Some("active=true".into()), ..clause("compartment(Patient/1)") };
        let labelled =
            Clause { without_labels: vec!["s|R".into()], ..clause("compartment(Patient/1)") };
        for clauses in [
            vec![clause("own")],
            vec![clause("group(Group/1)")],
            vec![clause("compartment(Encounter/1)")],
            vec![clause("compartment(Patient/1)"), clause("careTeamOf(user)")],
            vec![filtered],
            vec![labelled],
        ] {
            assert_eq!(visibility(clauses, "Patient"), Err(NarrowerThanEnforced));
        }
        let clauses = vec![clause("compartment(Patient/1)")];
        assert_eq!(visibility(clauses, "Observation"), Err(NarrowerThanEnforced));
    }
}
