//! The parts of keys: how they are written so that bytes sort as values do, and read again.

use std::borrow::Cow;
use std::ops::Bound;

use fhir_search::{Decimal, NumberRange};

/// Writes a key.
#[derive(Debug)]
pub(crate) struct Writer(Vec<u8>);

/// Most keys are no longer than so many bytes.
const MOSTLY: usize = 64;

impl Default for Writer {
    fn default() -> Self {
        Self(Vec::with_capacity(MOSTLY))
    }
}

/// What stands behind a text; a zero within it is followed by [`ZERO`].
const END: u8 = 1;
const ZERO: u8 = 0xff;

const UNBOUNDED: u8 = 0;
const INCLUDED: u8 = 1;
const EXCLUDED: u8 = 2;

impl Writer {
    pub(crate) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A text without its end, for a prefix.
    pub(crate) fn open_text(mut self, text: &str) -> Self {
        if !text.as_bytes().contains(&0) {
            return self.bytes(text.as_bytes());
        }
        for byte in text.bytes() {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(ZERO);
            }
        }
        self
    }

    /// A text: shorter ones come before those that they begin.
    pub(crate) fn text(self, text: &str) -> Self {
        self.open_text(text).bytes(&[0, END])
    }

    /// A text or none, which comes first.
    pub(crate) fn optional(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.byte(1).text(text),
            None => self.byte(0),
        }
    }

    /// A whole number.
    pub(crate) fn integer(self, number: i64) -> Self {
        self.bytes(&(number.cast_unsigned() ^ (1 << 63)).to_be_bytes())
    }

    /// A floating point number.
    pub(crate) fn float(self, number: f64) -> Self {
        let bits = (number + 0.0).to_bits();
        let ordered = if bits >> 63 == 1 { !bits } else { bits | (1 << 63) };
        self.bytes(&ordered.to_be_bytes())
    }

    /// A decimal to the digit, in no useful order.
    pub(crate) fn decimal(self, decimal: Decimal) -> Self {
        let digits = decimal.digits().to_be_bytes();
        let filler = if decimal.is_negative() { 0xff } else { 0 };
        // Of the leading bytes that only repeat the sign none is needed, if what follows says it.
        let is_filler = |pair: &[u8]| pair[0] == filler && (pair[1] ^ filler) < 0x80;
        let skipped = digits.windows(2).take_while(|pair| is_filler(pair)).count();
        let digits = &digits[skipped..];
        let places = u8::try_from(decimal.places()).unwrap_or(u8::MAX);
        let length = u8::try_from(digits.len()).unwrap_or(16);
        self.byte(places).byte(length).bytes(digits)
    }

    fn bound(self, bound: Bound<Decimal>) -> Self {
        match bound {
            Bound::Unbounded => self.byte(UNBOUNDED),
            Bound::Included(number) => self.byte(INCLUDED).decimal(number),
            Bound::Excluded(number) => self.byte(EXCLUDED).decimal(number),
        }
    }

    /// Both ends of a range of numbers, in no useful order.
    pub(crate) fn ends(self, range: &NumberRange) -> Self {
        self.bound(range.low()).bound(range.high())
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a key that [`Writer`] wrote. `None` of a method says that it is not there, which no key
/// of ours gives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'k>(&'k [u8]);

impl<'k> Reader<'k> {
    pub(crate) fn new(key: &'k [u8]) -> Self {
        Self(key)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'k [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn text(&mut self) -> Option<Cow<'k, str>> {
        let zero = self.0.iter().position(|byte| *byte == 0)?;
        if self.0.get(zero + 1) == Some(&END) {
            let text = std::str::from_utf8(&self.0[..zero]).ok()?;
            self.0 = &self.0[zero + 2..];
            return Some(Cow::Borrowed(text));
        }
        let mut text = Vec::new();
        loop {
            match (self.byte()?, self.0.first()) {
                (0, Some(&END)) => break,
                (0, _) => text.push(0),
                (byte, _) => {
                    text.push(byte);
                    continue;
                }
            }
            self.byte()?;
        }
        self.byte()?;
        String::from_utf8(text).ok().map(Cow::Owned)
    }

    pub(crate) fn optional(&mut self) -> Option<Option<Cow<'k, str>>> {
        match self.byte()? {
            0 => Some(None),
            _ => self.text().map(Some),
        }
    }

    pub(crate) fn integer(&mut self) -> Option<i64> {
        let bytes = self.bytes(8)?.try_into().ok()?;
        Some((u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed())
    }

    pub(crate) fn decimal(&mut self) -> Option<Decimal> {
        let (places, length) = (self.byte()?, self.byte()?);
        let digits = self.bytes(usize::from(length))?;
        let negative = digits.first().is_some_and(|byte| *byte >= 0x80);
        let mut whole = [if negative { 0xff } else { 0 }; 16];
        whole.get_mut(16_usize.checked_sub(digits.len())?..)?.copy_from_slice(digits);
        Decimal::from_parts(i128::from_be_bytes(whole), u32::from(places))
    }

    fn bound(&mut self) -> Option<Bound<Decimal>> {
        Some(match self.byte()? {
            UNBOUNDED => Bound::Unbounded,
            INCLUDED => Bound::Included(self.decimal()?),
            _ => Bound::Excluded(self.decimal()?),
        })
    }

    pub(crate) fn ends(&mut self) -> Option<NumberRange> {
        let (low, high) = (self.bound()?, self.bound()?);
        NumberRange::between(low, high)
    }

    /// What is not read yet.
    pub(crate) fn rest(&self) -> &'k [u8] {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{Reader, Writer};
    use fhir_search::Decimal;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn texts_come_back_and_sort_as_they_do(one in "\\PC{0,4}|[\\x00a]{0,4}", other in "\\PC{0,4}|[\\x00a]{0,4}") {
            let key = |text: &str| Writer::default().text(text).byte(7).finish();
            let key_of_one = key(&one);
            let mut reader = Reader::new(&key_of_one);
            let read = reader.text();
            prop_assert_eq!(read.as_deref(), Some(&*one));
            prop_assert_eq!(reader.byte(), Some(7));
            if !one.contains('\0') && !other.contains('\0') {
                prop_assert_eq!(key(&one).cmp(&key(&other)), one.cmp(&other));
            }
        }

        #[test]
        fn numbers_come_back_and_sort_as_they_do(one: i64, other: i64, places in 0_u32..20) {
            let key = |number| Writer::default().integer(number).finish();
            prop_assert_eq!(Reader::new(&key(one)).integer(), Some(one));
            prop_assert_eq!(key(one).cmp(&key(other)), one.cmp(&other));
            let decimal = Decimal::from_parts(i128::from(one) * i128::from(other), places).unwrap();
            let written = Writer::default().decimal(decimal).finish();
            let read = Reader::new(&written).decimal().unwrap();
            prop_assert_eq!((read.digits(), read.places()), (decimal.digits(), places));
            let float = |number: i64| {
                let decimal = Decimal::from_parts(i128::from(number), 3).unwrap();
                Writer::default().float(decimal.to_f64()).finish()
            };
            if one <= other {
                prop_assert!(float(one) <= float(other));
            }
        }
    }
}
