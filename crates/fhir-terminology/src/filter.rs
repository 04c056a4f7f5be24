//! `include.filter` over a code system (FHIR R4, 4.9.5 and filter-operator): each filter becomes
//! the set of the concepts that it lets through.

use std::collections::HashSet;

use regex::{Regex, RegexBuilder};

use crate::code_system::{CodeSystem, ConceptIndex};
use crate::error::TerminologyError;
use crate::value_set::Filter;

/// A pattern may not compile to more than this: patterns come from outside.
pub(crate) const PATTERN_BYTES: usize = 1 << 20;

/// What compiling a pattern counts for, which may take milliseconds.
const PATTERN_STEPS: usize = 500_000;

/// Concepts of one code system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConceptSet {
    words: Vec<u64>,
}

impl ConceptSet {
    fn empty(system: &CodeSystem) -> Self {
        Self { words: vec![0; system.len().div_ceil(64)] }
    }

    fn of(system: &CodeSystem, holds: impl Fn(ConceptIndex) -> bool) -> Self {
        let mut set = Self::empty(system);
        system.concepts().filter(|&concept| holds(concept)).for_each(|concept| set.insert(concept));
        set
    }

    fn insert(&mut self, concept: ConceptIndex) {
        self.words[concept as usize / 64] |= 1 << (concept % 64);
    }

    fn remove(&mut self, concept: ConceptIndex) {
        self.words[concept as usize / 64] &= !(1 << (concept % 64));
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }

    /// Whether the concept is one of them.
    pub(crate) fn contains(&self, concept: ConceptIndex) -> bool {
        let word = self.words.get(concept as usize / 64);
        word.is_some_and(|word| word & (1 << (concept % 64)) != 0)
    }

    fn complement(system: &CodeSystem, of: &Self) -> Self {
        Self::of(system, |concept| !of.contains(concept))
    }

    fn intersect(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }
}

/// How many steps it takes at most to evaluate a filter: concepts, values and neighbours that are
/// looked at, and what a pattern costs until it can be used.
pub(crate) fn steps(size: usize, filter: &Filter) -> usize {
    let pattern = if &*filter.op == "regex" { PATTERN_STEPS } else { 0 };
    size + pattern + filter.value.len()
}

/// The concepts that pass all filters.
///
/// # Errors
/// [`TerminologyError::Filter`] for a property or operator that the code system does not have.
pub(crate) fn select(
    system: &CodeSystem,
    filters: &[Filter],
) -> Result<ConceptSet, TerminologyError> {
    let mut selected: Option<ConceptSet> = None;
    for filter in filters {
        let set = one(system, filter)?;
        match &mut selected {
            Some(selected) => selected.intersect(&set),
            None => selected = Some(set),
        }
    }
    Ok(selected.unwrap_or_else(|| ConceptSet::of(system, |_| true)))
}

pub(crate) fn refuse(
    system: &str,
    filter: &Filter,
    problem: impl Into<String>,
) -> TerminologyError {
    TerminologyError::Filter {
        system: system.to_owned(),
        property: filter.property.to_string(),
        op: filter.op.to_string(),
        value: filter.value.to_string(),
        problem: problem.into(),
    }
}

/// A pattern that must match a whole text, by an engine that takes linear time.
pub(crate) fn whole_match(pattern: &str) -> Result<Regex, String> {
    let compile = |pattern: &str| {
        let mut builder = RegexBuilder::new(pattern);
        builder.size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build()
    };
    // By itself first: `a)|(b` is none, and would be one between our brackets.
    compile(pattern)
        .and_then(|_| compile(&format!("^(?:{pattern})$")))
        .map_err(|_| "the pattern is no regular expression, or too large a one".to_owned())
}

