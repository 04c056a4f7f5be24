//! A value set with all that it names looked up: code systems found, filters evaluated, imports
//! resolved. Whether a code is in it is then a search and a bit; nothing is expanded for it.

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;

use crate::code_system::{CodeSystem, ConceptIndex, Naming};
use crate::error::TerminologyError;
use crate::filter::ConceptSet;
use crate::grammar::Grammar;
use crate::resolve::Resolution;
use crate::terminology::Terminology;
use crate::value_set::{ListedConcept, ValueSet};

/// Versions of code systems that a request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// `system-version`: where the value set names none.
    pub default: Vec<(String, String)>,
    /// `force-system-version`: whatever the value set names.
    pub force: Vec<(String, String)>,
    /// `check-system-version`: an error when another is used.
    pub check: Vec<(String, String)>,
    /// `exclude-system`: code systems to leave out.
    pub exclude: Vec<String>,
    /// `useSupplement`: supplements whose names and properties count.
    pub supplements: Vec<String>,
    /// `date`: the definitions as of then.
    pub date: Option<String>,
}

impl Pins {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A value set, resolved.
#[derive(Debug)]
pub struct ResolvedSet {
    /// What it is called by.
    pub naming: Naming,
    /// What the parts are made of, as the resource wrote it.
    pub compose: Option<Box<str>>,
    pub(crate) include: Vec<Part>,
    pub(crate) exclude: Vec<Part>,
    /// The supplements that it or the request asked for, as `url|version`.
    pub(crate) used_supplements: Vec<String>,
    /// Whether retired concepts are left out (`compose.inactive` is false).
    pub(crate) active_only: bool,
    pub(crate) excluded_systems: Vec<String>,
}

/// An include or exclude.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) system: Option<Box<str>>,
    pub(crate) source: Source,
    pub(crate) selection: Selection,
    pub(crate) imports: Vec<Import>,
    /// Why nothing can be said of a code that the code system does not have: it is not all here.
    pub(crate) gap: Option<TerminologyError>,
}

/// Where a part's codes come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// From its imports alone.
    Imports,
    /// From a code system.
    System(Arc<CodeSystem>),
    /// From a grammar.
    Grammar(Grammar),
    /// From a code system that is not here.
    Missing {
        /// `system|version`
        canonical: String,
    },
}

/// Which codes of the source.
#[derive(Debug)]
pub(crate) enum Selection {
    All,
    Concepts(ConceptSet),
    Listed {
        concepts: Vec<Listed>,
        /// By the key that the code system finds it by.
        by_code: HashMap<Box<str>, usize>,
    },
    OfGrammar(Vec<GrammarFilter>),
    /// What cannot be known, and why.
    Unknown(TerminologyError),
}

/// A listed concept, and its number in the code system if that is here.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) concept: ListedConcept,
    pub(crate) index: Option<ConceptIndex>,
}

#[derive(Debug)]
pub(crate) enum GrammarFilter {
    Canonical(Box<str>),
    Matches(Regex),
}

#[derive(Debug)]
pub(crate) enum Import {
    Set(Arc<ResolvedSet>),
    Missing(TerminologyError),
}

/// Whether a code is in a value set.
#[derive(Debug, Clone, Copy)]
pub enum Membership<'a> {
    /// It is.
    Member(Member<'a>),
    /// It is not.
    Outside,
    /// That depends on what is not here.
    NotKnown(&'a TerminologyError),
}

impl Membership<'_> {
    /// Whether it is a member for certain.
    #[must_use]
    pub fn is_member(&self) -> bool {
        matches!(self, Self::Member(_))
    }

    /// Whether it is none for certain.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        matches!(self, Self::Outside)
    }
}

/// A code in a value set, with what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Its code system's URL.
    pub system: &'a str,
    /// The code system, if it is here.
    pub code_system: Option<(&'a Arc<CodeSystem>, Option<ConceptIndex>)>,
    /// How the value set lists it, if it does.
    pub listed: Option<&'a ListedConcept>,
}

