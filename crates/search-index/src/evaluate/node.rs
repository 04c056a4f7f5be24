//! A condition as one part of the index can evaluate it by itself: nothing in it asks for another
//! resource any more.

use fhir_core::Instant;
use roaring::RoaringBitmap;

use super::resolve::FEW;
use crate::SearchError;
use crate::facet::Facet;
use crate::key::KeyRange;

/// Whether a value that a key has satisfies the condition.
pub(crate) type Check<'q> = Box<dyn Fn(&[u8]) -> Result<bool, SearchError> + 'q>;

/// A condition.
pub(crate) enum Node<'q> {
    /// Every document.
    Everything,
    /// No document.
    Nothing,
    /// It has this key.
    Key { facet: Facet, key: Vec<u8> },
    /// It has a key in one of the ranges of which the check holds.
    Keys { facet: Facet, ranges: Vec<KeyRange>, check: Option<Check<'q>> },
    /// The node holds; which it does of nothing where no quantity of this code is unknown in base
    /// units.
    Unconverted { facet: Facet, unit: Vec<u8>, node: Box<Node<'q>> },
    /// It refers to one of these resources.
    Targets { facet: Facet, ordinals: RoaringBitmap },
    /// It is of one of these resources.
    Own(RoaringBitmap),
    /// It was written from one instant up to another, in one of these ranges.
    Times(Vec<(Instant, Option<Instant>)>),
    /// All hold.
    All(Vec<Node<'q>>),
    /// One holds.
    Any(Vec<Node<'q>>),
    /// It does not hold.
    Not(Box<Node<'q>>),
}

impl Node<'_> {
    /// What it costs to find all that satisfy it, as compared with others: an order, no measure.
    pub(crate) fn cost(&self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Own(ordinals) if ordinals.len() < FEW => 1,
            Self::Key { .. } => 2,
            Self::Targets { ordinals, .. } if ordinals.len() < FEW => 2,
            Self::Times(_) | Self::Everything => 3,
            Self::Keys { check: None, .. } => 4,
            Self::All(nodes) => nodes.iter().map(Node::cost).min().unwrap_or(3),
            Self::Any(nodes) => nodes.iter().map(Node::cost).max().unwrap_or(0),
            // Keys that begin alike are few, most often.
            Self::Keys { ranges, .. } if ranges.len() == 1 && !ranges[0].low.is_empty() => 4,
            Self::Keys { ranges, .. } if ranges.len() == 2 => 5,
            Self::Keys { .. } | Self::Own(_) => 6,
            Self::Targets { .. } | Self::Not(_) => 7,
            Self::Unconverted { node, .. } => node.cost(),
        }
    }

    /// Whether some of it is told from all documents that there are.
    pub(crate) fn has_complement(&self) -> bool {
        match self {
            Self::Everything | Self::Not(_) => true,
            Self::All(nodes) => nodes.is_empty() || nodes.iter().any(Self::has_complement),
            Self::Any(nodes) => nodes.iter().any(Self::has_complement),
            _ => false,
        }
    }

    /// Whether each value that there is must be asked to find what satisfies it.
    pub(crate) fn asks_every_value(&self) -> bool {
        match self {
            Self::Keys { ranges, check: Some(_), .. } => {
                ranges.iter().any(|range| range.low.is_empty() && range.high.is_none())
            }
            Self::Unconverted { node, .. } => node.asks_every_value(),
            Self::Any(ways) => ways.iter().any(Self::asks_every_value),
            _ => false,
        }
    }
}
