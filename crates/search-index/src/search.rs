//! A search at one `t`: which resources a query finds among what may be seen.

mod found;
mod include;
mod plan;
mod visibility;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fhir_core::{ResourceId, ResourceType, VersionId};
use fhir_search::{Contained, Query, TypeQuery};
use roaring::RoaringBitmap;
use store::T;

use crate::cost::{Counts, Meter};
use crate::documents::{Ended, Ordinal};
use crate::error::SearchError;
use crate::evaluate::{Evaluation, Node, Resolver};
use crate::facet::{Facet, Number, View};
use crate::index::Index;
use crate::kept::Shown;
use crate::key::local_ordinal;
use crate::part::Part;
use crate::parts::{PartRef, Parts};
use crate::postings::{Set, Union};
use crate::visible::Visible;
use fhir_search::Codes;

pub use found::{Found, Page};
pub use include::Included;
pub use plan::{Costliest, Plan, Step, TypePlan, Way};

/// What a search is told beside its query.
#[derive(Clone, Copy)]
pub struct Context<'c> {
    /// Who answers questions about codes.
    pub codes: &'c dyn Codes,
    /// The server's own base URL, without its last slash.
    pub base: &'c str,
    /// So many keys and documents it may look at.
    pub budget: u64,
    /// Set when nobody waits for the answer any more.
    pub cancelled: &'c AtomicBool,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Context").field("budget", &self.budget).finish_non_exhaustive()
    }
}

/// A version that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The type of the resource.
    pub resource_type: ResourceType,
    /// Its id.
    pub id: ResourceId,
    /// The number of the version.
    pub version: VersionId,
    /// The commit that wrote it.
    pub t: T,
    /// Which of the resources that the version contains is meant, from 0; none for itself.
    pub contained: Option<u32>,
}

/// One view of the index: what there was at a `t`, and may be seen.
pub struct Search<'s> {
    pub(crate) index: &'s Index,
    pub(crate) parts: Arc<Parts>,
    pub(crate) t: T,
    pub(crate) meter: Meter<'s>,
    codes: &'s dyn Codes,
    pub(crate) base: &'s str,
    scopes: Vec<Scope>,
}

/// What of a part there was, and may be seen.
struct Scope {
    /// The documents from here on are later.
    end: u32,
    ended: Ended,
    /// What may be seen, whether or not it has ended; `None` for everything.
    visible: Option<Arc<Shown>>,
}

/// Which documents of a type are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Among {
    /// Those of resources.
    Resources,
    /// Those of contained resources too.
    Contained,
    /// Those of contained resources alone.
    ContainedAlone,
}

impl Index {
    /// A view of what there was when `t` was the head, and `visible` shows.
    ///
    /// # Errors
    /// [`SearchError::BeforeHorizon`] and [`SearchError::Ahead`] for a `t` that cannot be
    /// searched; whatever a condition of `visible` fails with.
    pub fn search<'s>(
        &'s self,
        t: T,
        visible: &Visible,
        context: Context<'s>,
    ) -> Result<Search<'s>, SearchError> {
        if t > self.head() {
            return Err(SearchError::Ahead { t });
        }
        let parts = Arc::clone(&self.parts.read());
        let oldest = self.oldest();
        if t < oldest {
            return Err(SearchError::BeforeHorizon { oldest });
        }
        let counts = match visible {
            Visible::Everything => Counts::LookedAt,
            Visible::Any(_) => Counts::Seen,
        };
        let meter = Meter::new(context.budget, counts, context.cancelled);
        let mut search = Search::of_everything(self, parts, t, (context, meter));
        if let Visible::Any(parts) = visible {
            search.restrict_to(parts, context)?;
        }
        search.require_whole()?;
        Ok(search)
    }
}

impl<'s> Search<'s> {
    fn of_everything(
        index: &'s Index,
        parts: Arc<Parts>,
        t: T,
        (context, meter): (Context<'s>, Meter<'s>),
    ) -> Self {
        let scope = |part: &PartRef| Scope {
            end: part.read(|content| content.documents().up_to(t)),
            ended: part.superseded.read().at(t),
            visible: None,
        };
        let scopes = parts.iter().map(scope).collect();
        Self { index, parts, t, meter, codes: context.codes, base: context.base, scopes }
    }

