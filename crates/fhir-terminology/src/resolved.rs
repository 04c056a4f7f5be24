//! A value set with all that it names looked up: code systems found, filters evaluated, imports
//! resolved. Whether a code is in it is then a search and a bit; nothing is expanded for it.

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;

use crate::canonical::Canonical;
use crate::code_system::{CodeSystem, ConceptIndex, Content, Naming};
use crate::error::TerminologyError;
use crate::filter::{ConceptSet, refuse, select, whole_match};
use crate::grammar::Grammar;
use crate::terminology::Terminology;
use crate::value_set::{Include, ListedConcept, ValueSet};

/// How deep imports may stand in each other.
pub const IMPORT_DEPTH: usize = 32;

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

fn pinned<'a>(pins: &'a [(String, String)], system: &str) -> Option<&'a str> {
    pins.iter().find(|(of, _)| of == system).map(|(_, version)| version.as_str())
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

struct Context<'a> {
    terminology: &'a Terminology,
    pins: &'a Pins,
    /// What is being resolved, outermost first.
    open: Vec<String>,
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
        let mut context = Context { terminology, pins, open: vec![set.naming.canonical()] };
        context.set(set)
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

    fn visit_parts<'a>(&'a self, visit: &mut impl FnMut(&'a Part)) {
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
                    Source::System(system) if !system.case_sensitive => concepts
                        .iter()
                        .position(|listed| system.compare(&listed.concept.code, code).is_eq()),
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

impl Context<'_> {
    fn set(&mut self, set: &ValueSet) -> Result<ResolvedSet, TerminologyError> {
        let date = self.pins.date.as_deref().or(set.locked_date.as_deref());
        let mut parts = [Vec::new(), Vec::new()];
        for (list, parts) in [&set.include, &set.exclude].into_iter().zip(&mut parts) {
            for include in list {
                parts.push(self.part(set, include, date)?);
            }
        }
        let [include, exclude] = parts;
        Ok(ResolvedSet {
            naming: set.naming.clone(),
            compose: set.compose.clone(),
            include,
            exclude,
            active_only: set.inactive == Some(false),
            excluded_systems: self.pins.exclude.clone(),
        })
    }

    fn part(
        &mut self,
        set: &ValueSet,
        include: &Include,
        date: Option<&str>,
    ) -> Result<Part, TerminologyError> {
        let mut imports = Vec::new();
        for canonical in &include.value_sets {
            imports.push(self.import(set, canonical, date)?);
        }
        let Some(system) = &include.system else {
            let (source, selection) = (Source::Imports, Selection::All);
            return Ok(Part { system: None, source, selection, imports, gap: None });
        };
        let source = self.source(system, include.version.as_deref(), date)?;
        let selection = selection(system, &source, include);
        let gap = match &source {
            Source::System(found) if !found.is_complete() => {
                Some(TerminologyError::SystemInPart { system: found.naming.canonical() })
            }
            _ => None,
        };
        Ok(Part { system: Some(system.clone()), source, selection, imports, gap })
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
        if !by_code.contains_key(&concept.code) {
            by_code.insert(concept.code.clone(), kept.len());
            kept.push(Listed { concept: concept.clone(), index });
        }
    }
    Selection::Listed { concepts: kept, by_code }
}
