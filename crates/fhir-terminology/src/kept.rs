//! Value sets that are kept resolved for the next who asks: as many as fit into so many bytes.
//! What they are asked for by comes from outside, so that nothing here may grow with it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::filter::PATTERN_BYTES;
use crate::resolved::{GrammarFilter, Import, Listed, Part, ResolvedSet, Selection};

/// Bytes of all that is kept, as far as they are estimated.
const KEPT_BYTES: usize = 64 << 20;

/// How many value sets are kept.
const KEPT: usize = 4096;

/// Bytes of a canonical that is looked up; no URL is longer.
pub const CANONICAL_BYTES: usize = 2048;

/// Resolved value sets by their canonicals.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    sets: HashMap<Box<str>, Arc<ResolvedSet>>,
    bytes: usize,
}

impl Kept {
    pub(crate) fn get(&self, canonical: &str) -> Option<&Arc<ResolvedSet>> {
        self.sets.get(canonical)
    }

    /// Keeps a value set, in place of all others where there is no room. One that would take a
    /// large part of the room is not kept.
    pub(crate) fn keep(&mut self, canonical: &str, set: &Arc<ResolvedSet>) {
        let bytes = canonical.len() + estimate(set);
        if canonical.len() > CANONICAL_BYTES || bytes > KEPT_BYTES / 4 {
            return;
        }
        if self.sets.len() >= KEPT || self.bytes + bytes > KEPT_BYTES {
            *self = Self::default();
        }
        if self.sets.insert(canonical.into(), Arc::clone(set)).is_none() {
            self.bytes += bytes;
        }
    }
}

/// About how many bytes a value set takes, the code systems that it points to not counted.
fn estimate(set: &ResolvedSet) -> usize {
    let parts = set.include.iter().chain(&set.exclude);
    let text = set.naming.url.len() + set.compose.as_ref().map_or(0, |compose| compose.len());
    size_of::<ResolvedSet>() + text + parts.map(of_part).sum::<usize>()
}

fn of_part(part: &Part) -> usize {
    let selection = match &part.selection {
        Selection::All | Selection::Unknown(_) => 0,
        Selection::Concepts(concepts) => concepts.bytes(),
        Selection::Listed { concepts, .. } => concepts.iter().map(of_listed).sum(),
        Selection::OfGrammar(filters) => filters.iter().map(of_filter).sum(),
    };
    let imports = part.imports.iter().map(|import| match import {
        Import::Set(set) => estimate(set),
        Import::Missing(_) => size_of::<Import>(),
    });
    size_of::<Part>() + selection + imports.sum::<usize>()
}

fn of_listed(listed: &Listed) -> usize {
    let concept = &listed.concept;
    let names = concept.designations.iter().map(|it| size_of_val(it) + it.value.len());
    let display = concept.display.as_ref().map_or(0, |display| display.len());
    // The code stands in the map of codes too.
    size_of::<Listed>() + 2 * (concept.code.len() + 32) + display + names.sum::<usize>()
}

fn of_filter(filter: &GrammarFilter) -> usize {
    match filter {
        GrammarFilter::Canonical(canonical) => canonical.len(),
        GrammarFilter::Matches(_) => PATTERN_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT_BYTES, Kept};
    use crate::value_set::read_value_set;
    use crate::{Pins, ResolvedSet, Terminology};
    use fhir_core::json::Document;
    use std::sync::Arc;

    fn set_of(bytes: usize) -> Arc<ResolvedSet> {
        let code = "c".repeat(bytes / 2);
        let json = format!(
            r#"{{"resourceType":"ValueSet","compose":{{"include":[{{"system":"http://x","concept":[{{"code":"{code}"}}]}}]}}}}"#
        );
        let document = Document::parse(json.as_bytes()).unwrap();
        let set = read_value_set(document.root()).unwrap();
        Arc::new(ResolvedSet::new(&Terminology::empty(), &set, &Pins::default()).unwrap())
    }

    #[test]
    fn what_is_kept_is_bounded_by_its_bytes() {
        let mut kept = Kept::default();
        let small = set_of(1000);
        kept.keep("small", &small);
        kept.keep("large", &set_of(KEPT_BYTES / 2));
        kept.keep(&"x".repeat(3000), &small);
        assert!(kept.get("small").is_some() && kept.sets.len() == 1);
        let medium = set_of(KEPT_BYTES / 10);
        for count in 0..100 {
            kept.keep(&count.to_string(), &medium);
            assert!(kept.bytes <= KEPT_BYTES, "{}", kept.bytes);
        }
        assert!(kept.get("99").is_some() && kept.get("small").is_none());
        assert!(kept.sets.len() < 10);
    }
}
