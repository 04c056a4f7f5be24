//! `$expand` (FHIR R4, 4.9.18.1): a value set as a list of codes.
//!
//! Order: includes as they stand, listed codes as listed, else the code system's own; so pages
//! are stable while the definitions are. Identifier and time are the caller's to give.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;

use crate::code_system::{CodeSystem, ConceptIndex, Designation};
use crate::error::TerminologyError;
use crate::resolved::{Import, Part, ResolvedSet, Selection, Source};
use crate::text::{Languages, TextFilter};
use crate::value_set::ListedConcept;

/// How large an expansion may be.
#[derive(Debug, Clone, Copy)]
pub struct ExpansionLimits {
    /// Codes in one answer.
    pub codes: usize,
    /// Codes looked at.
    pub candidates: usize,
    /// Looks at a code, each include, exclude and import that it is held against counted.
    pub steps: usize,
}

impl Default for ExpansionLimits {
    fn default() -> Self {
        Self { codes: 10_000, candidates: 1_000_000, steps: 50_000_000 }
    }
}

/// How deep codes may be nested, so that readers of JSON and XML, which bound their depth, can
/// read it.
pub const NESTING_DEPTH: usize = 50;

/// How codes are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nesting {
    /// One after the other.
    #[default]
    Flat,
    /// Within their parents, as the code system has it; flat where that is deeper than
    /// [`NESTING_DEPTH`].
    Nested,
}

/// What is asked of an expansion.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpandRequest {
    /// Words to find.
    pub filter: Option<TextFilter>,
    /// How many codes to leave out before the first.
    pub offset: usize,
    /// How many codes at most.
    pub count: Option<usize>,
    /// Without retired concepts.
    pub active_only: bool,
    /// With further names.
    pub include_designations: bool,
    /// Further names of these uses or languages alone; `system|code`, `urn:ietf:bcp:47|de`.
    pub designations: Vec<String>,
    /// Without concepts that are for grouping alone.
    pub exclude_abstract: bool,
    /// The languages of the display.
    pub languages: Languages,
    /// How codes are laid out; pages and searches are flat.
    pub nesting: Nesting,
    /// Properties of the concepts to return.
    pub properties: Vec<String>,
}

/// An expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expansion<'a> {
    /// How many codes there are on all pages.
    pub total: usize,
    /// The codes of this page.
    pub contains: Vec<Contains<'a>>,
}

/// `expansion.contains`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contains<'a> {
    /// The code system.
    pub system: &'a str,
    /// The code.
    pub code: &'a str,
    /// The display, as far as one is known.
    pub display: Option<&'a str>,
    /// Whether it is for grouping alone.
    pub is_abstract: bool,
    /// Whether it is retired.
    pub is_inactive: bool,
    /// Further names, where they were asked for.
    pub designations: Vec<Designation<'a>>,
    /// Properties that were asked for.
    pub properties: Vec<(&'a str, crate::code_system::PropertyValue<'a>)>,
    /// What is nested in it.
    pub contains: Vec<Contains<'a>>,
}

/// A code that is in the value set.
#[derive(Debug, Clone, Copy)]
struct Item<'a> {
    system: &'a str,
    code: &'a str,
    concept: Option<(&'a Arc<CodeSystem>, ConceptIndex)>,
    listed: Option<&'a ListedConcept>,
}

impl ResolvedSet {
    /// Expands it.
    ///
    /// # Errors
    /// [`TerminologyError::TooCostly`] when it is too large or over a grammar;
    /// [`TerminologyError::SystemNotLoaded`] and others when it cannot be known.
    pub fn expand(
        &self,
        request: &ExpandRequest,
        limits: ExpansionLimits,
    ) -> Result<Expansion<'_>, TerminologyError> {
        let steps = Steps { left: Cell::new(limits.steps) };
        let mut items = Walk::whole(self, limits, &steps)?;
        items.retain(|item| request.keeps(item));

