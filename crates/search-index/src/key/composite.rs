//! Values that stand together in one element: each combination of the components' values is a
//! key, as long as there are not too many of them.

use fhir_search::{Composite, IndexValue, Position, Reference, ReferenceTarget};

use super::{
    KeyRange, Reader, Writer, date_key, number_key, quantity_key, read_date, read_number,
    read_quantity, read_string, read_token, string_key, token_key,
};

/// An element with more combinations is one key, which every search must look at.
const MOST_COMBINATIONS: usize = 64;

const COMBINATION: u8 = 0;
const PACKED: u8 = 1;

const NUMBER: u8 = 1;
const DATE: u8 = 2;
const STRING: u8 = 3;
const TOKEN: u8 = 4;
const REFERENCE: u8 = 5;
const QUANTITY: u8 = 6;
const URI: u8 = 7;
const POSITION: u8 = 8;

const LOCAL: u8 = 0;
const URL: u8 = 1;
const CANONICAL: u8 = 2;
const CONTAINED: u8 = 3;
const LOGICAL: u8 = 4;

/// The keys of one element.
pub(crate) fn composite_keys(composite: &Composite<'_>) -> Vec<Vec<u8>> {
    let components = &composite.components;
    let counts = components.iter().map(Vec::len);
    let combinations = counts.fold(1_usize, usize::saturating_mul);
    if combinations > MOST_COMBINATIONS {
        let mut writer = Writer::default().byte(PACKED);
        for values in components {
            let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
            writer = writer.bytes(&count.to_be_bytes());
            writer = values.iter().fold(writer, write_value);
        }
        return vec![writer.finish()];
    }
    let mut keys = vec![vec![COMBINATION]];
    for values in components {
        let with = |key: &Vec<u8>, value| write_value(Writer::default().bytes(key), value).finish();
        let longer = keys.iter().flat_map(|key| values.iter().map(move |value| with(key, value)));
        keys = longer.collect();
    }
    keys
}

/// The values of each component, `count` of them, that stand together in a key.
pub(crate) fn read_composite(key: &[u8], count: usize) -> Option<Vec<Vec<IndexValue<'_>>>> {
    let mut reader = Reader::new(key);
    let packed = reader.byte()? == PACKED;
    let mut components = Vec::with_capacity(count);
    for _ in 0..count {
        let values = if packed { u32::from_be_bytes(reader.bytes(4)?.try_into().ok()?) } else { 1 };
        let values = (0..values).map(|_| read_value(&mut reader)).collect::<Option<_>>()?;
        components.push(values);
    }
    Some(components)
}

/// Where the elements are whose first component begins with this in its key; of everything when
/// that is not known.
pub(crate) fn value_prefix(first_is_code: Option<&str>) -> Vec<KeyRange> {
    let Some(code) = first_is_code else { return vec![KeyRange::all()] };
    let combination = Writer::default().byte(COMBINATION).byte(TOKEN);
    vec![
        KeyRange::prefix(super::code_prefix(combination, code).finish()),
        KeyRange::prefix(vec![PACKED]),
    ]
}

fn write_value(writer: Writer, value: &IndexValue<'_>) -> Writer {
    match value {
        IndexValue::Number(range) => number_key(writer.byte(NUMBER), range),
        IndexValue::Date(range) => writer.byte(DATE).bytes(&date_key(*range)),
        IndexValue::String(text) => {
            writer.byte(STRING).bytes(&string_key(&fhir_search::fold(text), text))
        }
        IndexValue::Token(token) => token_key(writer.byte(TOKEN), token),
        IndexValue::Quantity(quantity) => quantity_key(writer.byte(QUANTITY), quantity),
        IndexValue::Uri(uri) => writer.byte(URI).text(uri),
        IndexValue::Position(position) => {
            writer.byte(POSITION).decimal(position.latitude).decimal(position.longitude)
        }
        IndexValue::Reference(reference) => {
            let writer = writer.byte(REFERENCE);
            match &reference.target {
                ReferenceTarget::Local { resource_type, id, version } => {
                    writer.byte(LOCAL).text(resource_type).text(id).optional(version.as_deref())
                }
                ReferenceTarget::Url(url) => writer.byte(URL).text(url),
                ReferenceTarget::Canonical { url, version } => {
                    writer.byte(CANONICAL).text(url).optional(version.as_deref())
                }
                ReferenceTarget::Contained(id) => writer.byte(CONTAINED).text(id),
                ReferenceTarget::Logical => writer.byte(LOGICAL),
            }
        }
        // A component of a composite is no composite (FHIR R4, SearchParameter.component).
        IndexValue::Composite(_) => writer.byte(0),
    }
}

fn read_value<'k>(reader: &mut Reader<'k>) -> Option<IndexValue<'k>> {
    Some(match reader.byte()? {
        NUMBER => IndexValue::Number(read_number(reader)?),
        DATE => IndexValue::Date(read_date(reader)?),
        STRING => IndexValue::String(read_string(reader)?.1),
        TOKEN => IndexValue::Token(read_token(reader)?),
        QUANTITY => IndexValue::Quantity(Box::new(read_quantity(reader)?)),
        URI => IndexValue::Uri(reader.text()?),
        POSITION => IndexValue::Position(Position {
            latitude: reader.decimal()?,
            longitude: reader.decimal()?,
        }),
        REFERENCE => {
            let target = match reader.byte()? {
                LOCAL => ReferenceTarget::Local {
                    resource_type: reader.text()?,
                    id: reader.text()?,
                    version: reader.optional()?,
                },
                URL => ReferenceTarget::Url(reader.text()?),
                CANONICAL => {
                    ReferenceTarget::Canonical { url: reader.text()?, version: reader.optional()? }
                }
                CONTAINED => ReferenceTarget::Contained(reader.text()?),
                _ => ReferenceTarget::Logical,
            };
            IndexValue::Reference(Reference { target, identifier: None, display: None })
        }
        _ => return None,
    })
}
