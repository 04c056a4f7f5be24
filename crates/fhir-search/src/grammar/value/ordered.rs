//! Values with prefixes: numbers, dates, quantities (FHIR R4, 3.1.1.4.7, 3.1.1.4.10, 3.1.1.4.11
//! and 3.1.1.4.14).

use fhir_schema::conformance::SearchParameter;

use super::Of;
use crate::grammar::{Fault, Piece, Reader};
use crate::{
    DateRange, DateTest, Kind, NumberTest, Prefix, QuantityTest, QueryProblem, Test, UnitTest,
};

impl Reader<'_> {
    /// A value with the prefix that it begins with.
    pub(super) fn with_prefix(&self, of: &Of<'_>, value: Piece<'_>) -> Result<Test, Fault> {
        let (prefix, rest) = Prefix::split(value.text);
        check_prefix(prefix, of.definition).map_err(|it| value.fault(it))?;
        ordered_test(self, of.kind, prefix, value.after(value.text.len() - rest.len()))
    }
}

/// A definition that lists comparators allows those alone, and to be equal, which every value is
/// asked that has no prefix.
fn check_prefix(prefix: Prefix, definition: &SearchParameter) -> Result<(), QueryProblem> {
    let listed = &definition.comparators;
    let allowed = prefix == Prefix::Eq
        || listed.is_empty()
        || listed.iter().any(|it| &**it == prefix.as_str());
    if allowed {
        return Ok(());
    }
    Err(QueryProblem::UnsupportedPrefix {
        prefix: prefix.as_str(),
        code: (&*definition.code).into(),
        allowed: listed.join(", ").into(),
    })
}

/// A value of an ordered kind, its prefix taken off.
pub(in crate::grammar) fn ordered_test(
    reader: &Reader<'_>,
    kind: Kind,
    prefix: Prefix,
    value: Piece<'_>,
) -> Result<Test, Fault> {
    match kind {
        Kind::Date => date(reader, prefix, value).map(Test::Date),
        Kind::Quantity => quantity(reader, prefix, value).map(Test::Quantity),
        _ => number(prefix, value).map(Test::Number),
    }
}

fn number(prefix: Prefix, value: Piece<'_>) -> Result<NumberTest, Fault> {
    // The sign of `+5` is a space once the query is decoded.
    let text = value.text.strip_prefix(' ').unwrap_or(value.text);
    NumberTest::parse(prefix, text).ok_or_else(|| {
        let mend = "write one as 100, 100.00, -5.4e-3, with a prefix in small letters before it, as \
                    gt100, and with at most 38 digits";
        value.fault(QueryProblem::invalid("number", mend))
    })
}

fn date(reader: &Reader<'_>, prefix: Prefix, value: Piece<'_>) -> Result<DateTest, Fault> {
    let range = match plus_again(value.text) {
        Some(text) => DateRange::parse(&text, reader.zone),
        None => DateRange::parse(value.text, reader.zone),
    };
    let test = range.map(|range| DateTest::new(prefix, range, reader.now));
    test.ok_or_else(|| {
        let mend = "write a day that exists as 2024, 2024-02 or 2024-02-29, or a time as \
                    2024-02-29T12:30Z or 2024-02-29T12:30:15.5+01:00, with a prefix in small letters \
                    before it, as ge2024";
        value.fault(QueryProblem::invalid("date", mend))
    })
}

/// A time whose offset has a space for its plus, as it is when nobody encoded it.
fn plus_again(text: &str) -> Option<String> {
    let (time, offset) = text.rsplit_once(' ')?;
    (offset.len() == 5 && time.contains('T')).then(|| format!("{time}+{offset}"))
}

/// `number`, `number||code` or `number|system|code`.
fn quantity(reader: &Reader<'_>, prefix: Prefix, value: Piece<'_>) -> Result<QuantityTest, Fault> {
    let parts: Vec<Piece<'_>> = value.split(b'|').collect();
    let Some(number_part) = parts.first() else {
        return Err(value.fault(QueryProblem::EmptyValue));
    };
    let number = number(prefix, *number_part)?;
    let plain = |piece: Piece<'_>| piece.unescape(reader.handling).map(Box::<str>::from);
    let unit = match parts[1..] {
        [] => UnitTest::Any,
        [system, code] => match (plain(system)?, plain(code)?) {
            (system, code) if system.is_empty() && code.is_empty() => UnitTest::Any,
            (system, code) if system.is_empty() => UnitTest::CodeOrUnit(code),
            (system, code) if code.is_empty() => UnitTest::System(system),
            (system, code) => UnitTest::coded(&system, &code, &number),
        },
        _ => {
            let mend = "write number, number||code or number|system|code, as \
                        5.4|http://unitsofmeasure.org|mg";
            return Err(value.fault(QueryProblem::invalid("quantity", mend)));
        }
    };
    Ok(QuantityTest { number, unit })
}

#[cfg(test)]
mod tests {
    use super::check_prefix;
    use crate::Prefix;
    use fhir_schema::DefinitionSet;
    use fhir_schema::conformance::SearchParameter;

    #[test]
    fn a_definition_that_lists_comparators_allows_no_others() {
        // SRCH-241
        let any = DefinitionSet::r4().search_parameters().next().unwrap();
        let of = |comparators: &[&str]| SearchParameter {
            comparators: comparators.iter().map(|it| (*it).into()).collect(),
            ..(**any).clone()
        };
        let listing = of(&["gt", "le"]);
        for prefix in [Prefix::Gt, Prefix::Le, Prefix::Eq] {
            assert_eq!(check_prefix(prefix, &listing), Ok(()));
        }
        let error = check_prefix(Prefix::Sa, &listing).unwrap_err().to_string();
        assert!(error.contains("it takes gt, le"), "{error}");
        assert_eq!(check_prefix(Prefix::Sa, &of(&[])), Ok(()));
    }
}
