//! The code system of codes that are written without one (FHIR R4 3.1.1.5.4: of a `code` the
//! system is implied by the binding of the element).

use std::sync::{Arc, OnceLock};

use fhir_terminology::{ResolvedSet, Terminology};

/// The code systems that an element's required value set takes its codes from. They are looked up
/// when the first code asks.
#[derive(Debug)]
pub(super) struct Implied {
    value_set: Arc<str>,
    systems: OnceLock<Systems>,
}

#[derive(Debug)]
enum Systems {
    /// The value set is not known, or says nothing of systems.
    Unknown,
    One(Box<str>),
    /// Which of them depends on the code.
    Several(Arc<ResolvedSet>),
}

impl PartialEq for Implied {
    fn eq(&self, other: &Self) -> bool {
        self.value_set == other.value_set
    }
}

impl Implied {
    /// By the canonical of the value set.
    pub(super) fn of(value_set: Arc<str>) -> Self {
        Self { value_set, systems: OnceLock::new() }
    }

    /// The system of a code.
    pub(super) fn system_of(&self, code: &str, terminology: &Terminology) -> Option<&str> {
        let systems = self.systems.get_or_init(|| match terminology.resolve(&self.value_set) {
            Err(_) => Systems::Unknown,
            Ok(set) => match set.systems()[..] {
                [] => Systems::Unknown,
                [system] => Systems::One(system.into()),
                _ => Systems::Several(set),
            },
        });
        match systems {
            Systems::Unknown => None,
            Systems::One(system) => Some(system),
            Systems::Several(set) => set.systems_of(code).0.first().copied(),
        }
    }
}
