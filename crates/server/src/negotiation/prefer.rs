//! `Prefer` (FHIR R4, 3.1.0.6 and 3.1.0.9; RFC 7240): what a client would like to be answered.
//! Whether it is followed, the exchange decides.

use http::HeaderMap;

/// `Prefer: return=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Return {
    Minimal,
    Representation,
    OperationOutcome,
    /// Nothing preferred.
    Default,
}

/// `Prefer: handling=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handling {
    Lenient,
    Strict,
}

/// Reads `Prefer` (RFC 7240): what to return, and what to do with unknown parameters.
pub(crate) fn preference(headers: &HeaderMap) -> (Return, Handling) {
    let mut preferred = Return::Default;
    let mut handling = Handling::Lenient;
    for line in headers.get_all("prefer") {
        let Ok(line) = line.to_str() else { continue };
        for part in line.split([',', ';']) {
            match part.trim().to_ascii_lowercase().replace('"', "").as_str() {
                "return=minimal" => preferred = Return::Minimal,
                "return=representation" => preferred = Return::Representation,
                "return=operationoutcome" => preferred = Return::OperationOutcome,
                "handling=strict" => handling = Handling::Strict,
                "handling=lenient" => handling = Handling::Lenient,
                _ => {}
            }
        }
    }
    (preferred, handling)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn preferences_are_read_from_any_number_of_headers() {
        // HTTP-048
        let read = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("prefer", HeaderValue::from_str(line).unwrap());
            }
            preference(&headers)
        };
        assert_eq!(read(&[]), (Return::Default, Handling::Lenient));
        assert_eq!(
            read(&["return=minimal, respond-async; handling=strict"]),
            (Return::Minimal, Handling::Strict)
        );
        assert_eq!(
            read(&["foo=bar", "return=\"representation\""]),
            (Return::Representation, Handling::Lenient)
        );
        assert_eq!(
            read(&["return=OperationOutcome"]),
            (Return::OperationOutcome, Handling::Lenient)
        );
    }
}
