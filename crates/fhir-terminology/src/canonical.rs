//! Canonical URLs (FHIR R4, 2.24.0.4) and the order of business versions.

use std::cmp::Ordering;
use std::fmt;

/// `url|version` or `url`, a fragment left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Canonical<'a> {
    /// The URL.
    pub url: &'a str,
    /// The version, where one is named.
    pub version: Option<&'a str>,
}

impl<'a> Canonical<'a> {
    /// Reads a canonical; any text is one.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        match text.split_once('|') {
            Some((url, version)) if !version.is_empty() => Self { url, version: Some(version) },
            Some((url, _)) => Self { url, version: None },
            None => Self { url: text, version: None },
        }
    }
}

impl fmt::Display for Canonical<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.url)?;
        self.version.map_or(Ok(()), |version| write!(formatter, "|{version}"))
    }
}

/// Orders business versions: numbers as numbers, other parts as text, a pre-release (`1.0.0-rc`)
/// before its release. Dates and plain numbers come out as expected too.
#[must_use]
pub fn compare_versions(one: &str, other: &str) -> Ordering {
    let split = |text| {
        let (release, rest) = str::split_once(text, '-').unwrap_or((text, ""));
        // `2019-09-01` is no pre-release of 2019.
        if rest.starts_with(|first: char| first.is_ascii_digit()) {
            (text, "")
        } else {
            (release, rest)
        }
    };
    let ((one, one_pre), (other, other_pre)) = (split(one), split(other));
    compare_parts(one, other).then_with(|| match (one_pre.is_empty(), other_pre.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => compare_parts(one_pre, other_pre),
    })
}

fn compare_parts(one: &str, other: &str) -> Ordering {
    let separators: &[char] = &['.', '-', '+', '_'];
    let (mut one, mut other) = (one.split(separators), other.split(separators));
    loop {
        let order = match (one.next(), other.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(one), Some(other)) => match (one.parse::<u64>(), other.parse::<u64>()) {
                (Ok(one), Ok(other)) => one.cmp(&other),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => one.cmp(other),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Canonical, compare_versions};
    use std::cmp::Ordering;

    #[test]
    fn a_canonical_is_a_url_with_or_without_a_version() {
        // TERM-002
        assert_eq!(Canonical::parse("http://x|1").version, Some("1"));
        assert_eq!(Canonical::parse("http://x|").version, None);
        assert_eq!(Canonical::parse("http://x").to_string(), "http://x");
        assert_eq!(Canonical::parse("http://x|1").to_string(), "http://x|1");
    }

    #[test]
    fn versions_are_ordered_as_semantic_versions_numbers_and_dates() {
        // TERM-004
        for (less, more) in [
            ("1.9.0", "1.10.0"),
            ("1.0.0-rc1", "1.0.0"),
            ("2018-12-31", "2019-01-01"),
            ("20190101", "20200101"),
            ("4.0", "4.0.1"),
            ("1.0.0-alpha", "1.0.0-beta"),
        ] {
            assert_eq!(compare_versions(less, more), Ordering::Less, "{less} {more}");
            assert_eq!(compare_versions(more, less), Ordering::Greater, "{more} {less}");
        }
        assert_eq!(compare_versions("1.2", "1.2"), Ordering::Equal);
    }
}