fn one(system: &CodeSystem, filter: &Filter) -> Result<ConceptSet, TerminologyError> {
    let refuse = |problem: &str| Err(refuse(&system.naming.url, filter, problem));
    let value = &*filter.value;
    let is_hierarchical = matches!(
        &*filter.op,
        "is-a" | "descendent-of" | "is-not-a" | "generalizes" | "child-of" | "descendent-leaf"
    );
    if is_hierarchical {
        if !matches!(&*filter.property, "concept" | "code") {
            return refuse("the hierarchy is asked for by the property concept");
        }
        let Some(concept) = system.find(value) else {
            return refuse("the code system has no such code");
        };
        return Ok(hierarchical(system, &filter.op, concept));
    }
    let texts = texts(system, &filter.property);
    let Some(texts) = texts else {
        return refuse("the code system has no such property");
    };
    let any = |holds: &dyn Fn(&str) -> bool| {
        ConceptSet::of(system, |concept| texts(system, concept, &mut |text| holds(text)))
    };
    // Codes are compared as the code system compares them; so are values that are codes.
    let same = |one: &str, other: &str| system.compare(one, other).is_eq();
    Ok(match &*filter.op {
        "=" => any(&|text| same(text, value)),
        "in" | "not-in" => {
            let list: HashSet<_> = value.split(',').map(|item| system.key(item.trim())).collect();
            let set = any(&|text| list.contains(&system.key(text)));
            if &*filter.op == "in" { set } else { ConceptSet::complement(system, &set) }
        }
        "exists" => match value {
            "true" => any(&|_| true),
            "false" => ConceptSet::complement(system, &any(&|_| true)),
            _ => return refuse("exists takes true or false"),
        },
        "regex" => match whole_match(value) {
            Ok(pattern) => any(&|text| pattern.is_match(text)),
            Err(problem) => return refuse(&problem),
        },
        _ => return refuse("there is no such operator"),
    })
}

fn hierarchical(system: &CodeSystem, op: &str, concept: ConceptIndex) -> ConceptSet {
    let is_a = system.hierarchy == crate::code_system::Hierarchy::IsA;
    let mut set = ConceptSet::empty(system);
    match op {
        "child-of" => system.children(concept).iter().for_each(|&child| set.insert(child)),
        "generalizes" if is_a => {
            system.walk(concept, CodeSystem::parents, |above| set.insert(above));
        }
        _ if is_a && op != "generalizes" => {
            system.walk(concept, CodeSystem::children, |below| set.insert(below));
        }
        _ => set.insert(concept),
    }
    match op {
        "descendent-of" => set.remove(concept),
        "descendent-leaf" => {
            set.remove(concept);
            system
                .concepts()
                .filter(|&concept| !system.children(concept).is_empty())
                .for_each(|concept| set.remove(concept));
        }
        "is-not-a" => return ConceptSet::complement(system, &set),
        _ => {}
    }
    set
}

/// Whether any text of a concept passes what is asked.
type Texts<'p> = Box<dyn Fn(&CodeSystem, ConceptIndex, &mut dyn FnMut(&str) -> bool) -> bool + 'p>;

/// The texts of a property; `None` where the code system has no such property.
fn texts<'p>(system: &CodeSystem, property: &'p str) -> Option<Texts<'p>> {
    Some(match property {
        "code" | "concept" => Box::new(|system, concept, pass| pass(system.code(concept))),
        "display" => Box::new(|system, concept, pass| pass(system.display(concept))),
        "definition" => Box::new(|system, concept, pass| pass(system.definition(concept))),
        "parent" => Box::new(|system, concept, pass| {
            system.parents(concept).iter().any(|&near| pass(system.code(near)))
        }),
        "child" => Box::new(|system, concept, pass| {
            system.children(concept).iter().any(|&near| pass(system.code(near)))
        }),
        "inactive" if system.property("inactive").is_none() => Box::new(|system, concept, pass| {
            pass(if system.is_inactive(concept) { "true" } else { "false" })
        }),
        _ if is_property(system, property) => Box::new(move |system, concept, pass| {
            let mut values = system.values(concept).filter(|(code, _)| *code == property);
            values.any(|(_, value)| pass(value.as_text()))
        }),
        _ => return None,
    })
}

/// Whether a property is declared, or used without being so.
fn is_property(system: &CodeSystem, property: &str) -> bool {
    let used = || {
        system.concepts().any(|concept| system.values(concept).any(|(code, _)| code == property))
    };
    system.property(property).is_some() || used()
}
