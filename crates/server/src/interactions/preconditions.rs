//! The conditional headers (RFC 9110, 13.1; FHIR R4 3.1.0.1.2 and 3.1.0.3.1).

use database::Expect;
use fhir_core::{Instant, VersionId};

use crate::call::Conditions;
use crate::error::ServerError;

/// The tags of a list: `W/"3"`, `"3"` and bare `3`; `None` for `*`.
fn tags(list: &str) -> Option<Vec<&str>> {
    if list.trim() == "*" {
        return None;
    }
    Some(
        list.split(',')
            .map(|tag| {
                let tag = tag.trim();
                tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"')
            })
            .collect(),
    )
}

/// Whether a read may answer 304: `If-None-Match` decides where it is given, else
/// `If-Modified-Since` to the second (HTTP-038 to HTTP-040).
pub(crate) fn not_modified(conditions: &Conditions, version: VersionId, instant: Instant) -> bool {
    if let Some(list) = &conditions.if_none_match {
        let version = version.to_string();
        return tags(list).is_none_or(|tags| tags.contains(&version.as_str()));
    }
    let since = conditions.if_modified_since.as_ref();
    let since = since.and_then(|date| httpdate::parse_http_date(date).ok());
    let since = since.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    since.is_some_and(|since| {
        i64::try_from(since.as_secs()).is_ok_and(|since| instant.as_seconds() <= since)
    })
}

/// What a write expects by `If-Match` and `If-None-Match`.
///
/// # Errors
/// [`ServerError::InvalidCondition`] when one cannot be read.
pub(crate) fn expected(conditions: &Conditions) -> Result<Expect, ServerError> {
    if let Some(list) = &conditions.if_match {
        let invalid = || ServerError::InvalidCondition { header: "If-Match" };
        let Some(tags) = tags(list) else {
            return Ok(Expect::Exists);
        };
        if tags.iter().any(|tag| tag.is_empty()) {
            return Err(invalid());
        }
        // A tag that is no version of ours matches nothing, which is no error of syntax.
        return Ok(Expect::Versions(tags.iter().filter_map(|tag| tag.parse().ok()).collect()));
    }
    match conditions.if_none_match.as_deref().map(str::trim) {
        None => Ok(Expect::Any),
        Some("*") => Ok(Expect::Absent),
        Some(_) => Err(ServerError::InvalidCondition { header: "If-None-Match" }),
    }
}

#[cfg(test)]
mod tests {
    use super::{expected, not_modified};
    use crate::call::Conditions;
    use database::Expect;
    use fhir_core::{Instant, VersionId};
    use proptest::prelude::*;

    fn if_match(value: &str) -> Option<Expect> {
        let conditions = Conditions { if_match: Some(value.into()), ..Conditions::default() };
        expected(&conditions).ok()
    }

    #[test]
    fn if_match_is_read_in_every_form() {
        // HTTP-033, HTTP-037
        let versions = |numbers: &[u64]| {
            Some(Expect::Versions(numbers.iter().map(|n| VersionId::new(*n).unwrap()).collect()))
        };
        for form in ["W/\"3\"", "\"3\"", "3"] {
            assert_eq!(if_match(form), versions(&[3]), "{form}");
        }
        assert_eq!(if_match("W/\"1\", W/\"2\""), versions(&[1, 2]));
        assert_eq!(if_match("W/\"abc\""), versions(&[]));
        assert_eq!(if_match("*"), Some(Expect::Exists));
        assert_eq!(if_match("W/\"\""), None);
    }

    #[test]
    fn if_none_match_wins_over_if_modified_since() {
        // HTTP-038, HTTP-039, HTTP-040
        let instant: Instant = "2026-01-02T03:04:05.678901Z".parse().unwrap();
        let check = |none_match: Option<&str>, since: Option<&str>| {
            let conditions = Conditions {
                if_none_match: none_match.map(str::to_owned),
                if_modified_since: since.map(str::to_owned),
                ..Conditions::default()
            };
            not_modified(&conditions, VersionId::FIRST, instant)
        };
        let (same, before) = ("Fri, 02 Jan 2026 03:04:05 GMT", "Fri, 02 Jan 2026 03:04:04 GMT");
        assert!(check(Some("W/\"1\""), None));
        assert!(check(Some("W/\"9\", W/\"1\""), None));
        assert!(!check(Some("W/\"2\""), None));
        assert!(check(None, Some(same)));
        assert!(!check(None, Some(before)));
        assert!(!check(None, Some("yesterday")));
        assert!(!check(Some("W/\"2\""), Some(same)));
        assert!(check(Some("W/\"1\""), Some(before)));
        assert!(!check(None, None));
    }

    proptest! {
        #[test]
        fn any_condition_is_read_or_refused(
            tag in "[W/\\\\\"*, 0-9é]{0,16}",
            date in r"\PC{0,40}",
            version in 1_u64..20,
        ) {
            let version = VersionId::new(version).unwrap();
            let conditions = Conditions {
                if_match: Some(tag.clone()),
                if_none_match: None,
                if_modified_since: Some(date),
                if_none_exist: None,
            };
            if let Ok(Expect::Versions(versions)) = expected(&conditions) {
                // What matches by one header is what does not have to be sent by the other.
                let none_match = Conditions { if_none_match: Some(tag), ..Conditions::default() };
                let instant = Instant::from_micros(0);
                prop_assert_eq!(
                    versions.contains(&version),
                    not_modified(&none_match, version, instant)
                );
            }
            not_modified(&conditions, version, Instant::from_micros(0));
        }
    }
}
