//! Under what a document is found: one view of the values of one search parameter, or of what
//! every document has.

use std::hash::{BuildHasherDefault, Hasher};

/// A sorted list of keys, each with the documents that have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Facet(u32);

/// For maps by facet, whose numbers nobody outside chooses.
pub(crate) type FacetHash = BuildHasherDefault<Multiply>;

/// Spreads small numbers.
#[derive(Debug, Default)]
pub(crate) struct Multiply(u64);

impl Hasher for Multiply {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        // The upper bits are the well mixed ones, and maps look at both ends.
        self.0 ^ (self.0 >> 32)
    }
}

/// For maps by what is a hash already.
pub(crate) type AsItIs = BuildHasherDefault<Itself>;

/// Gives back the one number it is given.
#[derive(Debug, Default)]
pub(crate) struct Itself(u64);

impl Hasher for Itself {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What of a parameter's values the keys of a facet say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// Nothing: its one, empty key has every document with a value, for `:missing`.
    Present = 0,
    /// The value.
    Value = 1,
    /// What is left of a name from the start of each of its words but the first.
    Words = 2,
    /// What `:text` searches.
    Text = 3,
    /// Reference.identifier.
    Identifier = 4,
    /// A quantity in base units.
    Canonical = 5,
    /// The system of a token.
    System = 6,
    /// An identifier with its type, for `:of-type`.
    Typed = 7,
}

/// The number of a parameter (by type and code) within one index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Number(pub(crate) u32);

impl Number {
    /// One that no parameter is given and nothing is indexed under, for a parameter that no
    /// resource has been indexed for: mostly another one for each.
    pub(crate) fn of_nothing(resource_type: &str, code: &str) -> Self {
        let bytes = resource_type.bytes().chain([0]).chain(code.bytes());
        let mixed = bytes
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Self((1 << 27) | (mixed >> 5))
    }
}

const VIEW_BITS: u32 = 4;
/// Numbers below are for what is no parameter.
pub(crate) const FIRST_NUMBER: u32 = 16;

impl Facet {
    /// The type of what is no contained resource.
    pub(crate) const TYPE: Self = Self(0);
    /// The compartments that it is in: ordinals of their resources.
    pub(crate) const COMPARTMENT: Self = Self(1 << VIEW_BITS);
    /// The type of what is contained in another.
    pub(crate) const CONTAINED: Self = Self(2 << VIEW_BITS);
    /// Ids, by which hits can be sorted; it has no keys.
    pub(crate) const ID: Self = Self(3 << VIEW_BITS);

    /// Its number, for what is kept.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// The facet with a number.
    pub(crate) fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// A view of a parameter.
    pub(crate) fn of(number: Number, view: View) -> Self {
        Self((number.0 << VIEW_BITS) | view as u32)
    }
}
