//! From a value set to a [`ResolvedSet`]: finding what it names, version by version, and
//! evaluating its filters.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::canonical::Canonical;
use crate::code_system::{CodeSystem, Content};
use crate::error::TerminologyError;
use crate::filter::{self, refuse, select, whole_match};
use crate::grammar::Grammar;
use crate::resolved::{GrammarFilter, Import, Listed, Part, Pins, ResolvedSet, Selection, Source};
use crate::supplement::supplemented;
use crate::terminology::Terminology;
use crate::value_set::{Include, ListedConcept, ValueSet};

/// How deep imports may stand in each other.
pub const IMPORT_DEPTH: usize = 32;

/// How many includes and excludes a value set may come to with its imports, each as often as it
/// is imported: sets that import each other twice over would double with each level.
const PARTS: usize = 10_000;

fn pinned<'a>(pins: &'a [(String, String)], system: &str) -> Option<&'a str> {
    pins.iter().find(|(of, _)| of == system).map(|(_, version)| version.as_str())
}

/// How many filters one include may have.
const FILTERS: usize = 100;

/// How many steps the filters of a value set and its imports may take; a second or so.
const STEPS: usize = 50_000_000;

/// A value set that is being resolved.
pub(crate) struct Resolution<'a> {
    terminology: &'a Terminology,
    pins: &'a Pins,
    /// What is being resolved, outermost first.
    open: Vec<String>,
    /// Includes and excludes so far.
    parts: usize,
    /// Steps that its filters may still take.
    steps: usize,
}

impl<'a> Resolution<'a> {
    pub(crate) fn new(terminology: &'a Terminology, pins: &'a Pins, set: &ValueSet) -> Self {
        Self { terminology, pins, open: vec![set.naming.canonical()], parts: 0, steps: STEPS }
    }

    pub(crate) fn set(&mut self, set: &ValueSet) -> Result<ResolvedSet, TerminologyError> {
        let date = self.pins.date.as_deref().or(set.locked_date.as_deref());
        let named = set.supplements.iter().map(|named| &**named);
        let named = named.chain(self.pins.supplements.iter().map(String::as_str));
        let supplements = named.map(|it| self.terminology.supplement(Canonical::parse(it)));
        let supplements = supplements.collect::<Result<Vec<_>, _>>()?;
        let mut parts = [Vec::new(), Vec::new()];
        for (list, parts) in [&set.include, &set.exclude].into_iter().zip(&mut parts) {
            for include in list {
                parts.push(self.part(set, include, date, &supplements)?);
            }
        }
        let [include, exclude] = parts;
        Ok(ResolvedSet {
            naming: set.naming.clone(),
            compose: set.compose.clone(),
            include,
            exclude,
            used_supplements: supplements.iter().map(|it| it.naming.canonical()).collect(),
            active_only: set.inactive == Some(false),
            excluded_systems: self.pins.exclude.clone(),
        })
    }

    fn part(
        &mut self,
        set: &ValueSet,
        include: &Include,
        date: Option<&str>,
        supplements: &[Arc<CodeSystem>],
    ) -> Result<Part, TerminologyError> {
        self.parts += 1;
        if self.parts > PARTS {
            return self.too_costly("its imports come to more includes than are looked at here");
        }
        if include.filters.len() > FILTERS {
            return self
                .too_costly("one of its includes has more than 100 filters; leave some out");
        }
        let mut imports = Vec::new();
        for canonical in &include.value_sets {
            imports.push(self.import(set, canonical, date)?);
        }
        let Some(system) = &include.system else {
            let (source, selection) = (Source::Imports, Selection::All);
            return Ok(Part { system: None, source, selection, imports, gap: None });
        };
        let source = match self.source(system, include.version.as_deref(), date)? {
            Source::System(found) => Source::System(supplemented(found, supplements)),
            other => other,
        };
        let size = match &source {
            Source::System(found) => found.size(),
            _ => 0,
        };
        let steps = include.filters.iter().map(|filter| filter::steps(size, filter)).sum();
        let Some(left) = self.steps.checked_sub(steps) else {
            return self.too_costly("its filters take longer than is allowed here; use fewer");
        };
        self.steps = left;
        let selection = selection(system, &source, include);
        let gap = match &source {
            Source::System(found) if !found.is_complete() => {
                let system = found.naming.canonical();
                Some(match include.filters.is_empty() {
                    true => TerminologyError::SystemInPart { system },
                    // Whether a filter would let the code through needs what is not here.
                    false => TerminologyError::SystemNotLoaded { system },
                })
            }
            _ => None,
        };
        Ok(Part { system: Some(system.clone()), source, selection, imports, gap })
    }

    fn too_costly<T>(&self, mend: &'static str) -> Result<T, TerminologyError> {
        Err(TerminologyError::TooCostly { canonical: self.open[0].clone(), mend })
    }

