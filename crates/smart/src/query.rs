//! The search parameters of a granular scope: `category=laboratory&status=final`.
//!
//! What a parameter means the server knows. Here it is seen to that the text can be nothing else
//! than criteria that narrow: pairs with a name and a value, and no parameter that says how
//! results are shown, which would narrow nothing.

/// Parameters of a search that are no criteria (FHIR R4, section 3.1.1.5).
const OF_RESULTS: [&str; 14] = [
    "_sort",
    "_count",
    "_include",
    "_revinclude",
    "_summary",
    "_elements",
    "_total",
    "_contained",
    "_containedType",
    "_format",
    "_pretty",
    "_page",
    "_explain",
    "_score",
];

/// Where `query` is no list of criteria, and what is wrong there: a byte offset and words.
pub(crate) fn fault(query: &str) -> Option<(usize, &'static str)> {
    let mut at = 0;
    for pair in query.split('&') {
        let Some((name, value)) = pair.split_once('=') else {
            return Some((at, "a parameter has the form name=value"));
        };
        // What a name may be followed by: a modifier, or a chain.
        let base = name.split([':', '.']).next().unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if base.is_empty() || !name.bytes().all(plain) {
            return Some((at, "a parameter's name has letters, digits and any of - _ . :"));
        }
        if OF_RESULTS.contains(&base) {
            return Some((at, "the parameter says how results are shown and narrows nothing"));
        }
        let value_at = at + name.len() + 1;
        if value.is_empty() {
            return Some((value_at, "a parameter without a value narrows nothing"));
        }
        if let Some(wrong) = fault_of_value(value) {
            return Some((
                value_at + wrong,
                "a % is followed by two hexadecimal digits, and # = + are written with it",
            ));
        }
        at += pair.len() + 1;
    }
    None
}

fn fault_of_value(value: &str) -> Option<usize> {
    let bytes = value.as_bytes();
    let hexadecimal = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    (0..bytes.len()).find(|&at| match bytes[at] {
        b'%' => !(hexadecimal(at + 1) && hexadecimal(at + 2)),
        // Read as a space, as a fragment, as another pair: by one reader or another.
        b'#' | b'=' | b'+' => true,
        _ => false,
    })
}
