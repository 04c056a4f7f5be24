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
    canonical_key, canonical_ranges, quantity_key, read_canonical, read_quantity,
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
}

impl KeyRange {
    /// Every key.
    pub(crate) fn all() -> Self {
        Self { low: Vec::new(), high: None }
    }

    /// The keys that begin with `prefix`.
    pub(crate) fn prefix(prefix: Vec<u8>) -> Self {
        let high = crate::part::after_prefix(&prefix);
        Self { low: prefix, high }
    }
}
