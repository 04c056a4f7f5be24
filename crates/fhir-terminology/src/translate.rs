//! `$translate` (FHIR R4, 4.10.13): what a code is in another code system.

use std::sync::Arc;

use crate::canonical::Canonical;
use crate::concept_map::{ConceptMap, Dependency, Element, Group, Target, Unmapped};
use crate::error::TerminologyError;
use crate::terminology::Terminology;
use crate::validate::Coding;

/// How many maps `unmapped` may lead through.
const OTHER_MAPS: usize = 8;

/// Which way a map is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// From its source to its target.
    #[default]
    Forward,
    /// From its target to its source, what is wider read as narrower.
    Reverse,
}

/// What is asked of a translation.
#[derive(Debug, Clone, Default)]
pub struct TranslateRequest<'a> {
    /// The value set that the code is of.
    pub source: Option<&'a str>,
    /// The value set to translate to.
    pub target: Option<&'a str>,
    /// The code system to translate to.
    pub target_system: Option<&'a str>,
    /// Which way.
    pub direction: Direction,
    /// What else holds: element and value.
    pub dependencies: Vec<(&'a str, &'a str)>,
}

/// One translation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// How it relates to what was asked about.
    pub equivalence: Box<str>,
    /// The code system.
    pub system: Option<Box<str>>,
    /// Its version.
    pub version: Option<Box<str>>,
    /// The code; none where there is explicitly no translation.
    pub code: Option<Box<str>>,
    /// Its display.
    pub display: Option<Box<str>>,
    /// What comes with it.
    pub product: Vec<Dependency>,
    /// The map it is from.
    pub map: String,
}

impl Match {
    /// Whether it says that there is a translation.
    #[must_use]
    pub fn is_one(&self) -> bool {
        !matches!(&*self.equivalence, "unmatched" | "disjoint")
    }
}

impl Terminology {
    /// Translates by all maps that fit the request.
    #[must_use]
    pub fn translate_by_all(
        &self,
        coding: &Coding<'_>,
        request: &TranslateRequest<'_>,
    ) -> Vec<Match> {
        let same = |asked: Option<&str>, own: Option<&str>| {
            asked.is_none_or(|asked| {
                own.is_some_and(|own| Canonical::parse(own).url == Canonical::parse(asked).url)
            })
        };
        let mut matches = Vec::new();
        for map in self.concept_maps() {
            let (source, target) = (map.source.as_deref(), map.target.as_deref());
            let (source, target) = match request.direction {
                Direction::Forward => (source, target),
                Direction::Reverse => (target, source),
            };
            if same(request.source, source) && same(request.target, target) {
                matches.extend(self.translate(&map, coding, request));
            }
        }
        matches
    }

    /// Translates by one map.
    #[must_use]
    pub fn translate(
        &self,
        map: &ConceptMap,
        coding: &Coding<'_>,
        request: &TranslateRequest<'_>,
    ) -> Vec<Match> {
        let mut matches = Vec::new();
        self.translate_through(map, coding, request, &mut Vec::new(), &mut matches);
        matches
    }

    fn translate_through(
        &self,
        map: &ConceptMap,
        coding: &Coding<'_>,
        request: &TranslateRequest<'_>,
        passed: &mut Vec<String>,
        matches: &mut Vec<Match>,
    ) {
        let canonical = map.naming.canonical();
        if passed.len() >= OTHER_MAPS || passed.contains(&canonical) {
            return;
        }
        passed.push(canonical.clone());
        for group in &map.groups {
            let view = View { group, request, map: &canonical };
            if !view.fits(coding) {
                continue;
            }
            let found = view.matches(coding);
            let is_unmapped = found.is_empty();
            matches.extend(found);
            if !is_unmapped || request.direction == Direction::Reverse {
                continue;
            }
            match &group.unmapped {
                Some(Unmapped::OtherMap(url)) => {
                    if let Ok(other) = self.concept_map(Canonical::parse(url)) {
                        self.translate_through(&other, coding, request, passed, matches);
                    }
                }
                Some(Unmapped::Provided) => {
                    matches.push(view.unmapped(coding.code, coding.display))
                }
                Some(Unmapped::Fixed { code, display }) => {
                    matches.push(view.unmapped(code, display.as_deref()));
                }
                None => {}
            }
        }
    }

    /// The map of a canonical, for [`Terminology::translate`].
    ///
    /// # Errors
    /// When it is not here.
    pub fn map(&self, canonical: &str) -> Result<Arc<ConceptMap>, TerminologyError> {
        self.concept_map(Canonical::parse(canonical))
    }
}

/// A group read in one direction.
struct View<'a> {
    group: &'a Group,
    request: &'a TranslateRequest<'a>,
    map: &'a str,
}

impl View<'_> {
    fn is_reverse(&self) -> bool {
        self.request.direction == Direction::Reverse
    }

    /// Whether the group is about codes like this one, and about the target asked for.
    fn fits(&self, coding: &Coding<'_>) -> bool {
        let group = self.group;
        let (from, from_version, to) = if self.is_reverse() {
            (&group.target, &group.target_version, &group.source)
        } else {
            (&group.source, &group.source_version, &group.target)
        };
        let same = |asked: Option<&str>, own: &Option<Box<str>>| {
            asked.is_none_or(|asked| own.as_deref().is_none_or(|own| own == asked))
        };
        same(coding.system, from)
            && same(coding.version, from_version)
            && same(self.request.target_system, to)
    }

    fn matches(&self, coding: &Coding<'_>) -> Vec<Match> {
        let elements = self.group.elements.iter();
        if self.is_reverse() {
            let pairs = elements.flat_map(|it| it.targets.iter().map(move |target| (it, target)));
            return pairs
                .filter(|(_, target)| target.code.as_deref() == Some(coding.code))
                .map(|(element, target)| self.reversed(element, target))
                .collect();
        }
        elements
            .filter(|element| &*element.code == coding.code)
            .flat_map(|element| &element.targets)
            .filter(|target| self.holds(target))
            .map(|target| self.forward(target))
            .collect()
    }

    /// Whether all that a mapping depends on was given.
    fn holds(&self, target: &Target) -> bool {
        target.depends_on.iter().all(|needed| {
            let given = &self.request.dependencies;
            given
                .iter()
                .any(|(property, value)| *property == &*needed.property && *value == &*needed.value)
        })
    }

    fn forward(&self, target: &Target) -> Match {
        Match {
            equivalence: target.equivalence.clone(),
            system: self.group.target.clone(),
            version: self.group.target_version.clone(),
            code: target.code.clone(),
            display: target.display.clone(),
            product: target.product.clone(),
            map: self.map.to_owned(),
        }
    }

    fn reversed(&self, element: &Element, target: &Target) -> Match {
        let equivalence = match &*target.equivalence {
            "wider" => "narrower",
            "narrower" => "wider",
            "subsumes" => "specializes",
            "specializes" => "subsumes",
            same => same,
        };
        Match {
            equivalence: equivalence.into(),
            system: self.group.source.clone(),
            version: self.group.source_version.clone(),
            code: Some(element.code.clone()),
            display: element.display.clone(),
            product: Vec::new(),
            map: self.map.to_owned(),
        }
    }

    fn unmapped(&self, code: &str, display: Option<&str>) -> Match {
        Match {
            equivalence: "inexact".into(),
            system: self.group.target.clone(),
            version: self.group.target_version.clone(),
            code: Some(code.into()),
            display: display.map(Into::into),
            product: Vec::new(),
            map: self.map.to_owned(),
        }
    }
}
