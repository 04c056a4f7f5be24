//! What is added to the hits of a page: `_include` and `_revinclude` (FHIR R4 3.1.1.5.4).

use std::collections::HashSet;

use fhir_core::VersionId;
use fhir_search::{Include, IncludeDirection, IncludeSource};
use roaring::RoaringBitmap;
use store::T;

use super::{Among, Hit, Search};
use crate::documents::Ordinal;
use crate::error::SearchError;
use crate::evaluate::Node;
use crate::facet::{Facet, View};
use crate::key::{ReferenceKey, read_reference_key};

/// What was added to a page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Included {
    /// The resources, none twice and none that is a hit of the page.
    pub hits: Vec<Hit>,
    /// Whether there were more than may be added.
    pub is_cut: bool,
    /// Whether a reference names a version that merges may have dropped: what is added may lack
    /// it, and what is included with it.
    pub may_lack_versions: bool,
}

/// A document of some part.
type Found = (usize, u32);

struct Collected {
    seen: HashSet<Found>,
    added: Vec<Found>,
    limit: usize,
    is_cut: bool,
    may_lack_versions: bool,
}

impl Collected {
    fn add(&mut self, found: Found) {
        if self.seen.contains(&found) {
            return;
        }
        if self.added.len() >= self.limit {
            self.is_cut = true;
            return;
        }
        self.seen.insert(found);
        self.added.push(found);
    }
}

