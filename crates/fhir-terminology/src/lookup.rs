//! `$lookup` and `$subsumes` (FHIR R4, 4.8.18.1 and 4.8.18.3).

use std::sync::Arc;

use crate::canonical::Canonical;
use crate::code_system::{CodeSystem, ConceptIndex, Content};
use crate::error::TerminologyError;
use crate::grammar::Grammar;
use crate::terminology::Terminology;

/// A concept that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its code system.
    pub system: Arc<CodeSystem>,
    /// Its number in it.
    pub concept: ConceptIndex,
    /// What supplements add to it.
    pub supplements: Vec<(Arc<CodeSystem>, ConceptIndex)>,
}

/// What a lookup finds.
#[derive(Debug, Clone)]
pub enum Looked {
    /// A concept.
    Up(Box<Found>),
    /// A code that a grammar takes.
    Formed(Grammar),
}

/// How one concept relates to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subsumption {
    /// They are the same.
    Equivalent,
    /// The first is above the second.
    Subsumes,
    /// The first is below the second.
    SubsumedBy,
    /// Neither.
    NotSubsumed,
}

impl Subsumption {
    /// The code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equivalent => "equivalent",
            Self::Subsumes => "subsumes",
            Self::SubsumedBy => "subsumed-by",
            Self::NotSubsumed => "not-subsumed",
        }
    }
}

impl Terminology {
    /// Finds a concept and what supplements add to it.
    ///
    /// # Errors
    /// When the code system or the code is not here.
    pub fn lookup(
        &self,
        system: Canonical<'_>,
        code: &str,
        date: Option<&str>,
    ) -> Result<Looked, TerminologyError> {
        let unknown_code =
            || TerminologyError::UnknownCode { system: system.to_string(), code: code.to_owned() };
        let Some(found) = self.code_system(system, date)? else {
            return match Grammar::of(system.url) {
                Some(grammar) if grammar.accepts(code) => Ok(Looked::Formed(grammar)),
                Some(_) => Err(unknown_code()),
                None => Err(TerminologyError::UnknownCanonical {
                    kind: "CodeSystem",
                    canonical: system.to_string(),
                }),
            };
        };
        self.lookup_in(found, code).map(|found| Looked::Up(Box::new(found)))
    }

    /// Finds a concept in a code system that is at hand.
    ///
    /// # Errors
    /// When the code is not here.
    pub fn lookup_in(
        &self,
        system: Arc<CodeSystem>,
        code: &str,
    ) -> Result<Found, TerminologyError> {
        let Some(concept) = system.find(code) else {
            let canonical = system.naming.canonical();
            return Err(match system.content {
                Content::Complete => {
                    TerminologyError::UnknownCode { system: canonical, code: code.to_owned() }
                }
                Content::NotPresent | Content::Supplement => {
                    TerminologyError::SystemNotLoaded { system: canonical }
                }
                Content::Fragment | Content::Example => {
                    TerminologyError::SystemInPart { system: canonical }
                }
            });
        };
        let supplements = self
            .supplements(&system.naming.url)
            .into_iter()
            .filter_map(|supplement| {
                let concept = supplement.find(code)?;
                Some((supplement, concept))
            })
            .collect();
        Ok(Found { system, concept, supplements })
    }
}

/// How two codes of a code system relate.
///
/// # Errors
/// When one of them is not here.
pub fn subsumes(
    system: &CodeSystem,
    one: &str,
    other: &str,
) -> Result<Subsumption, TerminologyError> {
    let find = |code: &str| {
        system.find(code).ok_or_else(|| {
            let system_name = system.naming.canonical();
            match system.content {
                Content::Complete => {
                    TerminologyError::UnknownCode { system: system_name, code: code.to_owned() }
                }
                Content::NotPresent | Content::Supplement => {
                    TerminologyError::SystemNotLoaded { system: system_name }
                }
                _ => TerminologyError::SystemInPart { system: system_name },
            }
        })
    };
    let (one, other) = (find(one)?, find(other)?);
    Ok(match (system.subsumes(one, other), system.subsumes(other, one)) {
        (true, true) => Subsumption::Equivalent,
        (true, false) => Subsumption::Subsumes,
        (false, true) => Subsumption::SubsumedBy,
        (false, false) => Subsumption::NotSubsumed,
    })
}
