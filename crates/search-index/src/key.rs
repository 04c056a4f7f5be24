//! Values as keys: bytes whose order puts what one test finds next to each other, and from which
//! the value can be read again, so that a test can be asked whether it holds of it.

mod composite;
mod date;
mod number;
mod quantity;
mod reference;
mod text;
mod token;
mod write;

pub(crate) use composite::{composite_keys, read_composite, value_prefix};
pub(crate) use date::{date_key, date_ranges, read_date};
pub(crate) use number::{number_key, number_ranges, read_number};
pub(crate) use quantity::{
    canonical_key, canonical_ranges, quantity_key, read_canonical, read_quantity, unconverted_unit,
    unit_key,
};
pub(crate) use reference::{
    ReferenceKey, canonical_prefix, canonicals, local_key, local_ordinal, nowhere_key,
    read_reference_key, url_key,
};
pub(crate) use text::{
    LONGEST_WORDS, folded_key, read_string, string_key, string_prefix, word_keys,
};
pub(crate) use token::{code_prefix, read_token, read_typed, token_key, typed_key};
pub(crate) use write::{Reader, Writer};

/// Keys from one on, and below another if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) low: Vec<u8>,
    pub(crate) high: Option<Vec<u8>>,
    /// Whether the condition holds of every value there, so that none of them need be asked.
    pub(crate) is_sure: bool,
}

impl KeyRange {
    /// Every key.
    pub(crate) fn all() -> Self {
        Self::between(Vec::new(), None)
    }

    /// The keys that begin with `prefix`.
    pub(crate) fn prefix(prefix: Vec<u8>) -> Self {
        let high = crate::part::after_prefix(&prefix);
        Self::between(prefix, high)
    }

    /// The keys from one on, and below another if there is one.
    pub(crate) fn between(low: Vec<u8>, high: Option<Vec<u8>>) -> Self {
        Self { low, high, is_sure: false }
    }

    /// The same keys, of which the condition holds.
    pub(crate) fn sure(self) -> Self {
        Self { is_sure: true, ..self }
    }

    /// The same keys, each of which is to be asked.
    pub(crate) fn unsure(self) -> Self {
        Self { is_sure: false, ..self }
    }

    /// Whether a key is in it.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        *self.low <= *key && self.high.as_ref().is_none_or(|high| *key < **high)
    }

    /// The keys that are in both, of which both conditions hold where both are sure.
    pub(crate) fn and(&self, other: &Self) -> Option<Self> {
        let low = (&self.low).max(&other.low);
        let high = match (&self.high, &other.high) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.as_ref().or(other.as_ref()),
        };
        let is_sure = self.is_sure && other.is_sure;
        let has_some = high.is_none_or(|high| low < high);
        has_some.then(|| Self { low: low.clone(), high: high.cloned(), is_sure })
    }
}
