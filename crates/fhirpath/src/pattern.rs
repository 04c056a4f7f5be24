//! Regular expressions (N1 5.6.9 to 5.6.11): compiled within bounds, with what they cost. Matching
//! takes linear time, whatever the pattern: the length of the text by the size of the program.

use std::borrow::Cow;

use regex::{Error, Regex, RegexBuilder};

/// Bytes that a pattern's program may take, tried in this order: the first that is enough says
/// how large the program is. None may be larger than the last.
const SIZES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// What a pattern has to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Any part of the text: `matches()`.
    Anywhere,
    /// All of it: `matchesFull()`.
    Whole,
}

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    size: usize,
}

impl Pattern {
    /// A dot is any character, line breaks included. The error says what is wrong.
    pub(crate) fn compile(pattern: &str, extent: Extent) -> Result<Self, String> {
        let build = |pattern: &str, size: usize| {
            RegexBuilder::new(pattern).dot_matches_new_line(true).size_limit(size).build()
        };
        let whole = match extent {
            Extent::Anywhere => Cow::Borrowed(pattern),
            Extent::Whole => {
                // It has to be a pattern by itself: `a)|(?:b` is one only inside parentheses. Too
                // large for no bytes at all is what every pattern is.
                match build(pattern, 0) {
                    Ok(_) | Err(Error::CompiledTooBig(_)) => {}
                    Err(error) => return Err(error.to_string()),
                }
                Cow::Owned(format!("^(?:{pattern})$"))
            }
        };
        let mut last = String::new();
        for size in SIZES {
            match build(&whole, size) {
                Ok(regex) => return Ok(Self { regex, size }),
                Err(error @ Error::CompiledTooBig(_)) => last = error.to_string(),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(last)
    }

    pub(crate) fn regex(&self) -> &Regex {
        &self.regex
    }

    /// Bytes that the program takes at most.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Steps that compiling it is worth.
    pub(crate) fn cost(&self) -> u64 {
        self.size as u64 / 16
    }

    /// Steps that going through a text of so many bytes is worth.
    pub(crate) fn cost_of_matching(&self, length: usize) -> u64 {
        1 + (length as u64).saturating_mul(self.size as u64 >> 10) / 16
    }
}

/// A substitute as `replaceMatches()` takes it, in the form that the library knows: `$1x` is the
/// first group and an `x`, not a group of the name `1x`.
pub(crate) fn substitute_of(text: &str) -> Cow<'_, str> {
    if !text.contains('$') {
        return Cow::Borrowed(text);
    }
    let mut substitute = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        substitute.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            substitute.push('{');
            substitute.push_str(&rest[..digits]);
            substitute.push('}');
            rest = &rest[digits..];
        } else if let Some(after) = rest.strip_prefix('$') {
            substitute.push('$');
            rest = after;
        }
    }
    substitute.push_str(rest);
    Cow::Owned(substitute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_for_a_whole_text_cannot_leave_its_parentheses() {
        let whole = |pattern: &str| Pattern::compile(pattern, Extent::Whole);
        assert!(whole("a|ab").unwrap().regex().is_match("ab"));
        assert!(!whole("a|ab").unwrap().regex().is_match("abc"));
        for pattern in ["a)|(?:b", "(a", "a)"] {
            assert!(whole(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_larger_program_costs_more() {
        let pattern = |text: &str| Pattern::compile(text, Extent::Anywhere).unwrap();
        let (small, large) = (pattern("a"), pattern("(a|b){2000}"));
        assert!(small.size() < large.size());
        assert!(small.cost() * 10 < large.cost());
        assert!(small.cost_of_matching(10_000) * 10 < large.cost_of_matching(10_000));
        assert!(Pattern::compile("(((a{100}){100}){100})", Extent::Anywhere).is_err());
    }

    #[test]
    fn a_reference_to_a_group_ends_with_its_digits() {
        for (given, expected) in [
            ("$1x", "${1}x"),
            ("$12$3", "${12}${3}"),
            ("$$1", "$$1"),
            ("a$", "a$"),
            ("${name}$0", "${name}${0}"),
            ("none", "none"),
        ] {
            assert_eq!(substitute_of(given), expected);
        }
    }
}
