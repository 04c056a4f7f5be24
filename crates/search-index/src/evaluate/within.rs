//! Which of some documents satisfy a condition, for whoever may see these alone.
//!
//! Everything is asked of the documents that may be seen: of each, or by going through keys where
//! that is soon done. What it costs is told from how many of them are asked, in an order that the
//! query says, so that it depends on nothing else: on no key, no list of documents and no part of
//! the index that others have written.

use roaring::RoaringBitmap;

use super::{Evaluation, Node, join};
use crate::SearchError;
use crate::facet::Facet;
use crate::postings::Set;

impl Evaluation<'_> {
    /// Those of the candidates that satisfy the node.
    pub(crate) fn within<'c>(
        &self,
        node: &Node<'_>,
        candidates: &'c RoaringBitmap,
    ) -> Result<Set<'c>, SearchError> {
        self.meter.look()?;
        Ok(match node {
            Node::Everything => Set::Borrowed(candidates),
            Node::Nothing => Set::Owned(RoaringBitmap::new()),
            Node::All(nodes) => self.all_within(nodes, candidates)?,
            Node::Any(nodes) => match &**nodes {
                [one] => self.within(one, candidates)?,
                nodes => {
                    let mut any = RoaringBitmap::new();
                    for node in nodes {
                        any |= self.within(node, candidates)?.as_ref();
                    }
                    Set::Owned(any)
                }
            },
            Node::Not(node) => Set::Owned(candidates - self.within(node, candidates)?.as_ref()),
            node => {
                self.count(&[node], candidates)?;
                Set::Owned(self.leaf(node, candidates)?)
            }
        })
    }

    /// Counts what it costs to ask conditions of candidates.
    fn count(&self, nodes: &[&Node<'_>], candidates: &RoaringBitmap) -> Result<(), SearchError> {
        let asks_each = nodes.iter().any(|node| node.asks_every_value());
        match asks_each {
            true => self.meter.count(candidates.len()),
            false => self.meter.count_set(candidates.len()),
        }
    }

    /// Those of the candidates that satisfy a node that is one of values, or several ways to that.
    fn leaf(
        &self,
        node: &Node<'_>,
        candidates: &RoaringBitmap,
    ) -> Result<RoaringBitmap, SearchError> {
        if candidates.is_empty() {
            return Ok(RoaringBitmap::new());
        }
        if let Node::Any(ways) = node {
            let mut any = RoaringBitmap::new();
            for way in ways {
                any |= self.leaf(way, candidates)?;
            }
            return Ok(any);
        }
        if let Some(found) = self.by_keys(node, candidates)? {
            return Ok(found);
        }
        Ok(match self.filter(node, candidates)? {
            Some(filtered) => filtered,
            None => self.set(node)?.and(candidates),
        })
    }

    /// Those of the candidates that have one of a few keys, however long the lists of these are.
    fn by_keys(
        &self,
        node: &Node<'_>,
        candidates: &RoaringBitmap,
    ) -> Result<Option<RoaringBitmap>, SearchError> {
        let Node::Keys { facet, ranges, check } = node else { return Ok(None) };
        let counts = ranges
            .iter()
            .map(|range| self.part.count_keys(*facet, &range.low, range.high.as_deref()) as u64);
        if counts.sum::<u64>() > FEW_KEYS {
            return Ok(None);
        }
        let mut found = RoaringBitmap::new();
        for range in ranges {
            for (key, postings) in self.part.range(*facet, &range.low, range.high.as_deref()) {
                self.meter.charge(1)?;
                let holds = match check.as_ref().filter(|_| !range.is_sure) {
                    Some(check) => check(key)?,
                    None => true,
                };
                if holds {
                    found |= postings.and(candidates);
                }
            }
        }
        Ok(Some(found))
    }

    fn all_within<'c>(
        &self,
        nodes: &[Node<'_>],
        candidates: &'c RoaringBitmap,
    ) -> Result<Set<'c>, SearchError> {
        let mut groups = groups(nodes);
        groups.sort_by_key(|(_, nodes)| nodes.iter().map(|node| node.cost()).min());
        let mut all = Set::Borrowed(candidates);
        for (facet, nodes) in groups {
            if all.as_ref().is_empty() {
                break;
            }
            if let (Some(_), true) = (facet, nodes.len() > 1) {
                self.count(&nodes, all.as_ref())?;
                all = Set::Owned(self.together(&nodes, all.as_ref())?);
                continue;
            }
            for node in nodes {
                let left = match self.within(node, all.as_ref())? {
                    Set::Borrowed(_) => None,
                    Set::Owned(left) => Some(left),
                };
                all = left.map_or(all, Set::Owned);
            }
        }
        Ok(all)
    }

    /// Those of the candidates that satisfy several conditions on the values of one parameter.
    fn together(
        &self,
        nodes: &[&Node<'_>],
        candidates: &RoaringBitmap,
    ) -> Result<RoaringBitmap, SearchError> {
        let ways: Vec<&Node<'_>> = nodes.iter().map(|node| self.possible_way(node)).collect();
        if let Some(Node::Keys { facet, .. }) = ways.first() {
            let are_same =
                |way: &&Node<'_>| matches!(way, Node::Keys { facet: of, .. } if of == facet);
            // No document has two values: that one is to satisfy them all.
            if self.part.is_single(*facet) && ways.iter().all(are_same) {
                return self.leaf(&join(*facet, &ways), candidates);
            }
        }
        let mut left = candidates.clone();
        for way in ways {
            left = self.leaf(way, &left)?;
        }
        Ok(left)
    }

    /// The one way to a condition that documents of this part may go, where there is one alone.
    fn possible_way<'n>(&self, node: &'n Node<'n>) -> &'n Node<'n> {
        let Node::Any(ways) = node else { return node };
        let is_possible = |way: &&Node<'_>| match way {
            Node::Unconverted { facet, unit, .. } => {
                self.part.unconverted(*facet).is_none_or(|units| units.contains(&**unit))
            }
            _ => true,
        };
        let mut possible = ways.iter().filter(is_possible);
        match (possible.next(), possible.next()) {
            (Some(only), None) => only,
            _ => node,
        }
    }
}

/// So few keys are looked at one after the other: each takes its documents from among the
/// candidates, however many others it has.
const FEW_KEYS: u64 = 16;

/// Conditions on the values of one parameter together, each other one by itself.
fn groups<'n>(nodes: &'n [Node<'n>]) -> Vec<(Option<Facet>, Vec<&'n Node<'n>>)> {
    let mut groups: Vec<(Option<Facet>, Vec<&'n Node<'n>>)> = Vec::new();
    for node in nodes {
        let node = match node {
            Node::Any(ways) if ways.len() == 1 => &ways[0],
            node => node,
        };
        let facet = of_values(node);
        match groups.iter_mut().find(|(of, _)| facet.is_some() && *of == facet) {
            Some((_, same)) => same.push(node),
            None => groups.push((facet, vec![node])),
        }
    }
    groups
}

/// The last of the facets by which a condition on values looks, which others on the same values
/// have too.
fn of_values(node: &Node<'_>) -> Option<Facet> {
    match node {
        Node::Keys { facet, .. } => Some(*facet),
        Node::Any(ways) => {
            let is_of_values =
                |way: &Node<'_>| matches!(way, Node::Keys { .. } | Node::Unconverted { .. });
            ways.last().filter(|_| ways.iter().all(is_of_values)).and_then(of_values)
        }
        _ => None,
    }
}
