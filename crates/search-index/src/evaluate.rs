//! Which documents of one part of the index satisfy a condition.

mod links;
mod node;
mod resolve;
mod tests_of_values;
mod within;

use fhir_core::Instant;
use roaring::RoaringBitmap;

pub(crate) use links::{Named, naming};
pub(crate) use node::{Check, Node};
pub(crate) use resolve::Resolver;

use crate::SearchError;
use crate::cost::Meter;
use crate::documents::Ordinal;
use crate::facet::Facet;
use crate::key::{KeyRange, local_key, local_ordinal};
use crate::part::{Part, after_prefix};
use crate::postings::{Set, Union};
use crate::search::Among;

/// To look up a document's keys costs as much as to go on to so many keys.
const KEYS_PER_CANDIDATE: u64 = 4;
/// Documents that cost as much to take over as one key to go on to.
const DOCUMENTS_PER_KEY: u64 = 16;

/// Evaluates conditions on one part.
pub(crate) struct Evaluation<'p> {
    pub(crate) part: &'p dyn Part,
    pub(crate) meter: &'p Meter<'p>,
    /// Among these documents alone a condition is asked for; [`Node::Not`] is of them.
    pub(crate) universe: &'p RoaringBitmap,
    /// What the universe has.
    pub(crate) among: Among,
}

impl<'p> Evaluation<'p> {
    /// The documents that satisfy `node`; perhaps some that are not of the universe.
    pub(crate) fn set(&self, node: &Node<'_>) -> Result<Set<'p>, SearchError> {
        self.meter.look()?;
        Ok(match node {
            Node::Everything => Set::Borrowed(self.universe),
            Node::Nothing => Set::Owned(RoaringBitmap::new()),
            Node::Key { facet, key } => {
                let mut union = Union::default();
                if let Some(postings) = self.part.get(*facet, key) {
                    self.meter.charge_set(postings.len())?;
                    union.add(postings);
                }
                union.finish()
            }
            Node::Keys { facet, ranges, check } => self.keys(*facet, ranges, check.as_ref())?,
            Node::Unconverted { facet, unit, node } => match self.part.unconverted(*facet) {
                Some(units) if !units.contains(&**unit) => Set::Owned(RoaringBitmap::new()),
                _ => self.set(node)?,
            },
            Node::Targets { facet, ordinals } => self.targets(*facet, ordinals)?,
            Node::Own(ordinals) => Set::Owned(self.own(ordinals)?),
            Node::Times(ranges) => self.times(ranges),
            Node::All(nodes) => self.all(nodes)?,
            Node::Any(nodes) => match &**nodes {
                [one] => self.set(one)?,
                nodes => {
                    let mut any = RoaringBitmap::new();
                    for node in nodes {
                        any |= self.set(node)?.as_ref();
                    }
                    Set::Owned(any)
                }
            },
            Node::Not(node) => Set::Owned(self.universe - self.set(node)?.as_ref()),
        })
    }

    /// What was written in one of these ranges. What is contained has no time of its own.
    fn times(&self, ranges: &[(Instant, Option<Instant>)]) -> Set<'p> {
        let documents = self.part.documents();
        let of_documents = |(from, to): &(Instant, Option<Instant>)| {
            let end = to.map_or(documents.len(), |to| documents.first_at(to));
            documents.first_at(*from)..end
        };
        if self.among == Among::Resources {
            let mut all = RoaringBitmap::new();
            for range in ranges.iter().map(of_documents) {
                if range == (0..documents.len()) {
                    return Set::Borrowed(self.universe);
                }
                let mut within = self.universe.clone();
                within.remove_range(..range.start);
                within.remove_range(range.end..);
                all |= within;
            }
            return Set::Owned(all);
        }
        let mut bits = vec![0_u8; documents.len().div_ceil(8) as usize];
        ranges.iter().map(of_documents).for_each(|range| mark(&mut bits, range));
        for (_, postings) in self.part.range(Facet::CONTAINED, &[], None) {
            postings.for_each(|doc| bits[doc as usize / 8] &= !(1 << (doc % 8)));
        }
        Set::Owned(RoaringBitmap::from_lsb0_bytes(0, &bits))
    }

