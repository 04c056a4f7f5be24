//! A tree of secrets from which 2^64 keys are derived and any of them can be destroyed: a
//! puncturable pseudorandom function after Goldreich, Goldwasser and Micali (1986), sixteen
//! children a node, sixteen levels.
//!
//! A child's secret is `SHA-256(toByte(3, 32) || secret || toByte(number, 32))`: the function PRF
//! of RFC 8391 (5.1). Whoever has a node's secret has all below it and nothing beside or above.

use std::collections::BTreeMap;

use ring::digest::{Context, SHA256};

/// Bytes of a secret and of a key.
pub const SECRET: usize = 32;

/// Levels below the root; a leaf's number has as many hexadecimal digits.
const LEVELS: u8 = 16;
const CHILDREN: u8 = 16;

type Secret = [u8; SECRET];

/// The secrets that are left. Prints none of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Tree {
    /// Disjoint subtrees, by the first leaf of each.
    nodes: BTreeMap<u64, Node>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Node {
    /// How far it is from the root.
    level: u8,
    secret: Secret,
}

impl Tree {
    /// A whole tree with this random secret as its root.
    #[must_use]
    pub fn of(root: [u8; SECRET]) -> Self {
        Self { nodes: BTreeMap::from([(0, Node { level: 0, secret: root })]) }
    }

    /// The key of a leaf; `None` when it was destroyed.
    #[must_use]
    pub fn key(&self, leaf: u64) -> Option<[u8; SECRET]> {
        let (_, node) = self.covering(leaf)?;
        let mut secret = node.secret;
        for level in node.level..LEVELS {
            secret = child(&secret, digit(leaf, level));
        }
        Some(secret)
    }

    /// Destroys the key of a leaf, and no other. Says whether it was there.
    pub fn destroy(&mut self, leaf: u64) -> bool {
        let Some((first, node)) = self.covering(leaf) else {
            return false;
        };
        self.nodes.remove(&first);
        let mut secret = node.secret;
        for level in node.level..LEVELS {
            let own = digit(leaf, level);
            for number in (0..CHILDREN).filter(|number| *number != own) {
                let node = Node { level: level + 1, secret: child(&secret, number) };
                self.nodes.insert(first_leaf(leaf, level, number), node);
            }
            secret = child(&secret, own);
        }
        true
    }

    /// Appends the tree: number of nodes (4 bytes, little-endian), then for each its first leaf
    /// (8), level (1) and secret (32).
    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        let nodes = u32::try_from(self.nodes.len()).expect("240 for each key that was destroyed");
        into.extend_from_slice(&nodes.to_le_bytes());
        for (first, node) in &self.nodes {
            into.extend_from_slice(&first.to_le_bytes());
            into.push(node.level);
            into.extend_from_slice(&node.secret);
        }
    }

    /// The tree of these bytes; `None` when they are not one's.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (count, mut rest) = bytes.split_first_chunk()?;
        let (mut nodes, mut free_from) = (BTreeMap::new(), Some(0));
        for _ in 0..u32::from_le_bytes(*count) {
            let (first, after) = rest.split_first_chunk()?;
            let (&level, after) = after.split_first()?;
            let (secret, after) = after.split_first_chunk()?;
            let first = u64::from_le_bytes(*first);
            let last = last_leaf(first, level)?;
            // In order, and none twice: else two secrets would be a leaf's.
            if free_from.is_none_or(|free| first < free) {
                return None;
            }
            free_from = last.checked_add(1);
            nodes.insert(first, Node { level, secret: *secret });
            rest = after;
        }
        rest.is_empty().then_some(Self { nodes })
    }

    fn covering(&self, leaf: u64) -> Option<(u64, Node)> {
        let (&first, &node) = self.nodes.range(..=leaf).next_back()?;
        last_leaf(first, node.level).filter(|last| leaf <= *last).map(|_| (first, node))
    }
}