    /// How many keys and documents were looked at so far. Of who may not see everything it is
    /// told from what may be seen alone: how many of those documents conditions were asked of.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.meter.spent()
    }

    /// The `t` that is looked at.
    #[must_use]
    pub fn t(&self) -> T {
        self.t
    }

    /// What a query finds.
    ///
    /// # Errors
    /// [`SearchError`] when it costs too much, was cancelled, or asks for what there is not.
    pub fn find<'q>(&'q self, query: &'q Query) -> Result<Found<'q>, SearchError> {
        let among = match query.answer.contained {
            Contained::False => Among::Resources,
            Contained::True => Among::ContainedAlone,
            Contained::Both => Among::Contained,
        };
        let resolver = Resolver { search: self, codes: self.codes };
        let mut found = Vec::new();
        for of in &query.types {
            let node = self.type_node(&resolver, query, of)?;
            for part in 0..self.parts.len() {
                found.push(self.documents(part, of.resource_type.as_str(), &node, among)?);
            }
        }
        let found = Found::new(self, query, found)?;
        self.require_whole()?;
        Ok(found)
    }

    /// Whether all that was asked for could be read. Parts that cannot be read, or that nobody waits
    /// for, are read as if they had no keys, so that nothing may be answered before this was asked.
    ///
    /// # Errors
    /// [`SearchError::Unreadable`] when something could not be read, or the index begins anew;
    /// [`SearchError::Cancelled`] when nobody waits any more.
    pub(crate) fn require_whole(&self) -> Result<(), SearchError> {
        self.meter.look()?;
        let mut segments = self.parts.iter().filter_map(PartRef::as_segment);
        let is_harmed = segments.any(|segment| segment.failure().is_some());
        match is_harmed || self.t > self.index.head() {
            true => Err(SearchError::Unreadable),
            false => Ok(()),
        }
    }

    fn type_node<'q>(
        &self,
        resolver: &Resolver<'_, 'q>,
        query: &'q Query,
        of: &'q TypeQuery,
    ) -> Result<Node<'q>, SearchError> {
        let name = of.resource_type.as_str();
        let nodes: Result<Vec<_>, _> =
            of.clauses.iter().map(|clause| resolver.clause(name, clause)).collect();
        let mut nodes = nodes?;
        if let Some(compartment) = &query.compartment {
            let names = self.index.names.read();
            let about = names.get(compartment.resource_type.as_str(), compartment.id.as_str());
            drop(names);
            let about = about.or_else(|| self.counts_what_is_seen().then_some(Ordinal::NONE));
            let Some((about, membership)) = about.zip(of.membership.as_ref()) else {
                return Ok(Node::Nothing);
            };
            let ordinals = RoaringBitmap::from_iter([about.0]);
            let mut ways: Vec<Node<'q>> = Vec::new();
            for parameter in &membership.parameters {
                let number = self.number(&parameter.resource_type, parameter.code());
                if let Some(number) = number {
                    let facet = Facet::of(number, View::Value);
                    ways.push(Node::Targets { facet, ordinals: ordinals.clone() });
                }
            }
            if membership.itself {
                ways.push(Node::Own(ordinals));
            }
            nodes.push(Node::Any(ways));
        }
        Ok(Node::All(nodes))
    }

    /// Reads a part, for as long as anyone waits.
    pub(crate) fn read<R>(&self, part: usize, read: impl FnOnce(&dyn Part) -> R) -> R {
        self.parts[part].read_until(self.meter.cancelled(), read)
    }

    /// The documents of a part that are of a type, satisfy a node, were there and may be seen.
    pub(crate) fn documents(
        &self,
        part: usize,
        of: &str,
        node: &Node<'_>,
        among: Among,
    ) -> Result<RoaringBitmap, SearchError> {
        self.read(part, |content| self.documents_of(content, part, of, node, among))
    }

    fn documents_of(
        &self,
        content: &dyn Part,
        part: usize,
        of: &str,
        node: &Node<'_>,
        among: Among,
    ) -> Result<RoaringBitmap, SearchError> {
        let scope = &self.scopes[part];
        if let Some(shown) = &scope.visible {
            return self.documents_seen(content, (scope, shown), (of, among), node);
        }
        let meter = &self.meter;
        let nothing = RoaringBitmap::new();
        let uncounted = meter.unlimited();
        let all = Evaluation { part: content, meter: &uncounted, universe: &nothing, among };
        let of_facet = |facet| all.set(&Node::Key { facet, key: of.as_bytes().to_vec() });
        let universe = match among {
            Among::Resources => of_facet(Facet::TYPE)?,
            Among::ContainedAlone => of_facet(Facet::CONTAINED)?,
            Among::Contained => {
                let (own, contained) = (of_facet(Facet::TYPE)?, of_facet(Facet::CONTAINED)?);
                match contained.as_ref().is_empty() {
                    true => own,
                    false => Set::Owned(own.as_ref() | contained.as_ref()),
                }
            }
        };
        let count = universe.as_ref().len();
        if count == 0 {
            return Ok(nothing);
        }
        meter.charge_set(count)?;
        let evaluation = Evaluation { part: content, meter, universe: universe.as_ref(), among };
        let mut found = match evaluation.set(node)? {
            Set::Borrowed(set) if std::ptr::eq(set, universe.as_ref()) => set.clone(),
            set => set.and(universe.as_ref()),
        };
        scope.restrict(&mut found);
        Ok(found)
    }

    /// The resources of a type that satisfy a node.
    pub(crate) fn ordinals(
        &self,
        of: &str,
        node: &Node<'_>,
        among: Among,
    ) -> Result<RoaringBitmap, SearchError> {
        let mut ordinals = Union::default();
        for at in 0..self.parts.len() {
            self.read(at, |content| {
                let docs = self.documents_of(content, at, of, node, among)?;
                self.meter.charge_seen(docs.len())?;
                let documents = content.documents();
                docs.iter().for_each(|doc| ordinals.push(documents.get(doc).ordinal.0));
                Ok::<_, SearchError>(())
            })?;
        }
        Ok(ordinals.finish().into_owned())
    }

    /// The resources that those of a type refer to by a facet, if they satisfy a node.
    pub(crate) fn targets_of(
        &self,
        of: &str,
        node: &Node<'_>,
        facet: Facet,
    ) -> Result<RoaringBitmap, SearchError> {
        let mut targets = Union::default();
        self.each_key(of, node, facet, |key| {
            if let Some(ordinal) = local_ordinal(key) {
                targets.push(ordinal.0);
            }
        })?;
        Ok(targets.finish().into_owned())
    }

    /// The keys of a facet that the resources of a type have, if they satisfy a node.
    pub(crate) fn keys_of(
        &self,
        of: &str,
        node: &Node<'_>,
        facet: Facet,
    ) -> Result<Vec<Vec<u8>>, SearchError> {
        let mut keys = Vec::new();
        self.each_key(of, node, facet, |key| keys.push(key.to_vec()))?;
        Ok(keys)
    }

    /// Each key of a facet that the resources of a type have, if they satisfy a node; one that
    /// several have perhaps several times.
    pub(crate) fn each_key(
        &self,
        of: &str,
        node: &Node<'_>,
        facet: Facet,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), SearchError> {
        for at in 0..self.parts.len() {
            self.read(at, |content| {
                let docs = self.documents_of(content, at, of, node, Among::Resources)?;
                self.meter.count(docs.len())?;
                let keys = content.count_keys(facet, &[], None) as u64;
                if docs.is_empty() || keys == 0 {
                    return Ok(());
                }
                // To find out for a key whether one of its documents is meant takes longer than
                // to look up a document's keys.
                if docs.len() < keys * 16 {
                    let by_document = content.by_document(facet);
                    self.meter.charge(docs.len())?;
                    by_document.each_of(docs.iter(), &mut each);
                    return Ok::<_, SearchError>(());
                }
                for (key, postings) in content.range(facet, &[], None) {
                    self.meter.charge_set(postings.len())?;
                    if postings.any_in(&docs) {
                        each(key);
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Whether a document was there and may be seen.
    pub(crate) fn shows(&self, part: usize, doc: u32) -> bool {
        self.shows_content(part, doc) && !self.scopes[part].ended.has(doc)
    }

    /// Whether a document may be seen for what it says, whether or not it is the newest.
    pub(crate) fn shows_content(&self, part: usize, doc: u32) -> bool {
        let scope = &self.scopes[part];
        doc < scope.end
            && !scope.ended.is_purged(doc)
            && scope.visible.as_ref().is_none_or(|visible| visible.all().contains(doc))
    }

    /// Whether a resource was there and may be seen.
    fn shows_resource(&self, of: &ResourceType, id: &ResourceId) -> bool {
        let ordinal = self.index.names.read().get(of.as_str(), id.as_str());
        ordinal.is_some_and(|ordinal| self.current(ordinal).is_some())
    }

    /// Of each of these resources, whether it was there and may be seen.
    ///
    /// # Errors
    /// [`SearchError::Unreadable`] when something could not be read: what is said of any of them
    /// is not to be believed then; [`SearchError::Cancelled`] when nobody waits any more.
    pub fn shows_resources<'r>(
        &self,
        resources: impl IntoIterator<Item = (&'r ResourceType, &'r ResourceId)>,
    ) -> Result<Vec<bool>, SearchError> {
        let shows = |(of, id): (&ResourceType, &ResourceId)| {
            self.meter.pass(1)?;
            Ok(self.shows_resource(of, id))
        };
        let shown = resources.into_iter().map(shows).collect::<Result<_, SearchError>>()?;
        self.require_whole()?;
        Ok(shown)
    }

    /// The document of a resource that was there and may be seen, and its part.
    pub(crate) fn current(&self, ordinal: Ordinal) -> Option<(usize, u32)> {
        self.parts.iter().enumerate().rev().find_map(|(at, part)| {
            let docs: Vec<u32> = part.read(|content| content.documents().of(ordinal).collect());
            docs.into_iter().find(|doc| self.shows(at, *doc)).map(|doc| (at, doc))
        })
    }

    /// What a document is a hit for.
    pub(crate) fn hit(&self, part: usize, doc: u32) -> Option<Hit> {
        let (document, contained) = self.parts[part].read(|content| {
            let documents = content.documents();
            let container = documents.container(doc);
            (documents.get(container), (doc - container).checked_sub(1))
        });
        let (resource_type, id) = self.index.names.read().name(document.ordinal)?;
        let (version, t) = (document.version, document.place.t);
        Some(Hit { resource_type, id, version, t, contained })
    }

    /// The document of a hit, if it was there and may be seen, and its part.
    pub(crate) fn document(&self, hit: &Hit) -> Option<(usize, u32)> {
        let names = self.index.names.read();
        let ordinal = names.get(hit.resource_type.as_str(), hit.id.as_str())?;
        drop(names);
        let (part, doc) = self.current(ordinal)?;
        Some((part, hit.contained.map_or(doc, |at| doc + 1 + at)))
    }

    /// The facet of a parameter's values.
    pub(crate) fn facet(&self, of: &str, code: &str) -> Option<Facet> {
        let number: Number = self.index.numbers.read().get(of, code)?;
        Some(Facet::of(number, View::Value))
    }

    /// The number of a parameter. That it has none is told only to who sees everything: others
    /// get one that nothing is indexed under, so that a condition takes the same way whatever
    /// there is that they do not see.
    pub(crate) fn number(&self, of: &str, code: &str) -> Option<Number> {
        let known = self.index.numbers.read().get(of, code);
        known.or_else(|| self.counts_what_is_seen().then(|| Number::of_nothing(of, code)))
    }

    /// Whether what a search costs is told from what may be seen alone.
    pub(crate) fn counts_what_is_seen(&self) -> bool {
        self.meter.counts_what_is_seen()
    }
}

impl std::fmt::Debug for Search<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Search").field("t", &self.t).finish_non_exhaustive()
    }
}

impl Scope {
    /// Takes out what was not there.
    fn restrict(&self, docs: &mut RoaringBitmap) {
        docs.remove_range(self.end..);
        self.ended.take_from(docs);
    }
}
