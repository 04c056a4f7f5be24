//! The request id: kept when the client's is harmless, else made; passed on, returned, logged.

use contract::Ids;
use http::{HeaderMap, HeaderValue};

/// The header that carries it, both ways.
pub(crate) const NAME: &str = "x-request-id";

/// The longest id that is kept.
const LONGEST: usize = 64;

/// The id for a request with these headers.
pub(crate) fn keep_or_make(headers: &HeaderMap, ids: &dyn Ids) -> HeaderValue {
    let mut given = headers.get_all(NAME).iter();
    match (given.next(), given.next()) {
        (Some(given), None) if is_harmless(given.as_bytes()) => given.clone(),
        _ => make(ids),
    }
}

/// The id's text.
pub(crate) fn text(id: &HeaderValue) -> &str {
    id.to_str().unwrap_or("-")
}

fn is_harmless(text: &[u8]) -> bool {
    (1..=LONGEST).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

fn make(ids: &dyn Ids) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0_u8; 32];
    let mut number = ids.next();
    for digit in text.iter_mut().rev() {
        *digit = HEX[usize::try_from(number & 0xf).unwrap_or(0)];
        number >>= 4;
    }
    HeaderValue::from_bytes(&text).expect("hexadecimal digits are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting;

    impl Ids for Counting {
        fn next(&self) -> u128 {
            0x2a
        }
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    const MADE: &str = "0000000000000000000000000000002a";

    fn check(given: &[&str], expected: &str) {
        let mut headers = HeaderMap::new();
        for value in given {
            headers.append(NAME, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        assert_eq!(text(&keep_or_make(&headers, &Counting)), expected, "{given:?}");
    }

    // GW-053
    #[test]
    fn a_harmless_id_is_kept_and_any_other_replaced() {
        check(&["ward-3.A_7"], "ward-3.A_7");
        check(&[], MADE);
        check(&[""], MADE);
        check(&["a", "b"], MADE);
        check(&["a b"], MADE);
        check(&["a\u{e9}"], MADE);
        check(&[&"x".repeat(64)], &"x".repeat(64));
        check(&[&"x".repeat(65)], MADE);
    }
}
