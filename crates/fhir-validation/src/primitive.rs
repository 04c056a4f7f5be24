//! The values of primitive types (FHIR R4, 2.24.0.1), read by hand instead of by the expressions
//! that the definitions publish: faster, and strict about calendars.

use std::borrow::Cow;

use fhir_core::json::{Kind, Value};
use fhir_core::{ResourceId, json};

/// The longest string (2.24.0.1, `string`).
const MAX_STRING: usize = 1024 * 1024;

/// What is wrong with a value; the text says how to mend it.
pub(crate) type Problem = Cow<'static, str>;

/// How JSON writes a primitive type.
fn json_kind(type_name: &str) -> Kind {
    match type_name {
        "boolean" => Kind::Boolean,
        "integer" | "positiveInt" | "unsignedInt" | "decimal" => Kind::Number,
        _ => Kind::String,
    }
}

/// Checks a value of JSON against a primitive type.
pub(crate) fn check(type_name: &str, value: Value<'_>) -> Result<(), Problem> {
    let wanted = json_kind(type_name);
    if value.kind() != wanted {
        let wanted = match wanted {
            Kind::Boolean => "true or false, without quotes",
            Kind::Number => "a number, without quotes",
            _ => "a string in quotes",
        };
        return Err(format!("a {type_name} is written as {wanted}").into());
    }
    match wanted {
        Kind::Boolean => Ok(()),
        Kind::Number => number(type_name, value.raw()),
        _ => {
            let text = value.as_str().unwrap_or_default();
            string(type_name, &text)
        }
    }
}

fn number(type_name: &str, text: &str) -> Result<(), Problem> {
    if type_name == "decimal" {
        // JSON's own grammar is that of a decimal.
        return match json::Document::parse(text.as_bytes()) {
            Ok(_) => Ok(()),
            Err(_) => Err("not a decimal".into()),
        };
    }
    let Ok(number) = text.parse::<i64>() else {
        return Err(format!("an {type_name} is written in digits alone, not as {text}").into());
    };
    let least = match type_name {
        "positiveInt" => 1,
        "unsignedInt" => 0,
        _ => i64::from(i32::MIN),
    };
    if number < least || number > i64::from(i32::MAX) {
        return Err(format!("{type_name} goes from {least} to {}", i32::MAX).into());
    }
    Ok(())
}

fn string(type_name: &str, text: &str) -> Result<(), Problem> {
    if text.is_empty() {
        return Err("an empty string says nothing; leave the element out".into());
    }
    let is = |holds: bool, otherwise: &'static str| {
        if holds { Ok(()) } else { Err(Problem::Borrowed(otherwise)) }
    };
    match type_name {
        "string" | "markdown" => free_text(text),
        "code" => is(is_code(text), "a code has no white space but single spaces inside"),
        "id" => is(
            ResourceId::is_valid(text),
            "an id is 1 to 64 letters, digits, '-' and '.', and nothing else",
        ),
        "uri" | "canonical" | "url" => uri(text),
        "oid" => {
            is(text.strip_prefix("urn:oid:").is_some_and(is_oid), "an oid is urn:oid:1.2.3 or so")
        }
        "uuid" => is(
            text.strip_prefix("urn:uuid:").is_some_and(is_uuid),
            "a uuid is urn:uuid: and 32 hexadecimal digits in lower case with four hyphens",
        ),
        "date" => is(is_date(text), "a date is YYYY, YYYY-MM or YYYY-MM-DD, and in the calendar"),
        "dateTime" => is(
            is_date_time(text),
            "a dateTime is YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with a time zone",
        ),
        "instant" => is(
            text.contains('T') && is_date_time(text),
            "an instant is YYYY-MM-DDThh:mm:ss with a time zone",
        ),
        "time" => is(is_time(text), "a time is hh:mm:ss, without a time zone"),
        "base64Binary" => is(
            is_base64(text),
            "base64 has letters, digits, '+' and '/', four by four, with '=' at the end alone",
        ),
        _ => Ok(()),
    }
}

fn free_text(text: &str) -> Result<(), Problem> {
    // Characters are counted only where there could be too many.
    if text.len() > MAX_STRING && text.chars().nth(MAX_STRING).is_some() {
        return Err(format!("a string has at most {MAX_STRING} characters").into());
    }
    if text.bytes().any(|byte| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')) {
        return Err("a string has no control characters but tab, line feed and return".into());
    }
    if text.chars().all(char::is_whitespace) {
        return Err("white space alone says nothing; leave the element out".into());
    }
    Ok(())
}