impl Search<'_> {
    /// What `includes` add to the hits of a page, at most so many. References to what is not
    /// there, may not be seen or is contained add nothing. A reference to a version adds that
    /// one, if it is still known, and [`Included`] says if it may not be.
    ///
    /// # Errors
    /// [`SearchError`] when it costs too much or was cancelled.
    pub fn include(
        &self,
        hits: &[Hit],
        includes: &[Include],
        limit: usize,
    ) -> Result<Included, SearchError> {
        let own = hits.iter().filter_map(|hit| {
            let names = self.index.names.read();
            let ordinal = names.get(hit.resource_type.as_str(), hit.id.as_str())?;
            drop(names);
            self.current(ordinal)
        });
        let mut newest: Vec<Found> = own.collect();
        let seen = newest.iter().copied().collect();
        let mut collected =
            Collected { seen, added: Vec::new(), limit, is_cut: false, may_lack_versions: false };
        let mut is_first = true;
        while !newest.is_empty() && !collected.is_cut {
            let before = collected.added.len();
            for include in includes.iter().filter(|include| is_first || include.iterate) {
                match include.direction {
                    IncludeDirection::Forward => self.forward(&newest, include, &mut collected)?,
                    IncludeDirection::Reverse => self.reverse(&newest, include, &mut collected)?,
                }
            }
            newest = collected.added[before..].to_vec();
            is_first = false;
        }
        let added = collected.added.iter().filter_map(|(part, doc)| self.hit(*part, *doc));
        let Collected { is_cut, may_lack_versions, .. } = collected;
        Ok(Included { hits: added.collect(), is_cut, may_lack_versions })
    }

    /// The references that an include follows, each with the type that has it.
    fn followed(&self, include: &Include) -> Vec<(Box<str>, Facet)> {
        let of = match &include.source {
            IncludeSource::Everything => None,
            IncludeSource::OfType(of) => Some(of.as_str()),
            IncludeSource::Parameter(parameter) => {
                let facet = self.facet(&parameter.resource_type, parameter.code());
                return facet
                    .map(|it| ((*parameter.resource_type).into(), it))
                    .into_iter()
                    .collect();
            }
        };
        let all = self.index.numbers.read().references(of);
        all.into_iter().map(|(of, number)| (of, Facet::of(number, View::Value))).collect()
    }

    fn forward(
        &self,
        from: &[Found],
        include: &Include,
        collected: &mut Collected,
    ) -> Result<(), SearchError> {
        let followed = self.followed(include);
        let mut targets: Vec<(Ordinal, Option<VersionId>)> = Vec::new();
        for (at, part) in self.parts.iter().enumerate() {
            let docs = from.iter().filter(|(part, _)| *part == at).map(|(_, doc)| *doc);
            let docs: Vec<u32> = docs.collect();
            if docs.is_empty() {
                continue;
            }
            part.read(|content| {
                for (_, facet) in &followed {
                    if content.count_keys(*facet, &[], None) == 0 {
                        continue;
                    }
                    let by_document = content.by_document(*facet);
                    for doc in &docs {
                        self.meter.charge(1)?;
                        for key in by_document.of(*doc) {
                            if let Some(ReferenceKey::Local { ordinal, version }) =
                                read_reference_key(key)
                            {
                                // A version that is no number is none of this server's.
                                let number = version.map(|it| it.parse().ok());
                                match number {
                                    None => targets.push((ordinal, None)),
                                    Some(Some(version)) => targets.push((ordinal, Some(version))),
                                    Some(None) => {}
                                }
                            }
                        }
                    }
                }
                Ok::<_, SearchError>(())
            })?;
        }
        for (ordinal, version) in targets {
            self.meter.charge(1)?;
            let is_wanted = include
                .target
                .as_ref()
                .is_none_or(|target| self.index.names.read().type_of(ordinal) == target);
            if !is_wanted || self.index.names.read().name(ordinal).is_none() {
                continue;
            }
            let found = match version {
                Some(version) => self.version(ordinal, version),
                None => self.current(ordinal),
            };
            match (found, version) {
                (Some(found), _) => collected.add(found),
                (None, Some(version)) if self.may_have_dropped(ordinal, version) => {
                    collected.may_lack_versions = true;
                }
                (None, _) => {}
            }
        }
        Ok(())
    }

    /// Whether a version that is not found may have been there: one of what is there now, from
    /// before, once merges have dropped anything.
    fn may_have_dropped(&self, ordinal: Ordinal, version: VersionId) -> bool {
        let current = self.current(ordinal).map(|(part, doc)| {
            self.parts[part].read(|content| content.documents().get(doc).version)
        });
        self.index.oldest() > T::ZERO && current.is_some_and(|current| version < current)
    }

    /// The document of a certain version, if it was there and may be seen.
    fn version(&self, ordinal: Ordinal, version: VersionId) -> Option<Found> {
        self.parts.iter().enumerate().rev().find_map(|(at, part)| {
            let doc = part.read(|content| {
                let documents = content.documents();
                documents.of(ordinal).find(|doc| documents.get(*doc).version == version)
            });
            doc.filter(|doc| self.shows_version(at, *doc, ordinal)).map(|doc| (at, doc))
        })
    }

    /// Whether an older version may be shown: for what it says, and for what the newest one says
    /// that was there.
    fn shows_version(&self, part: usize, doc: u32, ordinal: Ordinal) -> bool {
        self.shows_content(part, doc) && self.current(ordinal).is_some()
    }

    fn reverse(
        &self,
        to: &[Found],
        include: &Include,
        collected: &mut Collected,
    ) -> Result<(), SearchError> {
        let mut ordinals = RoaringBitmap::new();
        for (part, doc) in to {
            let document = self.parts[*part].read(|content| content.documents().get(*doc));
            let is_wanted = include
                .target
                .as_ref()
                .is_none_or(|target| self.index.names.read().type_of(document.ordinal) == target);
            if is_wanted {
                ordinals.insert(document.ordinal.0);
            }
        }
        if ordinals.is_empty() {
            return Ok(());
        }
        for (of, facet) in self.followed(include) {
            let node = Node::Targets { facet, ordinals: ordinals.clone() };
            for part in 0..self.parts.len() {
                for doc in self.documents(part, &of, &node, Among::Resources)? {
                    self.meter.charge(1)?;
                    collected.add((part, doc));
                    if collected.is_cut {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}
