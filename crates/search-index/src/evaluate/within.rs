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

    /// Those of the candidates that satisfy a node that has no others in it.
    fn leaf(
        &self,
        node: &Node<'_>,
        candidates: &RoaringBitmap,
    ) -> Result<RoaringBitmap, SearchError> {
        if candidates.is_empty() {
            return Ok(RoaringBitmap::new());
        }
        Ok(match self.filter(node, candidates)? {
            Some(filtered) => filtered,
            None => self.set(node)?.and(candidates),
        })
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
            let [only] = *nodes else {
                self.count(&nodes, all.as_ref())?;
                all = Set::Owned(match facet {
                    // No document has two values: that one is to satisfy them all.
                    Some(facet) if self.part.is_single(facet) => {
                        self.leaf(&join(facet, &nodes), all.as_ref())?
                    }
                    _ => {
                        let mut left = all.into_owned();
                        for node in nodes {
                            left = self.leaf(node, &left)?;
                        }
                        left
                    }
                });
                continue;
            };
            all = match self.within(only, all.as_ref())? {
                Set::Borrowed(_) => all,
                Set::Owned(left) => Set::Owned(left),
            };
        }
        Ok(all)
    }
}

/// Conditions on values of one facet together, each other one by itself.
fn groups<'n>(nodes: &'n [Node<'n>]) -> Vec<(Option<Facet>, Vec<&'n Node<'n>>)> {
    let mut groups: Vec<(Option<Facet>, Vec<&'n Node<'n>>)> = Vec::new();
    for node in nodes {
        let node = match node {
            Node::Any(ways) if ways.len() == 1 => &ways[0],
            node => node,
        };
        let facet = match node {
            Node::Keys { facet, .. } => Some(*facet),
            _ => None,
        };
        match groups.iter_mut().find(|(of, _)| facet.is_some() && *of == facet) {
            Some((_, same)) => same.push(node),
            None => groups.push((facet, vec![node])),
        }
    }
    groups
}
