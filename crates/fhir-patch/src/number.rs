//! Whether two numbers are the same, however they are written (RFC 6902, 4.6).

/// A number as digits without zeros at either end, and the power of ten of the last one.
#[derive(PartialEq, Eq)]
struct Plain {
    is_negative: bool,
    digits: String,
    exponent: i128,
}

/// Whether these texts, each a JSON number, say the same number.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    one == other || plain(one).is_some_and(|one| plain(other) == Some(one))
}

/// `None` for an exponent that no number of use has.
fn plain(text: &str) -> Option<Plain> {
    let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut exponent = i128::from(exponent.parse::<i64>().ok()?) - fraction.len() as i128;
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    let without_zeros = digits.trim_end_matches('0');
    exponent += (digits.len() - without_zeros.len()) as i128;
    if without_zeros.is_empty() {
        return Some(Plain { is_negative: false, digits: String::new(), exponent: 0 });
    }
    Some(Plain { is_negative, digits: without_zeros.to_owned(), exponent })
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn numbers_are_the_same_by_value_to_the_digit() {
        let check = |one: &str, other: &str, expected: bool| {
            assert_eq!(is_same(one, other), expected, "{one} {other}");
            assert_eq!(is_same(other, one), expected, "{other} {one}");
        };
        check("1", "1.0", true);
        check("100", "1e2", true);
        check("0.10", "1E-1", true);
        check("-0", "0.00", true);
        check("-1", "1", false);
        check("71.50", "71.5", true);
        check("9007199254740993", "9007199254740992", false);
        check("0.1000000000000000000001", "0.1", false);
        check("1e99999999999999999999", "1e99999999999999999999", true);
        check("1e99999999999999999999", "1", false);
    }
}
