//! Where a resource stands among the matches (FHIR R4, 3.1.1.5.1).
//!
//! Of several values ascending order goes by the least and descending by the greatest: of a date
//! or a range by its start and its end. What has no value comes last either way. Ties go by the
//! place of the version in the log.

use std::ops::Bound;

use fhirpath::Decimal;

use super::IndexedResource;
use super::indexed::Indexed;
use crate::{
    Direction, IndexValue, NumberRange, Quantity, Query, ReferenceTarget, SortBy, SortKey,
    TokenFrom,
};

/// Bytes of a text that count, of whole characters alone. Texts that begin alike for so long are
/// the same.
const LONGEST_TEXT: usize = 256;

const PRESENT: u8 = 0;
const MISSING: u8 = 1;

/// Where a resource stands among the matches of a query: those that compare less come before it.
///
/// It holds values of the resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortPosition {
    /// What it is sorted by, so that bytes compare as the values do.
    keys: Vec<u8>,
    /// Its commit, and which of that commit's versions it is.
    place: (u64, u32),
    /// Which of the resources that it contains is meant, from 1; 0 for itself.
    within: u32,
}

/// The bytes are no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no position among matches")]
pub struct InvalidSortPosition;

/// Patients' data is not for logs.
impl std::fmt::Debug for SortPosition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SortPosition").finish_non_exhaustive()
    }
}

impl SortPosition {
    /// That of a resource which is of the type that stands at `of_type` among those of the query.
    /// Its version was written by the commit at `place.0`, after `place.1` others of that commit.
    #[must_use]
    pub fn new(
        query: &Query,
        of_type: usize,
        place: (u64, u32),
        resource: &IndexedResource,
    ) -> Self {
        let mut keys = Vec::new();
        for key in &query.sort {
            // How well a resource matches is not told apart.
            let SortBy::Parameter(parameters) = &key.by else { continue };
            let Some(parameter) = parameters.get(of_type) else { continue };
            let values = resource.indexed(parameter.id);
            match best(values.filter_map(|it| encoded(it, key.direction)), key.direction) {
                None => keys.push(MISSING),
                Some(value) => {
                    keys.push(PRESENT);
                    let ascending = key.direction == Direction::Ascending;
                    keys.extend(value.iter().map(|byte| if ascending { *byte } else { !byte }));
                }
            }
        }
        Self { keys, place, within: 0 }
    }

    /// The same of a resource that stands at `at` among those that the version contains.
    #[must_use]
    pub fn contained(self, at: usize) -> Self {
        Self { within: u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1), ..self }
    }

    /// The same as bytes, which [`SortPosition::from_bytes`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u16::try_from(self.keys.len()).unwrap_or(u16::MAX);
        let keys = &self.keys[..usize::from(length)];
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(keys);
        bytes.extend_from_slice(&self.place.0.to_be_bytes());
        bytes.extend_from_slice(&self.place.1.to_be_bytes());
        bytes.extend_from_slice(&self.within.to_be_bytes());
        bytes
    }

    /// Reads what [`SortPosition::to_bytes`] gave.
    ///
    /// # Errors
    /// When it did not give this.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidSortPosition> {
        let read = || {
            let (length, rest) = bytes.split_first_chunk()?;
            let (keys, place) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            let (t, of_commit) = place.split_first_chunk()?;
            let (of_commit, within) = of_commit.split_first_chunk()?;
            let place = (u64::from_be_bytes(*t), u32::from_be_bytes(*of_commit));
            let within = u32::from_be_bytes(within.try_into().ok()?);
            Some(Self { keys: keys.to_vec(), place, within })
        };
        read().ok_or(InvalidSortPosition)
    }
}

/// The value of a resource that a key of `_sort` goes by, for the type that stands at `of_type` in
/// the query; none when it has none that counts.
#[must_use]
pub fn sort_value<'r>(
    key: &SortKey,
    of_type: usize,
    resource: &'r IndexedResource,
) -> Option<&'r IndexValue<'static>> {
    let SortBy::Parameter(parameters) = &key.by else { return None };
    let values = resource.indexed(parameters.get(of_type)?.id);
    let values = values.filter_map(|it| Some((encoded(it, key.direction)?, &it.value)));
    let by_bytes = |one: &(Vec<u8>, _), other: &(Vec<u8>, _)| one.0.cmp(&other.0);
    let best = match key.direction {
        Direction::Ascending => values.min_by(by_bytes),
        Direction::Descending => values.max_by(by_bytes),
    };
    best.map(|(_, value)| value)
}

fn best(values: impl Iterator<Item = Vec<u8>>, direction: Direction) -> Option<Vec<u8>> {
    match direction {
        Direction::Ascending => values.min(),
        Direction::Descending => values.max(),
    }
}