        let total = items.len();
        let paged = request.count.is_some() || request.offset > 0;
        let start = request.offset.min(total);
        let end = request.count.map_or(total, |count| (start + count.min(total)).min(total));
        if end - start > limits.codes {
            return Err(self.too_costly("ask for a page with count and offset, or filter it"));
        }
        let page = &items[start..end];
        let nested = request.nesting == Nesting::Nested && !paged && request.filter.is_none();
        let nested = if nested { nest(page, request) } else { None };
        let contains =
            nested.unwrap_or_else(|| page.iter().map(|item| request.contains(item)).collect());
        Ok(Expansion { total, contains })
    }

    fn too_costly(&self, mend: &'static str) -> TerminologyError {
        TerminologyError::TooCostly { canonical: self.naming.canonical(), mend }
    }

    fn exclude_from(
        &self,
        items: &mut Vec<Item<'_>>,
        steps: &Steps,
    ) -> Result<(), TerminologyError> {
        steps.take(items.len(), self.exclude.iter().map(Part::weight).sum(), self)?;
        let mut unknown = None;
        items.retain(|item| {
            let retired = item.concept.is_some_and(|(of, at)| of.is_inactive(at));
            let left_out = self.excluded_systems.iter().any(|system| system == item.system);
            if left_out || self.active_only && retired {
                return false;
            }
            let mut doubt = None;
            for part in &self.exclude {
                match part.check(item.system, item.code) {
                    crate::Membership::Member(_) => return false,
                    crate::Membership::NotKnown(why) => doubt = doubt.or(Some(why)),
                    crate::Membership::Outside => {}
                }
            }
            if let Some(why) = doubt {
                unknown.get_or_insert_with(|| why.clone());
            }
            true
        });
        unknown.map_or(Ok(()), Err)
    }
}

/// How many steps an expansion may still take.
struct Steps {
    left: Cell<usize>,
}

impl Steps {
    /// Takes as many steps for each of so many codes.
    fn take(&self, codes: usize, each: usize, of: &ResolvedSet) -> Result<(), TerminologyError> {
        let left = self.left.get().checked_sub(codes.saturating_mul(each));
        let mend = "it takes longer than is allowed here; use fewer includes, imports or excludes";
        self.left.set(left.ok_or_else(|| of.too_costly(mend))?);
        Ok(())
    }
}

impl Part {
    /// How many parts a check goes through: this one and those of its imports.
    fn weight(&self) -> usize {
        let mut count = 1;
        for import in &self.imports {
            if let Import::Set(set) = import {
                set.visit_parts(&mut |_| count += 1);
            }
        }
        count
    }
}

struct Walk<'a, 's> {
    of: &'a ResolvedSet,
    steps: &'s Steps,
    seen: HashSet<(&'a str, &'a str)>,
    items: Vec<Item<'a>>,
    limits: ExpansionLimits,
}