    fn keys(
        &self,
        facet: Facet,
        ranges: &[KeyRange],
        check: Option<&Check<'_>>,
    ) -> Result<Set<'p>, SearchError> {
        let mut union = Union::default();
        for range in ranges {
            let bounds = (&*range.low, range.high.as_deref());
            let Some(check) = check.filter(|_| !range.is_sure) else {
                let (keys, documents) = self.part.unite(facet, bounds, &mut union);
                self.meter.charge_set(documents + keys)?;
                continue;
            };
            for (key, postings) in self.part.range(facet, &range.low, range.high.as_deref()) {
                self.meter.charge_set(postings.len())?;
                if check(key)? {
                    union.add(postings);
                }
            }
        }
        Ok(union.finish())
    }

    /// The documents that refer to one of these resources.
    fn targets(&self, facet: Facet, ordinals: &RoaringBitmap) -> Result<Set<'p>, SearchError> {
        let keys = self.part.count_keys(facet, &[], None) as u64;
        let mut union = Union::default();
        if ordinals.len() < keys / 8 {
            for ordinal in ordinals {
                let low = local_key(Ordinal(ordinal)).finish();
                let high = after_prefix(&low);
                for (_, postings) in self.part.range(facet, &low, high.as_deref()) {
                    self.meter.charge_set(postings.len())?;
                    union.add(postings);
                }
                self.meter.charge(1)?;
            }
            return Ok(union.finish());
        }
        for (key, postings) in self.part.range(facet, &[], None) {
            self.meter.charge_set(postings.len())?;
            if local_ordinal(key).is_some_and(|ordinal| ordinals.contains(ordinal.0)) {
                union.add(postings);
            }
        }
        Ok(union.finish())
    }

    /// The documents of these resources.
    fn own(&self, ordinals: &RoaringBitmap) -> Result<RoaringBitmap, SearchError> {
        let documents = self.part.documents();
        let all = u64::from(documents.len());
        let mut union = Union::default();
        let few = documents.most_of(ordinals) < all / 4;
        if few {
            self.meter.charge(ordinals.len().min(all.div_ceil(64)))?;
            documents.of_all(ordinals, |doc| union.push(doc));
        } else {
            for (doc, document) in (0..).zip(documents.iter()) {
                if doc % 64 == 0 {
                    self.meter.charge(1)?;
                }
                if ordinals.contains(document.ordinal.0) {
                    union.push(doc);
                }
            }
        }
        Ok(union.finish().into_owned())
    }

    /// Intersects, from what is had for little to what is dear: once there are few candidates,
    /// dear conditions are asked of each of them.
    fn all(&self, nodes: &[Node<'_>]) -> Result<Set<'p>, SearchError> {
        let (joined, others) = self.joined(nodes);
        let mut by_cost: Vec<&Node<'_>> = joined.iter().chain(others).collect();
        by_cost.sort_by_key(|node| node.cost());
        let mut nodes = by_cost.into_iter();
        let Some(first) = nodes.next() else {
            return Ok(Set::Borrowed(self.universe));
        };
        let mut all = self.set(first)?;
        for node in nodes {
            if all.as_ref().is_empty() {
                break;
            }
            all = Set::Owned(match self.filter(node, all.as_ref())? {
                Some(filtered) => filtered,
                None => self.set(node)?.and(all.as_ref()),
            });
        }
        Ok(all)
    }

    /// Conditions on one facet together, where no document has more than one value: that one must
    /// satisfy them all. And those that stay as they are.
    fn joined<'n>(&self, nodes: &'n [Node<'n>]) -> (Vec<Node<'n>>, Vec<&'n Node<'n>>) {
        let mut by_facet: Vec<(Facet, Vec<&'n Node<'n>>)> = Vec::new();
        let mut others = Vec::new();
        for node in nodes {
            match self.only_way(node) {
                node @ Node::Keys { facet, .. } if self.part.is_single(*facet) => {
                    match by_facet.iter_mut().find(|(of, _)| of == facet) {
                        Some((_, same)) => same.push(node),
                        None => by_facet.push((*facet, vec![node])),
                    }
                }
                node => others.push(node),
            }
        }
        let mut joined = Vec::new();
        for (facet, same) in by_facet {
            match *same {
                [only] => others.push(only),
                _ => joined.push(join(facet, &same)),
            }
        }
        (joined, others)
    }

    /// The one way in which a condition can be met by documents of this part, where there is one
    /// alone: a quantity by its base unit, where all of its code are known in that.
    fn only_way<'n>(&self, node: &'n Node<'n>) -> &'n Node<'n> {
        let Node::Any(ways) = node else { return node };
        let mut possible = ways.iter().filter(|way| !self.is_impossible(way));
        match (possible.next(), possible.next()) {
            (Some(only), None) => self.only_way(only),
            _ => node,
        }
    }

    /// Whether it is known without a look at a key that no document of this part satisfies it.
    fn is_impossible(&self, node: &Node<'_>) -> bool {
        match node {
            Node::Nothing => true,
            Node::Unconverted { facet, unit, .. } => {
                self.part.unconverted(*facet).is_some_and(|units| !units.contains(&**unit))
            }
            Node::Any(ways) => ways.iter().all(|way| self.is_impossible(way)),
            _ => false,
        }
    }

    /// Those of the candidates that satisfy the node, where asking each is cheaper than finding
    /// all that do.
    fn filter(
        &self,
        node: &Node<'_>,
        candidates: &RoaringBitmap,
    ) -> Result<Option<RoaringBitmap>, SearchError> {
        if let Node::Any(nodes) = node {
            let mut any = RoaringBitmap::new();
            for node in nodes {
                any |= match self.filter(node, candidates)? {
                    Some(filtered) => filtered,
                    None => self.set(node)?.and(candidates),
                };
            }
            return Ok(Some(any));
        }
        if let Node::Not(node) = node {
            return Ok(Some(match self.filter(node, candidates)? {
                Some(filtered) => candidates - filtered,
                None => candidates - self.set(node)?.as_ref(),
            }));
        }
        if let Node::Unconverted { facet, unit, node } = node {
            return match self.part.unconverted(*facet) {
                Some(units) if !units.contains(&**unit) => Ok(Some(RoaringBitmap::new())),
                _ => self.filter(node, candidates),
            };
        }
        let cost = |facet, ranges: &[KeyRange], are_sure: bool| -> u64 {
            let costs = ranges.iter().map(|range| {
                let (low, high) = (&*range.low, range.high.as_deref());
                let documents = self.part.count_documents(facet, low, high);
                if are_sure || range.is_sure {
                    return documents / DOCUMENTS_PER_KEY;
                }
                self.part.count_keys(facet, low, high) as u64 + documents / DOCUMENTS_PER_KEY
            });
            costs.sum()
        };
        let is_dear = |cost: u64| candidates.len() * KEYS_PER_CANDIDATE < cost;
        let holds: Check<'_> = match node {
            Node::Keys { facet, ranges, check }
                if is_dear(cost(*facet, ranges, check.is_none())) =>
            {
                Box::new(move |key| {
                    let Some(within) = ranges.iter().find(|range| range.has(key)) else {
                        return Ok(false);
                    };
                    check.as_ref().filter(|_| !within.is_sure).map_or(Ok(true), |check| check(key))
                })
            }
            Node::Targets { facet, ordinals }
                if is_dear(ordinals.len().min(cost(*facet, &[KeyRange::all()], false))) =>
            {
                Box::new(move |key| {
                    Ok(local_ordinal(key).is_some_and(|ordinal| ordinals.contains(ordinal.0)))
                })
            }
            _ => return Ok(None),
        };
        let (Node::Keys { facet, .. } | Node::Targets { facet, .. }) = node else {
            return Ok(None);
        };
        let by_document = self.part.by_document(*facet);
        let mut filtered = Vec::new();
        for doc in candidates {
            self.meter.charge(1)?;
            for key in by_document.of(doc) {
                if holds(key)? {
                    filtered.push(doc);
                    break;
                }
            }
        }
        Ok(Some(RoaringBitmap::from_sorted_iter(filtered).unwrap_or_default()))
    }
}