/// A value as bytes that compare as values do, none of which begins another.
fn encoded(indexed: &Indexed, direction: Direction) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match &indexed.value {
        IndexValue::Number(range) => number(range, direction, &mut bytes),
        IndexValue::Date(range) => {
            let micros = match direction {
                Direction::Ascending => range.low(),
                Direction::Descending => range.high(),
            };
            bytes.extend_from_slice(&(micros.cast_unsigned() ^ (1 << 63)).to_be_bytes());
        }
        IndexValue::String(_) => text(indexed.folded.as_deref()?, &mut bytes),
        IndexValue::Token(token) => match (token.from, token.code.as_deref()?) {
            // Ids and URIs are other ones in another case.
            (TokenFrom::Uri, code) => text(code, &mut bytes),
            (_, code) => text(&code.to_lowercase(), &mut bytes),
        },
        IndexValue::Reference(reference) => match &reference.target {
            ReferenceTarget::Local { resource_type, id, .. } => {
                text(id, &mut bytes);
                text(resource_type, &mut bytes);
            }
            ReferenceTarget::Url(url) | ReferenceTarget::Canonical { url, .. } => {
                text(url, &mut bytes);
                text("", &mut bytes);
            }
            ReferenceTarget::Contained(_) | ReferenceTarget::Logical => return None,
        },
        IndexValue::Quantity(of) => quantity(of, direction, &mut bytes),
        IndexValue::Uri(uri) => text(uri, &mut bytes),
        IndexValue::Composite(_) | IndexValue::Position(_) => return None,
    }
    Some(bytes)
}

/// By unit and then number, converted where that is possible: different dimensions have no order.
fn quantity(quantity: &Quantity<'_>, direction: Direction, bytes: &mut Vec<u8>) {
    if let Some(canonical) = &quantity.canonical {
        text(&canonical.unit, bytes);
        return number(&canonical.range, direction, bytes);
    }
    let unit = quantity.code.as_deref().or(quantity.unit.as_deref());
    text(unit.unwrap_or_default(), bytes);
    number(&quantity.range, direction, bytes);
}

fn text(text: &str, bytes: &mut Vec<u8>) {
    for byte in text[..text.floor_char_boundary(LONGEST_TEXT)].bytes() {
        bytes.push(byte);
        if byte == 0 {
            bytes.push(0xff);
        }
    }
    bytes.extend_from_slice(&[0, 1]);
}

/// Where a range begins, or ends.
fn number(range: &NumberRange, direction: Direction, bytes: &mut Vec<u8>) {
    // Just before a number, that number, or just after it.
    const BEFORE: u8 = 0;
    const AT: u8 = 1;
    const AFTER: u8 = 2;
    let (bound, unbounded, excluded) = match direction {
        Direction::Ascending => (range.low(), BEFORE, AFTER),
        Direction::Descending => (range.high(), AFTER, BEFORE),
    };
    let (number, place) = match bound {
        Bound::Unbounded => return bytes.push(unbounded),
        Bound::Included(number) => (number, AT),
        Bound::Excluded(number) => (number, excluded),
    };
    bytes.push(AT);
    decimal(number, bytes);
    bytes.push(place);
}

/// Sign, then the power of ten, then the digits; of a negative number both turned around.
fn decimal(number: Decimal, bytes: &mut Vec<u8>) {
    const BIAS: i32 = 1 << 15;
    if number.is_zero() {
        return bytes.push(1);
    }
    let digits = number.digits().unsigned_abs().to_string();
    let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let power = length.saturating_sub(i32::try_from(number.places()).unwrap_or(i32::MAX));
    let mut magnitude = power.saturating_add(BIAS).cast_unsigned().to_be_bytes().to_vec();
    magnitude.extend_from_slice(digits.trim_end_matches('0').as_bytes());
    magnitude.push(0);
    if number.is_negative() {
        bytes.push(0);
        bytes.extend(magnitude.iter().map(|byte| !byte));
    } else {
        bytes.push(2);
        bytes.extend_from_slice(&magnitude);
    }
}

#[cfg(test)]
mod tests {
    use super::{SortPosition, decimal, text};
    use fhirpath::Decimal;
    use proptest::prelude::*;

    fn bytes(of: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        of(&mut bytes);
        bytes
    }

    fn number() -> impl Strategy<Value = Decimal> {
        let digits = prop_oneof![-1000_i128..1000, any::<i64>().prop_map(i128::from)];
        (digits, 0_u32..12)
            .prop_map(|(digits, places)| Decimal::from_parts(digits, places).unwrap())
    }

    proptest! {
        #[test]
        fn numbers_compare_as_their_bytes(one in number(), other in number()) {
            let [of_one, of_other] = [one, other].map(|it| bytes(|bytes| decimal(it, bytes)));
            prop_assert_eq!(of_one.cmp(&of_other), one.cmp(&other));
            prop_assert!(of_one == of_other || !of_one.starts_with(&of_other));
        }

        #[test]
        fn texts_compare_as_their_bytes(one in "[a\0b]{0,4}", other in "[a\0b]{0,4}") {
            let [of_one, of_other] = [&one, &other].map(|it| bytes(|bytes| text(it, bytes)));
            prop_assert_eq!(of_one.cmp(&of_other), one.cmp(&other));
            prop_assert!(of_one == of_other || !of_one.starts_with(&of_other));
        }

        #[test]
        fn any_bytes_are_a_position_or_an_error(bytes in any::<Vec<u8>>()) {
            if let Ok(position) = SortPosition::from_bytes(&bytes) {
                prop_assert_eq!(position.to_bytes(), bytes);
            }
        }
    }
}