    fn source(
        &self,
        system: &str,
        version: Option<&str>,
        date: Option<&str>,
    ) -> Result<Source, TerminologyError> {
        let force = pinned(&self.pins.force, system);
        let version = force.or(version).or(pinned(&self.pins.default, system));
        let canonical = Canonical { url: system, version };
        let found = self.terminology.code_system(canonical, date)?;
        let used = found.as_ref().and_then(|found| found.naming.version.as_deref()).or(version);
        if let (Some(wanted), Some(used)) = (pinned(&self.pins.check, system), used)
            && wanted != used
        {
            return Err(TerminologyError::VersionConflict {
                system: system.to_owned(),
                used: used.to_owned(),
                wanted: wanted.to_owned(),
            });
        }
        Ok(match (found, Grammar::of(system)) {
            (Some(found), _) if found.content != Content::NotPresent => Source::System(found),
            (_, Some(grammar)) => Source::Grammar(grammar),
            _ => Source::Missing { canonical: canonical.to_string() },
        })
    }

    fn import(
        &mut self,
        set: &ValueSet,
        canonical: &str,
        date: Option<&str>,
    ) -> Result<Import, TerminologyError> {
        let found = if let Some(id) = canonical.strip_prefix('#') {
            let contained = set.contained.iter().find(|(of, _)| &**of == id);
            contained.map(|(_, set)| {
                // What is contained may name its neighbours.
                let contained = set.contained.clone();
                Arc::new(ValueSet { contained, ..set.clone() })
            })
        } else {
            match self.terminology.value_set(Canonical::parse(canonical), date) {
                Ok(found) => Some(found),
                Err(TerminologyError::UnknownCanonical { .. }) => None,
                Err(error) => return Err(error),
            }
        };
        let Some(found) = found else {
            let canonical = canonical.to_owned();
            return Ok(Import::Missing(TerminologyError::UnknownCanonical {
                kind: "ValueSet",
                canonical,
            }));
        };
        let name = match canonical.strip_prefix('#') {
            Some(_) => format!("{}{canonical}", set.naming.canonical()),
            None => found.naming.canonical(),
        };
        if self.open.contains(&name) {
            return Err(TerminologyError::ImportCycle { canonical: name });
        }
        if self.open.len() > IMPORT_DEPTH {
            return Err(TerminologyError::ImportsTooDeep { canonical: name, limit: IMPORT_DEPTH });
        }
        self.open.push(name);
        let resolved = self.set(&found);
        self.open.pop();
        Ok(Import::Set(Arc::new(resolved?)))
    }
}

/// Which codes of the source an include selects.
fn selection(system: &str, source: &Source, include: &Include) -> Selection {
    if !include.concepts.is_empty() {
        return listed(source, &include.concepts);
    }
    let not_loaded = |system: &str| {
        Selection::Unknown(TerminologyError::SystemNotLoaded { system: system.to_owned() })
    };
    match source {
        Source::Missing { canonical } => not_loaded(canonical),
        Source::System(found) if !found.is_complete() => match select(found, &include.filters) {
            // Of a part of a code system, what is selected is known and the rest is not.
            Ok(_) | Err(_) if found.is_empty() => not_loaded(system),
            Ok(_) if include.filters.is_empty() => Selection::All,
            Ok(set) => Selection::Concepts(set),
            Err(error) => Selection::Unknown(error),
        },
        Source::System(_) if include.filters.is_empty() => Selection::All,
        Source::System(found) => {
            select(found, &include.filters).map_or_else(Selection::Unknown, Selection::Concepts)
        }
        Source::Grammar(grammar) => {
            let filters =
                include.filters.iter().map(|filter| match (&*filter.property, &*filter.op) {
                    ("canonical", "=") if *grammar == Grammar::Unit => {
                        Ok(GrammarFilter::Canonical(filter.value.clone()))
                    }
                    ("code" | "concept", "regex") => whole_match(&filter.value)
                        .map(GrammarFilter::Matches)
                        .map_err(|problem| refuse(system, filter, problem)),
                    _ => Err(refuse(system, filter, "this code system is a grammar without it")),
                });
            let filters: Result<Vec<_>, _> = filters.collect();
            filters.map_or_else(Selection::Unknown, |filters| match filters.is_empty() {
                true => Selection::All,
                false => Selection::OfGrammar(filters),
            })
        }
        Source::Imports => Selection::All,
    }
}

/// Listed codes. One that its complete code system does not have is no member.
fn listed(source: &Source, concepts: &[ListedConcept]) -> Selection {
    let mut kept: Vec<Listed> = Vec::with_capacity(concepts.len());
    let mut by_code = HashMap::with_capacity(concepts.len());
    for concept in concepts {
        let index = match source {
            Source::System(system) => match system.find(&concept.code) {
                None if system.is_complete() => continue,
                index => index,
            },
            Source::Grammar(grammar) if !grammar.accepts(&concept.code) => continue,
            _ => None,
        };
        let key: Box<str> = match source {
            Source::System(system) => system.key(&concept.code).into(),
            _ => concept.code.clone(),
        };
        if let Entry::Vacant(place) = by_code.entry(key) {
            place.insert(kept.len());
            kept.push(Listed { concept: concept.clone(), index });
        }
    }
    Selection::Listed { concepts: kept, by_code }
}
