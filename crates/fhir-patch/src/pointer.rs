//! JSON Pointer (RFC 6901).

use crate::error::PatchProblem;

/// A place in a JSON document: the names and indexes on the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) text: String,
    pub(crate) tokens: Vec<String>,
}

impl Pointer {
    /// Reads `/name/0/given/-`.
    pub(crate) fn read(text: &str) -> Result<Self, PatchProblem> {
        if text.is_empty() {
            return Ok(Self { text: String::new(), tokens: Vec::new() });
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(PatchProblem::malformed(
                "a path is a JSON Pointer and begins with \"/\", such as \"/name/0/given\"",
            ));
        };
        let tokens = rest.split('/').map(unescape).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), tokens })
    }

    /// Whether `other` is a place inside of this one.
    pub(crate) fn is_around(&self, other: &Self) -> bool {
        self.tokens.len() < other.tokens.len() && other.tokens.starts_with(&self.tokens)
    }

    /// As FHIRPath, in a resource of this type: `Patient.name[0].given`.
    pub(crate) fn expression(&self, resource_type: &str) -> String {
        let mut expression = resource_type.to_owned();
        for token in &self.tokens {
            match index(token) {
                Some(index) => expression.push_str(&format!("[{index}]")),
                // The place after the last item is no element yet.
                None if token == "-" => {}
                None => {
                    expression.push('.');
                    expression.push_str(token);
                }
            }
        }
        expression
    }
}

fn unescape(token: &str) -> Result<String, PatchProblem> {
    let mut parts = token.split('~');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (character, rest) = match part.as_bytes().first() {
            Some(b'0') => ('~', &part[1..]),
            Some(b'1') => ('/', &part[1..]),
            _ => {
                return Err(PatchProblem::malformed(
                    "in a path, \"~\" is written \"~0\", and \"/\" within a name \"~1\"",
                ));
            }
        };
        plain.push(character);
        plain.push_str(rest);
    }
    Ok(plain)
}

/// The index of an array that a token says, without zeros before it.
pub(crate) fn index(token: &str) -> Option<usize> {
    let is_index = token == "0" || !token.starts_with('0');
    let all_digits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
    if is_index && all_digits { token.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::Pointer;

    fn tokens(text: &str) -> Option<Vec<String>> {
        Pointer::read(text).ok().map(|pointer| pointer.tokens)
    }

    #[test]
    fn names_are_unescaped_once() {
        // HTTP-115
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(tokens(text).unwrap(), expected, "{text}");
        };
        check("", &[]);
        check("/", &[""]);
        check("/a~1b/m~0n", &["a/b", "m~n"]);
        check("/~01", &["~1"]);
        check("/_birthDate/extension/0", &["_birthDate", "extension", "0"]);
        for bad in ["a", "a/b", "/~", "/~2", "/a~"] {
            assert_eq!(tokens(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_place_is_said_as_fhirpath() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Pointer::read(text).unwrap().expression("Patient"), expected);
        };
        check("", "Patient");
        check("/name/0/given/1", "Patient.name[0].given[1]");
        check("/name/-", "Patient.name");
        check("/_birthDate/id", "Patient._birthDate.id");
    }
}
