//! Quantities: by number as they are written, and by number within one base unit.

use std::sync::Arc;

use fhir_search::{CanonicalQuantity, NumberTest, Quantity};

use super::{KeyRange, Reader, Writer, number_key, number_ranges, read_number};

/// The key of a quantity as it is written.
pub(crate) fn quantity_key(writer: Writer, quantity: &Quantity<'_>) -> Writer {
    let writer = number_key(writer, &quantity.range)
        .optional(quantity.system.as_deref())
        .optional(quantity.code.as_deref())
        .optional(quantity.unit.as_deref());
    match &quantity.canonical {
        Some(canonical) => writer.byte(1).text(&canonical.unit).ends(&canonical.range),
        None => writer.byte(0),
    }
}

/// The quantity of a key.
pub(crate) fn read_quantity<'k>(reader: &mut Reader<'k>) -> Option<Quantity<'k>> {
    Some(Quantity {
        range: read_number(reader)?,
        system: reader.optional()?,
        code: reader.optional()?,
        unit: reader.optional()?,
        canonical: match reader.byte()? {
            0 => None,
            _ => {
                let unit: Arc<str> = reader.text()?.into();
                Some(CanonicalQuantity { unit, range: reader.ends()? })
            }
        },
    })
}

/// The key of a quantity in base units.
pub(crate) fn canonical_key(quantity: &CanonicalQuantity) -> Vec<u8> {
    number_key(Writer::default().text(&quantity.unit), &quantity.range).finish()
}

/// The quantity in base units of a key, with nothing else.
pub(crate) fn read_canonical<'k>(reader: &mut Reader<'k>) -> Option<Quantity<'k>> {
    let unit: Arc<str> = reader.text()?.into();
    let range = read_number(reader)?;
    let canonical = Some(CanonicalQuantity { range, unit });
    Some(Quantity { range, system: None, code: None, unit: None, canonical })
}

/// Where the quantities are of which a test in base units may hold.
pub(crate) fn canonical_ranges(unit: &str, test: &NumberTest) -> Vec<KeyRange> {
    number_ranges(&Writer::default().text(unit).finish(), test)
}

/// A code as the keys of quantities have it.
pub(crate) fn unit_key(system: &str, code: &str) -> Vec<u8> {
    Writer::default().optional(Some(system)).optional(Some(code)).finish()
}

/// The code of a key's quantity, as [`unit_key`] writes it, if nothing is known of it in base
/// units.
pub(crate) fn unconverted_unit(key: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(key);
    read_number(&mut reader)?;
    let from = reader.rest();
    reader.optional()?;
    reader.optional()?;
    let unit = &from[..from.len() - reader.rest().len()];
    reader.optional()?;
    (reader.byte()? == 0).then_some(unit)
}