impl<'a, 's> Walk<'a, 's> {
    /// All codes of a value set.
    fn whole(
        of: &'a ResolvedSet,
        limits: ExpansionLimits,
        steps: &'s Steps,
    ) -> Result<Vec<Item<'a>>, TerminologyError> {
        let mut walk = Walk { of, steps, seen: HashSet::new(), items: Vec::new(), limits };
        for part in &of.include {
            walk.part(part)?;
        }
        of.exclude_from(&mut walk.items, steps)?;
        Ok(walk.items)
    }

    fn part(&mut self, part: &'a Part) -> Result<(), TerminologyError> {
        let candidates = self.candidates(part)?;
        self.steps.take(candidates.len(), part.weight(), self.of)?;
        // What comes from the first import alone was checked by it.
        let others = part.imports.iter().skip(usize::from(part.system.is_none()));
        'items: for item in candidates {
            let mut doubt = None;
            for import in others.clone() {
                match import.check(item.system, item.code) {
                    crate::Membership::Member(_) => {}
                    // Whatever the others say of it.
                    crate::Membership::Outside => continue 'items,
                    crate::Membership::NotKnown(why) => doubt = doubt.or(Some(why)),
                }
            }
            if let Some(why) = doubt {
                return Err(why.clone());
            }
            if self.seen.insert((item.system, item.code)) {
                if self.items.len() >= self.limits.candidates {
                    return Err(self.of.too_costly("it has more codes than are looked at here"));
                }
                self.items.push(item);
            }
        }
        Ok(())
    }

    /// What a part selects, its imports but the first of those that stand alone not looked at.
    fn candidates(&self, part: &'a Part) -> Result<Vec<Item<'a>>, TerminologyError> {
        let Some(system) = part.system.as_deref() else {
            return match part.imports.first() {
                Some(Import::Set(set)) => Walk::whole(set, self.limits, self.steps),
                Some(Import::Missing(why)) => Err(why.clone()),
                None => Ok(Vec::new()),
            };
        };
        match (&part.selection, &part.source) {
            (Selection::Unknown(why), _) => Err(why.clone()),
            (Selection::Listed { concepts, .. }, source) => Ok(concepts
                .iter()
                .map(|listed| {
                    let concept = match (source, listed.index) {
                        (Source::System(of), Some(index)) => Some((of, index)),
                        _ => None,
                    };
                    // As the code system writes it, so that it is the same in every include.
                    let own = concept.map(|(of, concept)| of.code(concept));
                    let code = own.unwrap_or(&listed.concept.code);
                    Item { system, code, concept, listed: Some(&listed.concept) }
                })
                .collect()),
            (selection, Source::System(of)) => {
                self.steps.take(of.len(), 1, self.of)?;
                Ok(of
                    .concepts()
                    .filter(|&concept| match selection {
                        Selection::Concepts(set) => set.contains(concept),
                        _ => true,
                    })
                    .map(|concept| Item {
                        system,
                        code: of.code(concept),
                        concept: Some((of, concept)),
                        listed: None,
                    })
                    .collect())
            }
            (_, Source::Grammar(_)) => Err(self.of.too_costly(
                "its code system is a grammar with codes without end; validate codes against it",
            )),
            _ => Ok(Vec::new()),
        }
    }
}

impl ExpandRequest {
    fn keeps(&self, item: &Item<'_>) -> bool {
        if let Some((of, concept)) = item.concept {
            if self.active_only && of.is_inactive(concept) {
                return false;
            }
            if self.exclude_abstract && of.is_abstract(concept) {
                return false;
            }
        }
        self.filter.as_ref().is_none_or(|filter| {
            let names = names(item);
            filter.matches([item.code].into_iter().chain(names.map(|name| name.value)))
        })
    }

    fn contains<'a>(&self, item: &Item<'a>) -> Contains<'a> {
        let own =
            item.concept.map(|(of, concept)| (of.is_abstract(concept), of.is_inactive(concept)));
        let (is_abstract, is_inactive) = own.unwrap_or_default();
        let designations = if self.include_designations {
            let listed = listed_designations(item.listed);
            let own = item.concept.into_iter().flat_map(|(of, at)| of.designations(at));
            listed.chain(own).filter(|designation| self.wants(designation)).collect()
        } else {
            Vec::new()
        };
        let properties = match item.concept {
            Some((of, concept)) if !self.properties.is_empty() => of
                .values(concept)
                .filter(|(code, _)| self.properties.iter().any(|wanted| wanted == code))
                .collect(),
            _ => Vec::new(),
        };
        Contains {
            system: item.system,
            code: item.code,
            display: display(item.concept, item.listed, &self.languages),
            is_abstract,
            is_inactive,
            designations,
            properties,
            contains: Vec::new(),
        }
    }

    fn wants(&self, designation: &Designation<'_>) -> bool {
        let wanted = self.designations.is_empty()
            || self.designations.iter().any(|wanted| match wanted.split_once('|') {
                Some(("urn:ietf:bcp:47", language)) => designation.language == language,
                Some((system, code)) => {
                    designation.use_system == system && designation.use_code == code
                }
                None => designation.language == wanted,
            });
        wanted && !designation.value.is_empty()
    }
}