/// PRF of RFC 8391 (5.1) with n = 32.
fn child(secret: &Secret, number: u8) -> Secret {
    let mut input = [0; 3 * SECRET];
    input[SECRET - 1] = 3;
    input[SECRET..2 * SECRET].copy_from_slice(secret);
    input[3 * SECRET - 1] = number;
    let mut context = Context::new(&SHA256);
    context.update(&input);
    let mut out = [0; SECRET];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// The digit of `leaf` that says which child of a node on `level` it is under.
fn digit(leaf: u64, level: u8) -> u8 {
    ((leaf >> shift(level)) & 0xf) as u8
}

fn shift(level: u8) -> u32 {
    60 - 4 * u32::from(level)
}

/// The first leaf under child `number` of the node on `level` that `leaf` is under.
fn first_leaf(leaf: u64, level: u8, number: u8) -> u64 {
    let above = if level == 0 { 0 } else { leaf >> (shift(level) + 4) << (shift(level) + 4) };
    above | u64::from(number) << shift(level)
}

/// The last leaf of the node on `level` whose first one is `first`; `None` when there is no such.
fn last_leaf(first: u64, level: u8) -> Option<u64> {
    let below = match level {
        0 => u64::MAX,
        1..=LEVELS => (1_u64 << (4 * u32::from(LEVELS - level))) - 1,
        _ => return None,
    };
    (first & below == 0).then_some(first | below)
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Tree({} nodes)", self.nodes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_child_is_the_published_function_of_its_parent() {
        let mut input = vec![0; 31];
        input.push(3);
        input.extend([7; 32]);
        input.extend([0; 31]);
        input.push(9);
        let expected = ring::digest::digest(&SHA256, &input);
        assert_eq!(child(&[7; 32], 9), expected.as_ref());
    }

    #[test]
    fn what_is_left_holds_no_secret_on_the_way_to_a_destroyed_key() {
        let leaf = 0x0123_4567_89ab_cdef;
        let mut tree = Tree::of([5; 32]);
        let mut way = vec![[5; 32]];
        for level in 0..LEVELS {
            way.push(child(&way[way.len() - 1], digit(leaf, level)));
        }
        assert_eq!(tree.key(leaf), way.last().copied());
        assert!(tree.destroy(leaf) && !tree.destroy(leaf));
        assert_eq!(tree.nodes.len(), 240);
        let mut bytes = Vec::new();
        tree.encode(&mut bytes);
        assert!(way.iter().all(|secret| !bytes.windows(32).any(|window| window == secret)));
    }

    proptest! {
        #[test]
        fn destroyed_keys_are_gone_and_all_others_are_as_they_were(
            leaves in prop::collection::vec((any::<u64>(), 0..64_u32), 1..12),
            others in prop::collection::vec(any::<u64>(), 1..12),
        ) {
            // Some lie close together, so that their ways have much in common.
            let leaves: Vec<u64> = leaves.iter().map(|(leaf, by)| leaf >> by).collect();
            let whole = Tree::of([9; 32]);
            let mut tree = whole.clone();
            for leaf in &leaves {
                tree.destroy(*leaf);
            }
            let near = leaves.iter().flat_map(|leaf| [leaf ^ 1, leaf ^ 16, leaf ^ (1 << 63)]);
            for leaf in others.iter().copied().chain(near) {
                let expected = if leaves.contains(&leaf) { None } else { whole.key(leaf) };
                prop_assert_eq!(tree.key(leaf), expected);
            }
            prop_assert!(leaves.iter().all(|leaf| tree.key(*leaf).is_none()));
            let mut bytes = Vec::new();
            tree.encode(&mut bytes);
            prop_assert_eq!(Tree::decode(&bytes), Some(tree));
        }

        #[test]
        fn any_bytes_are_a_tree_or_none(count in 0..4_u32, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut all = count.to_le_bytes().to_vec();
            all.extend(bytes);
            if let Some(tree) = Tree::decode(&all) {
                let mut again = Vec::new();
                tree.encode(&mut again);
                prop_assert_eq!(again, all);
            }
        }
    }
}