/// Whether there is white space around a string, which there should not be.
pub(crate) fn has_space_around(text: &str) -> bool {
    text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace)
}

fn is_code(text: &str) -> bool {
    text.split(' ').all(|part| !part.is_empty() && !part.contains(char::is_whitespace))
}

fn uri(text: &str) -> Result<(), Problem> {
    if text.contains(char::is_whitespace) {
        return Err("a URI has no white space; write a space as %20".into());
    }
    if let Some(uuid) = text.strip_prefix("urn:uuid:")
        && !is_uuid(before_version(uuid))
    {
        return Err("urn:uuid: is followed by 32 hexadecimal digits in lower case with four \
                        hyphens"
            .into());
    }
    if let Some(oid) = text.strip_prefix("urn:oid:")
        && !is_oid(before_version(oid))
    {
        return Err("urn:oid: is followed by numbers with dots, the first of them 0, 1 or 2".into());
    }
    Ok(())
}

/// What stands before a version or a fragment: of a canonical, or of a URI that a definition such as
/// a value set's expansion takes one as.
fn before_version(text: &str) -> &str {
    text.split(['|', '#']).next().unwrap_or_default()
}

/// Whether a text begins with a scheme, as absolute URIs do.
pub(crate) fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|it| it.is_ascii_alphanumeric() || b"+-.".contains(&it))
    })
}

fn is_oid(text: &str) -> bool {
    let mut arcs = text.split('.');
    matches!(arcs.next(), Some("0" | "1" | "2"))
        && text.contains('.')
        && arcs.all(|arc| {
            !arc.is_empty()
                && arc.bytes().all(|it| it.is_ascii_digit())
                && (arc == "0" || !arc.starts_with('0'))
        })
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

fn digits(text: &str, length: usize) -> Option<u32> {
    let is_number = text.len() == length && text.bytes().all(|it| it.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let Some(year) = parts.next().and_then(|it| digits(it, 4)).filter(|it| *it > 0) else {
        return false;
    };
    let Some(month) = parts.next() else { return true };
    let Some(month) = digits(month, 2).filter(|it| (1..=12).contains(it)) else {
        return false;
    };
    let Some(day) = parts.next() else { return true };
    let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    parts.next().is_none() && digits(day, 2).is_some_and(|day| (1..=days).contains(&day))
}

fn is_time(text: &str) -> bool {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let mut parts = whole.split(':');
    let mut part =
        |most: u32| parts.next().and_then(|it| digits(it, 2)).is_some_and(|number| number <= most);
    // A leap second is a second.
    let is_time = part(23) && part(59) && part(60);
    is_time
        && parts.next().is_none()
        && fraction.is_none_or(|it| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit()))
}

fn is_date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once('T') else { return is_date(text) };
    if date.len() != 10 || !is_date(date) {
        return false;
    }
    if let Some(time) = time.strip_suffix('Z') {
        return is_time(time);
    }
    let Some(at) = time.rfind(['+', '-']) else { return false };
    let (time, zone) = (&time[..at], &time[at + 1..]);
    let is_zone = zone.split_once(':').is_some_and(|(hours, minutes)| {
        match (digits(hours, 2), digits(minutes, 2)) {
            (Some(14), Some(0)) => true,
            (Some(hours), Some(minutes)) => hours < 14 && minutes < 60,
            _ => false,
        }
    });
    is_zone && is_time(time)
}

fn is_base64(text: &str) -> bool {
    let mut count = 0_usize;
    let mut padding = 0_usize;
    for byte in text.bytes() {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'=' => padding += 1,
            _ if padding > 0 => return false,
            _ if byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/' => {}
            _ => return false,
        }
        count += 1;
    }
    count > 0 && count.is_multiple_of(4) && padding <= 2
}

/// How many bytes base64 stands for, if it is base64.
pub(crate) fn base64_length(text: &str) -> Option<usize> {
    if !is_base64(text) {
        return None;
    }
    let characters = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let (count, padding) = characters
        .fold((0, 0), |(count, padding), byte| (count + 1, padding + usize::from(byte == b'=')));
    Some(count / 4 * 3 - padding)
}

#[cfg(test)]
mod tests {
    use fhir_core::json::Document;

    use super::check;

    fn is_valid(type_name: &str, json: &str) -> bool {
        // What is no JSON is no value either.
        Document::parse(json.as_bytes()).is_ok_and(|it| check(type_name, it.root()).is_ok())
    }