fn listed_designations(
    listed: Option<&ListedConcept>,
) -> impl Iterator<Item = Designation<'_>> + Clone {
    listed.into_iter().flat_map(|listed| &listed.designations).map(|designation| Designation {
        language: &designation.language,
        use_system: &designation.use_system,
        use_code: &designation.use_code,
        value: &designation.value,
    })
}

/// Every name of an item, its displays first, without a language where none is named.
fn names<'a>(item: &Item<'a>) -> impl Iterator<Item = Designation<'a>> + use<'a> {
    let plain = |value| Designation { language: "", use_system: "", use_code: "", value };
    let preferred = item.listed.and_then(|listed| listed.display.as_deref()).map(plain);
    let own = item.concept.map(|(of, concept)| plain(of.display(concept)));
    let further = item.concept.into_iter().flat_map(|(of, at)| of.designations(at));
    preferred.into_iter().chain(own).chain(listed_designations(item.listed)).chain(further)
}

/// The display in the preferred language: a designation of that language, of the value set before
/// the code system; else the value set's display, else the code system's.
pub(crate) fn display<'a>(
    concept: Option<(&'a Arc<CodeSystem>, ConceptIndex)>,
    listed: Option<&'a ListedConcept>,
    languages: &Languages,
) -> Option<&'a str> {
    let preferred = listed.and_then(|listed| listed.display.as_deref());
    let own = concept
        .map(|(of, concept)| (of, of.at(of.concepts[concept as usize].display)))
        .filter(|(_, display)| !display.is_empty());
    if !languages.is_empty() {
        let own_language = concept.and_then(|(of, _)| of.naming.language.as_deref()).unwrap_or("");
        let of_listed = listed_designations(listed).map(|it| (it.language, it.value));
        let further: Vec<(&str, &str)> = concept
            .into_iter()
            .flat_map(|(of, at)| of.designations(at))
            .map(|it| (it.language, it.value))
            .collect();
        let preferred =
            listed.and_then(|listed| Some((&*listed.language, listed.display.as_deref()?)));
        let own = own.map(|(_, display)| (own_language, display));
        let all = of_listed.chain(preferred).chain(own).chain(further.iter().copied());
        if let Some(name) = languages.choose(all.filter(|(language, _)| !language.is_empty())) {
            return Some(name);
        }
    }
    preferred.or(own.map(|(_, display)| display))
}

/// Puts items into their nearest ancestors that are items too; `None` where that goes too deep.
fn nest<'a>(items: &[Item<'a>], request: &ExpandRequest) -> Option<Vec<Contains<'a>>> {
    let place = |item: &Item<'_>| item.concept.map(|(of, concept)| (Arc::as_ptr(of), concept));
    let at: std::collections::HashMap<_, usize> =
        items.iter().enumerate().filter_map(|(at, item)| Some((place(item)?, at))).collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); items.len()];
    let mut roots = Vec::new();
    let mut depths = vec![1; items.len()];
    for (index, item) in items.iter().enumerate() {
        let parent = item.concept.and_then(|(of, concept)| {
            of.parents(concept)
                .iter()
                .find_map(|&parent| at.get(&(Arc::as_ptr(of), parent)).copied())
                .filter(|&parent| parent < index)
        });
        match parent {
            Some(parent) => {
                depths[index] = depths[parent] + 1;
                if depths[index] > NESTING_DEPTH {
                    return None;
                }
                children[parent].push(index);
            }
            None => roots.push(index),
        }
    }
    // A parent stands before its children, so from the end every child is complete.
    let mut built: Vec<Option<Contains<'a>>> =
        items.iter().map(|item| Some(request.contains(item))).collect();
    for index in (0..items.len()).rev() {
        let own: Vec<_> = children[index].iter().filter_map(|&child| built[child].take()).collect();
        if let Some(contains) = &mut built[index] {
            contains.contains = own;
        }
    }
    Some(roots.into_iter().filter_map(|root| built[root].take()).collect())
}
