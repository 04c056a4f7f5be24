//! Whether a test of a query holds of a value: the comparisons of `fhir-search`, and those that
//! need to know about codes.

use fhir_search::{
    CompositeTest, IndexValue, NearTest, Position, ReferenceTarget, ReferenceTest, SystemTest,
    Test, Token, TokenFrom, TokenTest, fold,
};

use roaring::RoaringBitmap;

use crate::SearchError;
use crate::key::{ReferenceKey, local_ordinal, read_reference_key};
use fhir_search::{Codes, case_counts};

/// Metres around a position that `near` finds when the request does not say.
const NEAR_METRES: f64 = 50_000.0;
/// The mean radius of the Earth, in metres (IUGG).
const EARTH_RADIUS: f64 = 6_371_008.8;

/// Whether a test on a token holds. Texts and types of identifiers have views of their own, and
/// do not come here.
pub(super) fn token_holds(
    test: &TokenTest,
    token: &Token<'_>,
    codes: &dyn Codes,
) -> Result<bool, SearchError> {
    let system = token.system.as_deref();
    let same = |wanted: &str| {
        token.code.as_deref().is_some_and(|code| code_is(token, code, wanted, codes))
    };
    Ok(match (test, token.code.as_deref()) {
        (TokenTest::Code { system: wanted, code }, _) => {
            let no_system_possible = matches!(
                token.from,
                TokenFrom::Boolean | TokenFrom::ContactPoint | TokenFrom::Uri | TokenFrom::String
            );
            let system_holds = match wanted {
                SystemTest::Is(_) if no_system_possible => false,
                wanted => wanted.holds(system),
            };
            system_holds && same(code)
        }
        // What has no code is found by its text alone.
        (TokenTest::System(wanted), Some(_)) => system == Some(wanted),
        (TokenTest::In(value_set), Some(code)) => codes.is_member(value_set, system, code)?,
        (TokenTest::Below { system: wanted, code: above }, Some(code)) => {
            system == Some(wanted) && (same(above) || codes.subsumes(wanted, above, code)?)
        }
        (TokenTest::Above { system: wanted, code: below }, Some(code)) => {
            system == Some(wanted) && (same(below) || codes.subsumes(wanted, code, below)?)
        }
        (TokenTest::MimeBelow(wanted), Some(code)) => is_mime_below(code, wanted),
        (TokenTest::Text(wanted), _) => {
            token.text.as_deref().is_some_and(|text| fold(text).starts_with(&**wanted))
        }
        // Whoever found it has looked at its type.
        (TokenTest::OfType { value, .. }, Some(_)) => same(value),
        (_, None) => false,
    })
}

fn code_is(token: &Token<'_>, code: &str, wanted: &str, codes: &dyn Codes) -> bool {
    let is_exact = match token.from {
        TokenFrom::Uri => true,
        TokenFrom::String | TokenFrom::Boolean => false,
        TokenFrom::Code | TokenFrom::Identifier | TokenFrom::ContactPoint => {
            case_counts(token.system.as_deref(), codes)
        }
    };
    code == wanted || (!is_exact && code.to_lowercase() == wanted.to_lowercase())
}

/// Whether a MIME type is `wanted`, whatever its parameters, or begins so when that ends with a
/// slash.
fn is_mime_below(code: &str, wanted: &str) -> bool {
    let (code, wanted) = (code.to_lowercase(), wanted.to_lowercase());
    code.strip_prefix(&*wanted).is_some_and(|rest| {
        wanted.ends_with('/') || rest.is_empty() || rest.trim_start().starts_with(';')
    })
}

/// Whether a test on the position of something holds.
pub(super) fn near_holds(test: &NearTest, position: &Position) -> bool {
    let metres = test.metres.map_or(NEAR_METRES, |it| it.to_f64());
    let radians = |degrees: fhir_search::Decimal| degrees.to_f64().to_radians();
    let (latitude, wanted) = (radians(position.latitude), radians(test.latitude));
    let north = (latitude - wanted) / 2.0;
    let east = (radians(position.longitude) - radians(test.longitude)) / 2.0;
    let square = north.sin().powi(2) + latitude.cos() * wanted.cos() * east.sin().powi(2);
    2.0 * EARTH_RADIUS * square.sqrt().min(1.0).asin() <= metres
}

/// Between which latitudes a position must be to be near, in degrees.
pub(super) fn near_latitudes(test: &NearTest) -> (f64, f64) {
    let metres = test.metres.map_or(NEAR_METRES, |it| it.to_f64());
    // A little more than it is, for what rounding takes away.
    let degrees = (metres / EARTH_RADIUS).to_degrees() * 1.000_001 + 1e-9;
    let middle = test.latitude.to_f64();
    (middle - degrees, middle + degrees)
}

/// Whether a test on a composite holds of what stands in one element.
pub(super) fn composite_holds(
    test: &CompositeTest,
    components: &[Vec<IndexValue<'_>>],
    codes: &dyn Codes,
) -> Result<bool, SearchError> {
    for (part, values) in test.parts.iter().zip(components) {
        let mut some = false;
        for value in values {
            some = some || value_holds(part, value, codes)?;
        }
        if !some {
            return Ok(false);
        }
    }
    Ok(test.parts.len() == components.len())
}

fn value_holds(
    test: &Test,
    value: &IndexValue<'_>,
    codes: &dyn Codes,
) -> Result<bool, SearchError> {
    Ok(match (test, value) {
        (Test::Number(test), IndexValue::Number(range)) => test.holds(*range),
        (Test::Date(test), IndexValue::Date(range)) => test.holds(*range),
        (Test::String(test), IndexValue::String(text)) => string_holds(test, text),
        (Test::Token(test), IndexValue::Token(token)) => token_holds(test, token, codes)?,
        (Test::Quantity(test), IndexValue::Quantity(quantity)) => test.holds(quantity),
        (Test::Uri(test), IndexValue::Uri(uri)) => test.holds(uri),
        (Test::Near(test), IndexValue::Position(position)) => near_holds(test, position),
        (Test::Reference(test), IndexValue::Reference(reference)) => {
            test.holds(&reference.target).unwrap_or(false)
        }
        _ => false,
    })
}

/// Whether a test holds of a text as it is stored.
fn string_holds(test: &fhir_search::StringTest, text: &str) -> bool {
    match test.at {
        fhir_search::StringMatch::Exact => test.holds(text),
        _ => test.holds(&fold(text)),
    }
}

/// Whether a test on a reference holds of a key; `ordinals` are the resources it asks for.
pub(super) fn reference_holds(test: &ReferenceTest, ordinals: &RoaringBitmap, key: &[u8]) -> bool {
    if let ReferenceTest::Local { version: Some(wanted), .. } = test {
        let Some(ReferenceKey::Local { ordinal, version }) = read_reference_key(key) else {
            return false;
        };
        return ordinals.contains(ordinal.0) && version.as_deref() == Some(wanted);
    }
    if let Some(ordinal) = local_ordinal(key) {
        return ordinals.contains(ordinal.0);
    }
    let target = match read_reference_key(key) {
        Some(ReferenceKey::Url(url)) => ReferenceTarget::Url(url),
        Some(ReferenceKey::Canonical { url, version }) => {
            ReferenceTarget::Canonical { url, version }
        }
        Some(ReferenceKey::Nowhere) => ReferenceTarget::Logical,
        _ => return false,
    };
    test.holds(&target).unwrap_or(false)
}