    /// Type, what is valid, what is not.
    type Case = (&'static str, &'static [&'static str], &'static [&'static str]);

    const SIMPLE: &[Case] = &[
        ("boolean", &["true", "false"], &[r#""true""#, r#""True""#, "1", "null"]),
        (
            "integer",
            &["0", "-0", "2147483647", "-2147483648"],
            &["2147483648", "1.0", "1e2", r#""1""#, "99999999999999999999"],
        ),
        ("unsignedInt", &["0", "2147483647"], &["-1", "2147483648"]),
        ("positiveInt", &["1"], &["0", "-1"]),
        (
            "decimal",
            &["1.00", "1e-10", "0.123456789012345678", "-0.5"],
            &[r#""1.0""#, "true", "+1", ".5", "NaN", "1."],
        ),
        ("string", &[r#""a b""#, r#""a\tb""#], &[r#""""#, r#""  ""#, r#""a\u0000""#, "1"]),
    ];

    const NAMES: &[Case] = &[
        ("code", &[r#""a b""#], &[r#""a  b""#, r#"" a""#, r#""a ""#, r#""a\tb""#]),
        ("id", &[r#""a-B.1""#], &[r#""a_b""#, r#""a b""#]),
        (
            "uri",
            &[
                r#""http://a/b""#,
                r#""urn:uuid:6a2ee390-978e-42c6-8f88-c17dff3bd8aa""#,
                r#""urn:oid:2.16.840|1.0""#,
            ],
            &[
                r#""http://a b""#,
                r#""urn:uuid:6A2EE390-978e-42c6-8f88-c17dff3bd8aa""#,
                r#""urn:uuid:6a2e""#,
                r#""urn:oid:3.1""#,
                r#""urn:oid:1.02""#,
            ],
        ),
        ("url", &[r#""http://a""#, r#""mailto:a@b""#], &[r#""http://a b""#]),
        ("oid", &[r#""urn:oid:2.16.840""#], &[r#""2.16.840""#, r#""urn:oid:2""#]),
        ("canonical", &[r#""http://a|1.0#x""#, r##""#x""##], &[r#""http://a |1""#]),
    ];

    const TIMES: &[Case] = &[
        (
            "date",
            &[r#""2021""#, r#""2021-02""#, r#""2020-02-29""#],
            &[r#""2021-02-29""#, r#""0000""#, r#""2021-13""#, r#""2021-1-1""#, r#""2021-01-01T""#],
        ),
        (
            "dateTime",
            &[
                r#""2020""#,
                r#""2020-01-01T10:00:00Z""#,
                r#""2020-01-01T10:00:60.123+14:00""#,
                r#""2020-01-01T00:00:00-05:30""#,
            ],
            &[
                r#""2020-01-01T10:00Z""#,
                r#""2020-01-01T10:00:00""#,
                r#""2020-01-01T24:00:00Z""#,
                r#""2020-01T10:00:00Z""#,
                r#""2020-01-01T10:00:00+15:00""#,
            ],
        ),
        (
            "instant",
            &[r#""2020-01-01T10:00:00.1Z""#],
            &[r#""2020-01-01""#, r#""2020-01-01T10:00:00""#],
        ),
        ("time", &[r#""10:00:00""#, r#""10:00:00.5""#], &[r#""10:00""#, r#""10:00:00Z""#]),
        (
            "base64Binary",
            &[r#""QUJD""#, r#""QU JD\n""#, r#""QUI=""#],
            &[r#""QU=D""#, r#""QUJ""#, r#""Q===""#, r#""(snip)""#],
        ),
    ];

    fn check_all(cases: &[Case]) {
        for (type_name, valid, invalid) in cases {
            for json in *valid {
                assert!(is_valid(type_name, json), "{type_name} {json}");
            }
            for json in *invalid {
                assert!(!is_valid(type_name, json), "{type_name} {json}");
            }
        }
    }

    #[test]
    fn truths_numbers_and_strings_take_their_values_and_no_others() {
        // VAL-020, VAL-021, VAL-022, VAL-023, VAL-024
        check_all(SIMPLE);
    }

    #[test]
    fn codes_ids_and_uris_take_their_values_and_no_others() {
        // VAL-026, VAL-027, VAL-028, VAL-029, VAL-030
        check_all(NAMES);
    }

    #[test]
    fn times_and_bytes_take_their_values_and_no_others() {
        // VAL-031, VAL-032, VAL-033, VAL-034, VAL-035
        check_all(TIMES);
    }
}
