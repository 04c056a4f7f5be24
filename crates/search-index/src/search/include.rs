//! What is added to the hits of a page: `_include` and `_revinclude` (FHIR R4 3.1.1.5.4).

use std::collections::{BTreeSet, HashSet};

use fhir_core::VersionId;
use fhir_search::{Include, IncludeDirection, IncludeSource};
use roaring::RoaringBitmap;

use super::{Among, Hit, Search};
use crate::documents::{DocumentOf, Ordinal};
use crate::error::SearchError;
use crate::evaluate::{Named, Node, naming};
use crate::facet::{Facet, View};
use crate::key::{ReferenceKey, read_reference_key};

/// What was added to a page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Included {
    /// The resources, none twice and none that is a hit of the page.
    pub hits: Vec<Hit>,
    /// Whether there were more than may be added.
    pub is_cut: bool,
    /// Whether a reference names a version that is no longer in the index, and may be elsewhere.
    pub lacks_a_version: bool,
}

/// A document of some part.
type Found = (usize, u32);

struct Collected {
    seen: HashSet<Found>,
    added: Vec<Found>,
    limit: usize,
    is_cut: bool,
    lacks_a_version: bool,
}

/// Which of the resources refers, and by which of the references that are followed.
type Place = (usize, usize);

/// What the references of some resources name.
#[derive(Default)]
struct Targets {
    /// Each with its place among those of all the resources.
    local: Vec<(Place, Ordinal, Option<VersionId>)>,
    canonicals: BTreeSet<(String, Option<String>)>,
}

impl Targets {
    fn add(&mut self, place: Place, key: &[u8]) {
        match read_reference_key(key) {
            Some(ReferenceKey::Local { ordinal, version }) => {
                // A version that is no number is none of this server's.
                match version.map(|it| it.parse().ok()) {
                    None => self.local.push((place, ordinal, None)),
                    Some(Some(version)) => self.local.push((place, ordinal, Some(version))),
                    Some(None) => {}
                }
            }
            Some(ReferenceKey::Canonical { url, version }) => {
                let version = version.map(|it| it.into_owned());
                self.canonicals.insert((url.into_owned(), version));
            }
            _ => {}
        }
    }
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
    /// one, if it is still known. A canonical adds what has its URL, and its version where it says
    /// one.
    ///
    /// # Errors
    /// [`SearchError`] when it costs too much or was cancelled.
    pub fn include(
        &self,
        hits: &[Hit],
        includes: &[Include],
        limit: usize,
    ) -> Result<Included, SearchError> {
        let included = self.meter.uncounted(|| self.collect(hits, includes, limit))?;
        let asked = hits.len().saturating_mul(includes.len());
        self.meter.count((asked + included.hits.len()) as u64)?;
        Ok(included)
    }

    fn collect(
        &self,
        hits: &[Hit],
        includes: &[Include],
        limit: usize,
    ) -> Result<Included, SearchError> {
        let own = hits.iter().filter_map(|hit| self.document(hit));
        let mut newest: Vec<Found> = own.collect();
        let seen = newest.iter().copied().collect();
        let mut collected =
            Collected { seen, added: Vec::new(), limit, is_cut: false, lacks_a_version: false };
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
        let hits = added.collect();
        self.require_whole()?;
        let Collected { is_cut, lacks_a_version, .. } = collected;
        Ok(Included { hits, is_cut, lacks_a_version })
    }