impl ResolvedSet {
    /// Looks up all that a value set names.
    ///
    /// # Errors
    /// When its imports go in a circle or too deep, or a definition cannot be read.
    pub fn new(
        terminology: &Terminology,
        set: &ValueSet,
        pins: &Pins,
    ) -> Result<Self, TerminologyError> {
        Resolution::new(terminology, pins, set).set(set)
    }

    /// Whether a code of a code system is in it.
    #[must_use]
    pub fn check(&self, system: &str, code: &str) -> Membership<'_> {
        if self.excluded_systems.iter().any(|excluded| excluded == system) {
            return Membership::Outside;
        }
        let mut found = Membership::Outside;
        for part in &self.include {
            match part.check(system, code) {
                Membership::Outside => {}
                Membership::NotKnown(why) => found = Membership::NotKnown(why),
                member @ Membership::Member(_) => {
                    found = member;
                    break;
                }
            }
        }
        if let Membership::Member(Member { code_system: Some((of, Some(concept))), .. }) = found
            && self.active_only
            && of.is_inactive(concept)
        {
            return Membership::Outside;
        }
        if found.is_outside() {
            return found;
        }
        for part in &self.exclude {
            match part.check(system, code) {
                Membership::Member(_) => return Membership::Outside,
                Membership::NotKnown(why) => found = Membership::NotKnown(why),
                Membership::Outside => {}
            }
        }
        found
    }

    /// The code systems that this code is of, within the value set: for codes that are written
    /// without one. With them, why there may be more.
    #[must_use]
    pub fn systems_of(&self, code: &str) -> (Vec<&str>, Option<&TerminologyError>) {
        let mut found = Vec::new();
        let mut unknown = None;
        for system in self.systems() {
            match self.check(system, code) {
                Membership::Member(_) => found.push(system),
                Membership::NotKnown(why) => unknown = Some(why),
                Membership::Outside => {}
            }
        }
        if found.is_empty() && unknown.is_none() {
            unknown = self.missing_import();
        }
        (found, unknown)
    }

    /// Whether a code without a code system is in it: the element's binding says which it is.
    #[must_use]
    pub fn check_code(&self, code: &str) -> Membership<'_> {
        match self.systems_of(code) {
            (found, _) if !found.is_empty() => self.check(found[0], code),
            (_, Some(why)) => Membership::NotKnown(why),
            (_, None) => Membership::Outside,
        }
    }

    /// The code systems that it takes codes from, each once.
    #[must_use]
    pub fn systems(&self) -> Vec<&str> {
        let mut systems = Vec::new();
        self.collect_systems(&mut systems);
        systems
    }

    fn collect_systems<'a>(&'a self, systems: &mut Vec<&'a str>) {
        for part in &self.include {
            match &part.system {
                Some(system) if !systems.contains(&&**system) => systems.push(system),
                Some(_) => {}
                None => {
                    for import in &part.imports {
                        if let Import::Set(set) = import {
                            set.collect_systems(systems);
                        }
                    }
                }
            }
        }
    }

    /// An import that is missing, so that any system may have codes in here.
    fn missing_import(&self) -> Option<&TerminologyError> {
        self.include.iter().filter(|part| part.system.is_none()).find_map(|part| {
            part.imports.iter().find_map(|import| match import {
                Import::Missing(why) => Some(why),
                Import::Set(set) => set.missing_import(),
            })
        })
    }

    /// Whether every code system that it names is here, or is a grammar.
    pub(crate) fn knows_its_systems(&self) -> bool {
        let mut knows = true;
        self.visit_parts(&mut |part| knows &= !matches!(part.source, Source::Missing { .. }));
        knows
    }

    /// How many includes and excludes it has, those of what it imports among them: so much there
    /// is to go through for one code.
    #[must_use]
    pub fn parts(&self) -> usize {
        let mut parts = 0;
        self.visit_parts(&mut |_| parts += 1);
        parts
    }

    /// Each code system that is used, as `system|version`.
    #[must_use]
    pub fn used_systems(&self) -> Vec<String> {
        let mut used = Vec::new();
        self.visit_parts(&mut |part| {
            let canonical = match &part.source {
                Source::System(system) => system.naming.canonical(),
                Source::Grammar(grammar) => grammar.url().to_owned(),
                Source::Missing { .. } | Source::Imports => return,
            };
            if !used.contains(&canonical) {
                used.push(canonical);
            }
        });
        used
    }

    pub(crate) fn visit_parts<'a>(&'a self, visit: &mut impl FnMut(&'a Part)) {
        for part in self.include.iter().chain(&self.exclude) {
            visit(part);
            for import in &part.imports {
                if let Import::Set(set) = import {
                    set.visit_parts(visit);
                }
            }
        }
    }

    /// The code system that members of this system come from.
    #[must_use]
    pub fn code_system(&self, url: &str) -> Option<&Arc<CodeSystem>> {
        let mut found = None;
        self.visit_parts(&mut |part| {
            if let Source::System(system) = &part.source
                && &*system.naming.url == url
                && found.is_none()
            {
                found = Some(system);
            }
        });
        found
    }
}

