//! Numbers and texts in bytes: how they are written, and read again from bytes that may be
//! anything.

use super::Damaged;

/// Writes numbers, texts and lists, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Bytes(Vec<u8>);

impl Bytes {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// A number, the shorter the smaller it is: seven bits a byte, the least first.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn integer(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn list(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Ascending numbers, each by how much it is above the one before.
    pub(super) fn ascending(&mut self, numbers: impl Iterator<Item = u32>) {
        let mut next = 0;
        for number in numbers {
            self.number(u64::from(number).saturating_sub(next));
            next = u64::from(number) + 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

/// Reads what [`Bytes`] wrote. Sets nothing aside for a length that is only claimed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Damaged> {
        let (first, rest) = self.0.split_first().ok_or(Damaged("it ends too soon"))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self) -> Result<u64, Damaged> {
        let mut number = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damaged("a number is too great"))
    }

    pub(super) fn small(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.number()?).map_err(|_| Damaged("a number is too great"))
    }

    pub(super) fn integer(&mut self) -> Result<i64, Damaged> {
        let (number, rest) = self.0.split_first_chunk().ok_or(Damaged("it ends too soon"))?;
        self.0 = rest;
        Ok(i64::from_le_bytes(*number))
    }

    /// So many bytes.
    pub(super) fn raw(&mut self, count: usize) -> Result<&'b [u8], Damaged> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Damaged("it ends too soon"))?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn list(&mut self) -> Result<&'b [u8], Damaged> {
        let length = usize::try_from(self.number()?).map_err(|_| Damaged("a list is too long"))?;
        self.raw(length)
    }

    pub(super) fn text(&mut self) -> Result<&'b str, Damaged> {
        std::str::from_utf8(self.list()?).map_err(|_| Damaged("a text is none"))
    }

    /// How many entries follow, of one byte at least each.
    pub(super) fn count(&mut self) -> Result<usize, Damaged> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count > self.0.len() {
            Err(Damaged("a list is longer than what there is"))
        } else {
            Ok(count)
        }
    }

    /// Ascending numbers, so many and all below `end`, put into `numbers`.
    pub(super) fn ascending(
        &mut self,
        count: usize,
        end: u32,
        numbers: &mut Vec<u32>,
    ) -> Result<(), Damaged> {
        numbers.clear();
        let mut next = 0_u64;
        for _ in 0..count {
            let number = next.checked_add(self.number()?).filter(|it| *it < u64::from(end));
            let number = number.ok_or(Damaged("a document is not there"))?;
            numbers.push(u32::try_from(number).unwrap_or(u32::MAX));
            next = number + 1;
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing may follow.
    pub(super) fn end(self) -> Result<(), Damaged> {
        if self.is_empty() { Ok(()) } else { Err(Damaged("something follows its end")) }
    }
}