    /// The references that an include follows, each with the type that has it.
    pub(super) fn followed(&self, include: &Include) -> Vec<(Box<str>, Facet)> {
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
        let mut targets = Targets::default();
        for at in 0..self.parts.len() {
            let docs = from.iter().enumerate().filter(|(_, (part, _))| *part == at);
            let docs: Vec<(usize, u32)> = docs.map(|(which, (_, doc))| (which, *doc)).collect();
            if docs.is_empty() {
                continue;
            }
            self.read(at, |content| {
                let all: RoaringBitmap = docs.iter().map(|(_, doc)| *doc).collect();
                for (by, (of, facet)) in followed.iter().enumerate() {
                    // Of other types nothing is looked up, nor told by what it costs.
                    let is_of_type = [Facet::TYPE, Facet::CONTAINED].into_iter().any(|types| {
                        content.get(types, of.as_bytes()).is_some_and(|it| it.any_in(&all))
                    });
                    if !is_of_type || content.count_keys(*facet, &[], None) == 0 {
                        continue;
                    }
                    let by_document = content.by_document(*facet);
                    for (which, doc) in &docs {
                        self.meter.charge(1)?;
                        let keys = by_document.of(*doc).into_iter();
                        keys.for_each(|key| targets.add((*which, by), key));
                    }
                }
                Ok::<_, SearchError>(())
            })?;
        }
        // In the order of what refers, whatever parts of the index that is in.
        targets.local.sort_by_key(|(place, _, _)| *place);
        for (_, ordinal, version) in targets.local {
            self.meter.charge(1)?;
            let is_wanted = include
                .target
                .as_ref()
                .is_none_or(|target| self.index.names.read().type_of(ordinal) == target);
            if !is_wanted || self.index.names.read().name(ordinal).is_none() {
                continue;
            }
            let found = match version {
                Some(version) => self.version(ordinal, version, collected),
                None => self.current(ordinal),
            };
            if let Some(found) = found {
                collected.add(found);
            }
        }
        for (url, version) in &targets.canonicals {
            self.named_for(url, version.as_deref(), include, collected)?;
        }
        Ok(())
    }

    /// Adds what a canonical names.
    fn named_for(
        &self,
        url: &str,
        version: Option<&str>,
        include: &Include,
        collected: &mut Collected,
    ) -> Result<(), SearchError> {
        let types = self.index.numbers.read().types_with("url");
        for of in types {
            let is_wanted = include.target.as_ref().is_none_or(|target| target.as_str() == &*of);
            let Some(node) = self.named(&of, url, version).filter(|_| is_wanted) else { continue };
            for part in 0..self.parts.len() {
                for doc in self.documents(part, &of, &node, Among::Resources)? {
                    self.meter.charge(1)?;
                    collected.add((part, doc));
                }
            }
        }
        Ok(())
    }

    /// The document of a certain version, if it was there and may be seen: for what it says, and
    /// for what the newest one says that was there.
    fn version(
        &self,
        ordinal: Ordinal,
        version: VersionId,
        collected: &mut Collected,
    ) -> Option<Found> {
        let (part, doc) = self.current(ordinal)?;
        let newest = self.parts[part].read(|content| content.documents().get(doc).version);
        if version > newest {
            return None;
        }
        let found = self.parts.iter().enumerate().rev().find_map(|(at, part)| {
            let doc = part.read(|content| {
                let documents = content.documents();
                documents.of(ordinal).find(|doc| documents.get(*doc).version == version)
            });
            doc.map(|doc| (at, doc))
        });
        collected.lacks_a_version |= found.is_none();
        found.filter(|(part, doc)| self.shows_content(*part, *doc))
    }

    fn reverse(
        &self,
        to: &[Found],
        include: &Include,
        collected: &mut Collected,
    ) -> Result<(), SearchError> {
        let (mut ordinals, mut named) = (RoaringBitmap::new(), Named::new());
        for (part, doc) in to {
            let document = self.parts[*part].read(|content| content.documents().get(*doc));
            let of = self.index.names.read().type_of(document.ordinal).clone();
            let is_wanted = include.target.as_ref().is_none_or(|target| of == *target);
            // Nothing outside its container refers to what is contained.
            if is_wanted && document.of == DocumentOf::Resource {
                ordinals.insert(document.ordinal.0);
                self.add_names((*part, *doc), of.as_str(), &mut named);
            }
        }
        if ordinals.is_empty() {
            return Ok(());
        }
        for (of, facet) in self.followed(include) {
            let targets = Node::Targets { facet, ordinals: ordinals.clone() };
            let node = Node::Any(vec![targets, naming(facet, named.clone())]);
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
