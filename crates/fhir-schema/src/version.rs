//! Versions of packages and definitions: their order, and which version a dependency or a
//! canonical asks for (FHIR NPM package specification, "Package versions").
//!
//! Numbers compare as numbers, a pre-release (`6.0.0-ballot`) comes before its release, and what
//! is no number compares as text, so that any two versions have one order.

use std::cmp::Ordering;

/// Compares two versions.
#[must_use]
pub fn compare(one: &str, other: &str) -> Ordering {
    let (one_release, one_label) = split(one);
    let (other_release, other_label) = split(other);
    let by_release = compare_parts(one_release, other_release);
    by_release
        .then_with(|| match (one_label, other_label) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(one), Some(other)) => compare_parts(one, other),
        })
        .then_with(|| one.cmp(other))
}

/// The release and, after the first hyphen, the label. Build metadata after `+` does not order.
fn split(version: &str) -> (&str, Option<&str>) {
    let version = version.split_once('+').map_or(version, |(before, _)| before);
    match version.split_once('-') {
        Some((release, label)) => (release, Some(label)),
        None => (version, None),
    }
}

fn compare_parts(one: &str, other: &str) -> Ordering {
    let mut ones = one.split('.');
    let mut others = other.split('.');
    loop {
        let order = match (ones.next(), others.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
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

/// Whether a version is what a dependency asks for: exactly that one, any patch (`4.0.x`, `4.0`),
/// any at all (`latest`, `current`, `dev`, `*`), or npm's `^1.2.0` and `~1.2.0`.
#[must_use]
pub fn satisfies(version: &str, wanted: &str) -> bool {
    let wanted = wanted.trim();
    if version == wanted || matches!(wanted, "" | "*" | "x" | "latest" | "current" | "dev") {
        return true;
    }
    if wanted.starts_with("current$") {
        return true;
    }
    if let Some(least) = wanted.strip_prefix('^') {
        let fixed = usize::from(least.starts_with("0.")) + 1;
        return same_parts(version, least, fixed) && compare(version, least).is_ge();
    }
    if let Some(least) = wanted.strip_prefix('~') {
        return same_parts(version, least, 2) && compare(version, least).is_ge();
    }
    let prefix = wanted.trim_end_matches(".x").trim_end_matches(".*");
    let open_ended = prefix.len() < wanted.len() || prefix.split('.').count() < 3;
    open_ended && is_within(version, prefix)
}

/// The release of FHIR whose core package has this name: `4.0` of `hl7.fhir.r4.core`.
#[must_use]
pub fn core_release(name: &str) -> Option<&'static str> {
    Some(match name.strip_prefix("hl7.fhir.")?.strip_suffix(".core")? {
        "r2" => "1.0",
        "r3" => "3.0",
        "r4" => "4.0",
        "r4b" => "4.3",
        "r5" => "5.0",
        "r6" => "6.0",
        _ => return None,
    })
}

/// Whether a version is a more exact form of another: `4.0.1` of `4.0`.
#[must_use]
pub fn is_within(version: &str, prefix: &str) -> bool {
    version.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn same_parts(one: &str, other: &str, count: usize) -> bool {
    split(one).0.split('.').take(count).eq(split(other).0.split('.').take(count))
}

/// The release of FHIR that a FHIR version belongs to: its first two numbers (`4.0` is R4, `4.3`
/// R4B, `5.0` R5).
#[must_use]
pub fn fhir_release(fhir_version: &str) -> &str {
    let end = fhir_version.match_indices('.').nth(1).map_or(fhir_version.len(), |(at, _)| at);
    &fhir_version[..end]
}

/// What people call that release, for messages.
#[must_use]
pub fn fhir_release_name(fhir_version: &str) -> &str {
    match fhir_release(fhir_version) {
        "1.0" => "DSTU2",
        "3.0" => "STU3",
        "4.0" => "R4",
        "4.3" => "R4B",
        "5.0" => "R5",
        "6.0" => "R6",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::{compare, fhir_release_name, satisfies};

    #[test]
    fn versions_have_one_order_with_pre_releases_before_their_release() {
        let ordered = [
            "1.0.0",
            "1.0.1-rc.1",
            "1.0.1-rc.2",
            "1.0.1",
            "1.2.0",
            "1.10.0",
            "2.0.0-ballot",
            "2.0.0",
        ];
        for pair in ordered.windows(2) {
            assert!(compare(pair[0], pair[1]).is_lt(), "{pair:?}");
            assert!(compare(pair[1], pair[0]).is_gt(), "{pair:?}");
        }
        assert!(compare("1.0.0", "1.0.0").is_eq());
        assert!(compare("20240101", "20230101").is_gt());
    }

    #[test]
    fn a_dependency_asks_for_one_version_a_patch_level_or_any() {
        for (version, wanted, expected) in [
            ("4.0.1", "4.0.1", true),
            ("4.0.1", "4.0.x", true),
            ("4.0.1", "4.0", true),
            ("4.10.1", "4.1.x", false),
            ("4.1.0", "4.0.x", false),
            ("4.0.11", "4.0.1", false),
            ("6.1.0", "current", true),
            ("6.1.0", "latest", true),
            ("6.1.0", "^6.0.0", true),
            ("7.0.0", "^6.0.0", false),
            ("6.0.0", "^6.1.0", false),
            ("0.3.0", "^0.2.0", false),
            ("6.1.3", "~6.1.0", true),
            ("6.2.0", "~6.1.0", false),
        ] {
            assert_eq!(satisfies(version, wanted), expected, "{version} for {wanted}");
        }
    }

    #[test]
    fn a_fhir_version_belongs_to_a_release() {
        for (version, name) in
            [("4.0.1", "R4"), ("4.3.0", "R4B"), ("5.0.0", "R5"), ("9.1.2", "9.1")]
        {
            assert_eq!(fhir_release_name(version), name);
        }
    }
}