impl Part {
    pub(crate) fn check(&self, system: &str, code: &str) -> Membership<'_> {
        let mut found = match &self.system {
            Some(own) if &**own != system => return Membership::Outside,
            Some(own) => self.check_own(own, code),
            None => match self.imports.first() {
                Some(import) => import.check(system, code),
                None => Membership::Outside,
            },
        };
        for import in self.imports.iter().skip(usize::from(self.system.is_none())) {
            match (import.check(system, code), found) {
                (_, Membership::Outside) | (Membership::Outside, _) => return Membership::Outside,
                (Membership::NotKnown(why), Membership::Member(_)) => {
                    found = Membership::NotKnown(why);
                }
                _ => {}
            }
        }
        found
    }

    fn check_own<'a>(&'a self, own: &'a str, code: &str) -> Membership<'a> {
        let member =
            |code_system, listed| Membership::Member(Member { system: own, code_system, listed });
        match (&self.selection, &self.source) {
            (Selection::Unknown(why), Source::System(system)) => {
                // What is not in a complete code system is in no selection of it.
                let gone = system.is_complete() && system.find(code).is_none();
                if gone { Membership::Outside } else { Membership::NotKnown(why) }
            }
            (Selection::Unknown(why), _) => Membership::NotKnown(why),
            (Selection::Listed { concepts, by_code }, source) => {
                let at = match source {
                    Source::System(system) => by_code.get(&*system.key(code)).copied(),
                    _ => by_code.get(code).copied(),
                };
                let Some(at) = at else { return Membership::Outside };
                let listed = &concepts[at];
                let system = match source {
                    Source::System(system) => Some((system, listed.index)),
                    _ => None,
                };
                member(system, Some(&listed.concept))
            }
            (selection, Source::System(system)) => match (system.find(code), selection) {
                (Some(concept), Selection::Concepts(set)) if !set.contains(concept) => {
                    Membership::Outside
                }
                (Some(concept), _) => member(Some((system, Some(concept))), None),
                (None, _) => self.gap.as_ref().map_or(Membership::Outside, Membership::NotKnown),
            },
            (selection, Source::Grammar(grammar)) => {
                let passes = match selection {
                    Selection::OfGrammar(filters) => {
                        filters.iter().all(|filter| filter.passes(*grammar, code))
                    }
                    _ => true,
                };
                if passes && grammar.accepts(code) {
                    member(None, None)
                } else {
                    Membership::Outside
                }
            }
            _ => Membership::Outside,
        }
    }
}

impl GrammarFilter {
    fn passes(&self, grammar: Grammar, code: &str) -> bool {
        match self {
            Self::Canonical(canonical) => grammar.has_canonical_form(code, canonical),
            Self::Matches(pattern) => pattern.is_match(code),
        }
    }
}

impl Import {
    pub(crate) fn check(&self, system: &str, code: &str) -> Membership<'_> {
        match self {
            Self::Set(set) => set.check(system, code),
            Self::Missing(why) => Membership::NotKnown(why),
        }
    }
}
