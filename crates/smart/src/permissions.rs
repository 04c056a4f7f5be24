//! What may be done: `cruds` of version 2, and the words of version 1 that stand for parts of it.

use std::fmt;

use contract::Action;

/// Some of create, read, update, delete and search.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Permissions(u8);

/// In the order in which version 2 wants them, with the actions that each is.
///
/// Reading is every version of a resource that one can name (SMART App Launch 2.2.0, section 3.0.2:
/// `r` has read, vread and the history of an instance); listing histories takes `s` as well, which
/// the contract asks for itself.
const LETTERS: [(char, &[Action]); 5] = [
    ('c', &[Action::Create]),
    ('r', &[Action::Read, Action::History]),
    ('u', &[Action::Update]),
    ('d', &[Action::Delete]),
    ('s', &[Action::Search]),
];

impl Permissions {
    /// `c`, `u`, `d`: version 1's `write`.
    pub(crate) const WRITE: Self = Self(0b0_1101);
    /// `r` and `s`: version 1's `read`.
    pub(crate) const READ: Self = Self(0b1_0010);
    /// All: version 1's `*`.
    pub(crate) const ALL: Self = Self(0b1_1111);

    /// Reads letters of version 2: at least one of `cruds`, in this order, each once.
    pub(crate) fn of_letters(text: &str) -> Option<Self> {
        let mut bits = 0;
        let mut from = 0;
        for letter in text.chars() {
            let at = LETTERS[from..].iter().position(|(known, _)| *known == letter)?;
            bits |= 1 << (from + at);
            from += at + 1;
        }
        (bits != 0).then_some(Self(bits))
    }

    /// What either holds.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What both hold, if anything.
    pub(crate) const fn common(self, other: Self) -> Option<Self> {
        match self.0 & other.0 {
            0 => None,
            bits => Some(Self(bits)),
        }
    }

    /// The contract's actions that these are.
    pub fn actions(self) -> impl Iterator<Item = Action> {
        let held = LETTERS.iter().enumerate().filter(move |(at, _)| self.0 & (1 << at) != 0);
        held.flat_map(|(_, (_, actions))| actions.iter().cloned())
    }
}

/// As version 2 writes them.
impl fmt::Display for Permissions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = LETTERS.iter().enumerate().filter(|(at, _)| self.0 & (1 << at) != 0);
        held.map(|(_, (letter, _))| *letter).try_for_each(|letter| write!(formatter, "{letter}"))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
