//! SNOMED CT: what the form of a code says where its concepts are not loaded. A code is the
//! identifier of a concept (SNOMED CT Release File Specifications, 6: 6 to 18 digits, no zero
//! before them, a check digit of Verhoeff's, before it the partition of concepts) or an expression
//! in the compositional grammar. Of an expression little is asked: that what stands for concepts
//! is digits. Whether a concept exists, no form can say.

use fhir_core::Severity;

use super::FormFault;

pub(crate) const URL: &str = "http://snomed.info/sct";

const MENDED: &str = "give the identifier of a concept, 6 to 18 digits, or an expression of the \
    compositional grammar; if the code is of another code system, name that one";

/// What the form of a code says against it.
pub(super) fn fault(code: &str) -> Option<FormFault> {
    if !code.bytes().all(|byte| byte.is_ascii_digit()) || code.is_empty() {
        return (!is_expression(code)).then(|| FormFault {
            severity: Severity::Error,
            text: format!("'{code}' is no code of SNOMED CT: {MENDED}"),
        });
    }
    if !(6..=18).contains(&code.len()) || code.starts_with('0') {
        let text = format!(
            "'{code}' is no identifier of SNOMED CT, which has 6 to 18 digits and begins with \
             none that is zero: {MENDED}"
        );
        return Some(FormFault { severity: Severity::Error, text });
    }
    if !has_check_digit(code) {
        // Well-formed and mistyped: a warning, so that no record is refused for one digit of it.
        let text = format!(
            "the check digit of '{code}' is wrong, so SNOMED CT has no such concept: a digit is \
             mistyped; look the concept up"
        );
        return Some(FormFault { severity: Severity::Warning, text });
    }
    let named = match &code[code.len() - 3..code.len() - 1] {
        "00" | "10" => return None,
        "01" | "11" => "a description",
        "02" | "12" => "a relationship",
        _ => "no concept",
    };
    let text = format!(
        "'{code}' is in SNOMED CT the identifier of {named}: give the identifier of the concept"
    );
    Some(FormFault { severity: Severity::Error, text })
}

/// Whether this may be an expression: it has something of the compositional grammar in it, and
/// between its signs, terms and values stand digits alone.
fn is_expression(code: &str) -> bool {
    let body = ["===", "<<<"].iter().find_map(|it| code.strip_prefix(it)).unwrap_or(code);
    if !code.contains([':', '=', '+', '|', '{', '(']) && body == code {
        return false;
    }
    // A concept is followed by its term between bars; a value in quotes may hold anything.
    let mut digits = 0;
    let mut rest = body;
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            '|' => rest[1..].find('|').map(|at| at + 2),
            '"' => end_of_string(rest),
            '#' => Some(1 + leading(&rest[1..], |byte| b"+-.0123456789".contains(&byte))),
            '0'..='9' => {
                digits += 1;
                Some(leading(rest, |byte| byte.is_ascii_digit()))
            }
            ' ' | ':' | '=' | '+' | ',' | '{' | '}' | '(' | ')' => Some(1),
            _ => ["TRUE", "FALSE"].iter().find(|it| rest.starts_with(**it)).map(|it| it.len()),
        };
        let Some(skipped) = skipped else { return false };
        rest = &rest[skipped..];
    }
    digits > 0
}

/// The length of a value in quotes at the beginning of this, in which a backslash escapes.
fn end_of_string(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn leading(text: &str, is_of_it: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|&byte| is_of_it(byte)).count()
}

/// Whether the last digit is Verhoeff's check digit: the digits, each permuted by its place from
/// the right, multiply in the dihedral group of order ten to its unit.
fn has_check_digit(digits: &str) -> bool {
    let product = digits.bytes().rev().enumerate().fold(0, |product, (place, digit)| {
        dihedral(product, permuted(usize::from(digit - b'0'), place % 8))
    });
    product == 0
}

/// The product in the dihedral group of order ten: 0 to 4 are rotations, 5 to 9 reflections.
fn dihedral(one: usize, other: usize) -> usize {
    match (one < 5, other < 5) {
        (true, true) => (one + other) % 5,
        (true, false) => 5 + (one + other) % 5,
        (false, true) => 5 + (one - other) % 5,
        (false, false) => (one + 5 - other) % 5,
    }
}

fn permuted(digit: usize, times: usize) -> usize {
    const PERMUTATION: [usize; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    (0..times).fold(digit, |digit, _| PERMUTATION[digit])
}