/// Sets the bits of a range.
fn mark(bits: &mut [u8], range: std::ops::Range<u32>) {
    let (mut next, end) = (range.start, range.end);
    while next < end {
        if next.is_multiple_of(8) && end - next >= 8 {
            let whole = (end - next) / 8;
            bits[next as usize / 8..][..whole as usize].fill(u8::MAX);
            next += whole * 8;
        } else {
            bits[next as usize / 8] |= 1 << (next % 8);
            next += 1;
        }
    }
}

/// One condition of several on the same facet, of which each value is to satisfy all.
fn join<'n>(facet: Facet, nodes: &[&'n Node<'n>]) -> Node<'n> {
    let (mut ranges, mut checks): (_, Vec<&'n Check<'n>>) =
        (vec![KeyRange::all().sure()], Vec::new());
    for node in nodes {
        let Node::Keys { ranges: own, check, .. } = node else { continue };
        let is_sure = check.is_none();
        let own =
            own.iter().map(|range| KeyRange { is_sure: is_sure || range.is_sure, ..range.clone() });
        let own: Vec<KeyRange> = own.collect();
        ranges =
            ranges.iter().flat_map(|one| own.iter().filter_map(|other| one.and(other))).collect();
        checks.extend(check);
    }
    let check: Check<'n> = Box::new(move |key| {
        for check in &checks {
            if !check(key)? {
                return Ok(false);
            }
        }
        Ok(true)
    });
    Node::Keys { facet, ranges, check: Some(check) }
}
