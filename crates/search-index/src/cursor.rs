//! After which hit a page begins, as bytes for a page link.

use store::T;

use crate::documents::LogPlace;
use crate::error::SearchError;
use crate::key::{Reader, Writer};
use crate::sort::{Edge, SortValue};

/// The last hit of a page: the values that it was sorted by, and where its version stands in the
/// log. Whoever gives it away must make sure that it comes back as it was, to the same query at
/// the same `t`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) values: Vec<Option<SortValue>>,
    pub(crate) place: LogPlace,
    /// Which of the resources that it contains is meant, from 1; 0 for itself.
    pub(crate) within: u32,
}

const FORMAT: u8 = 3;

const MISSING: u8 = 0;
const LEAST: u8 = 1;
const INTEGER: u8 = 2;
const NUMBER: u8 = 3;
const TEXT: u8 = 4;
const GREATEST: u8 = 5;
const WITHIN: u8 = 6;

/// By their place here.
const EDGES: [Edge; 3] = [Edge::Before, Edge::At, Edge::After];

impl Cursor {
    /// The cursor as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let count = u8::try_from(self.values.len()).unwrap_or(u8::MAX);
        let mut writer = Writer::default()
            .byte(FORMAT)
            .bytes(&self.place.t.get().to_be_bytes())
            .bytes(&self.place.change.to_be_bytes())
            .bytes(&self.within.to_be_bytes())
            .byte(count);
        for value in &self.values {
            writer = match value {
                None => writer.byte(MISSING),
                Some(value) => write(writer, value),
            };
        }
        writer.finish()
    }

    /// The cursor of these bytes.
    ///
    /// # Errors
    /// [`SearchError::InvalidCursor`] when [`Cursor::encode`] does not give such bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, SearchError> {
        read(bytes).ok_or(SearchError::InvalidCursor)
    }
}

fn write(writer: Writer, value: &SortValue) -> Writer {
    match value {
        SortValue::Least => writer.byte(LEAST),
        SortValue::Integer(number) => writer.byte(INTEGER).integer(*number),
        SortValue::Number(number, edge) => {
            let edge = EDGES.iter().position(|it| it == edge).unwrap_or_default();
            writer.byte(NUMBER).decimal(*number).byte(u8::try_from(edge).unwrap_or_default())
        }
        SortValue::Text(text) => writer.byte(TEXT).text(text),
        SortValue::Within(text, value) => write(writer.byte(WITHIN).text(text), value),
        SortValue::Greatest => writer.byte(GREATEST),
    }
}

/// The value of this kind that comes next. Within a text there is no other text with values.
fn read_value(kind: u8, reader: &mut Reader<'_>, is_within: bool) -> Option<SortValue> {
    Some(match kind {
        LEAST => SortValue::Least,
        INTEGER => SortValue::Integer(reader.integer()?),
        NUMBER => {
            let number = reader.decimal()?;
            SortValue::Number(number, *EDGES.get(usize::from(reader.byte()?))?)
        }
        TEXT => SortValue::Text(reader.text()?.into()),
        WITHIN if !is_within => {
            let (text, kind) = (reader.text()?.into(), reader.byte()?);
            SortValue::Within(text, Box::new(read_value(kind, reader, true)?))
        }
        GREATEST => SortValue::Greatest,
        _ => return None,
    })
}

fn read(bytes: &[u8]) -> Option<Cursor> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != FORMAT {
        return None;
    }
    let t = T::new(u64::from_be_bytes(reader.bytes(8)?.try_into().ok()?));
    let change = u32::from_be_bytes(reader.bytes(4)?.try_into().ok()?);
    let within = u32::from_be_bytes(reader.bytes(4)?.try_into().ok()?);
    let mut values = Vec::new();
    for _ in 0..reader.byte()? {
        values.push(match reader.byte()? {
            MISSING => None,
            kind => Some(read_value(kind, &mut reader, false)?),
        });
    }
    reader.is_empty().then_some(Cursor { values, place: LogPlace { t, change }, within })
}

#[cfg(test)]
mod tests {
    use super::Cursor;
    use crate::documents::LogPlace;
    use crate::error::SearchError;
    use crate::sort::{Edge, SortValue};
    use fhir_search::Decimal;
    use proptest::prelude::*;
    use store::T;

    #[test]
    fn a_cursor_comes_back_from_its_bytes() {
        let cursor = Cursor {
            values: vec![
                None,
                Some(SortValue::Least),
                Some(SortValue::Integer(-5)),
                Some(SortValue::Number(Decimal::parse("-1.50").unwrap(), Edge::After)),
                Some(SortValue::Within("kg".into(), Box::new(SortValue::Least))),
                Some(SortValue::text("müller\0")),
                Some(SortValue::Greatest),
            ],
            place: LogPlace { t: T::new(77), change: 3 },
            within: 2,
        };
        let bytes = cursor.encode();
        assert_eq!(Cursor::decode(&bytes), Ok(cursor));
        for end in 0..bytes.len() {
            assert_eq!(Cursor::decode(&bytes[..end]), Err(SearchError::InvalidCursor));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_cursor_or_an_error(bytes: Vec<u8>) {
            let with_format: Vec<u8> = std::iter::once(3).chain(bytes).collect();
            let _ = Cursor::decode(&with_format);
        }
    }
}
