//! URIs, compared to the letter (FHIR R4, 3.1.1.4.15).

use fhir_core::{ResourceId, ResourceType};

/// What is asked of a URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UriTest {
    /// It is this.
    Is(Box<str>),
    /// `:below`: it is this, or begins with this and goes on with another segment.
    Below(Box<str>),
    /// `:above`: it is this, or this goes on from it with another segment.
    Above(Box<str>),
    /// A canonical URL, with whatever version when none is asked: `_profile`.
    Canonical {
        /// The URL.
        url: Box<str>,
        /// The version.
        version: Option<Box<str>>,
    },
    /// `:below` of a canonical URL with a version: this URL, with a version that is this or goes
    /// on from it with another part (`1` with `1.0`).
    VersionBelow {
        /// The URL.
        url: Box<str>,
        /// What the version begins with.
        version: Box<str>,
    },
    /// The canonical URL of this resource, or its address on this server: `_profile`.
    OfResource {
        /// The type.
        resource_type: ResourceType,
        /// The id.
        id: ResourceId,
    },
}

impl UriTest {
    /// Whether it holds of a URI; of [`UriTest::OfResource`] a URI alone does not tell, and it
    /// does not hold.
    #[must_use]
    pub fn holds(&self, uri: &str) -> bool {
        match self {
            Self::Is(wanted) => uri == &**wanted,
            Self::Below(wanted) => is_below(uri, wanted),
            Self::Above(wanted) => is_below(wanted, uri),
            Self::Canonical { url, version } => {
                let (stored, stored_version) = uri.split_once('|').unwrap_or((uri, ""));
                stored == &**url && version.as_deref().is_none_or(|it| it == stored_version)
            }
            Self::VersionBelow { url, version } => {
                let (stored, stored_version) = uri.split_once('|').unwrap_or((uri, ""));
                stored == &**url && is_version_below(stored_version, version)
            }
            Self::OfResource { .. } => false,
        }
    }
}

/// Whether `uri` is `base` or continues it with another segment of its path.
fn is_below(uri: &str, base: &str) -> bool {
    let base = base.strip_suffix('/').unwrap_or(base);
    uri.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '|']))
}

/// Whether a version is another one or goes on from it with another part.
pub(crate) fn is_version_below(version: &str, base: &str) -> bool {
    let rest = version.strip_prefix(base);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '+']))
}

#[cfg(test)]
mod tests {
    use super::UriTest;

    #[test]
    fn a_uri_is_compared_to_the_letter() {
        // SRCH-140, SRCH-034
        let test = UriTest::Is("http://acme.org/fhir#part".into());
        assert!(test.holds("http://acme.org/fhir#part"));
        for other in ["http://acme.org/fhir#part/", "http://acme.org/FHIR#part", "acme.org"] {
            assert!(!test.holds(other), "{other}");
        }
    }

    #[test]
    fn what_is_above_and_below_goes_by_segments() {
        // SRCH-141, SRCH-142
        let below = UriTest::Below("http://acme.org/fhir".into());
        assert!(below.holds("http://acme.org/fhir") && below.holds("http://acme.org/fhir/x/y"));
        assert!(!below.holds("http://acme.org/fhirx") && !below.holds("http://acme.org"));
        let above = UriTest::Above("http://acme.org/fhir/x".into());
        assert!(above.holds("http://acme.org/fhir") && above.holds("http://acme.org/fhir/x"));
        assert!(!above.holds("http://acme.org/f") && !above.holds("http://acme.org/fhir/x/y"));
    }

    #[test]
    fn a_canonical_url_is_compared_with_its_version_when_one_is_asked() {
        // SRCH-033
        let canonical = |version: Option<&str>| UriTest::Canonical {
            url: "http://a/p".into(),
            version: version.map(Into::into),
        };
        assert!(canonical(None).holds("http://a/p|1.0") && canonical(None).holds("http://a/p"));
        assert!(canonical(Some("1.0")).holds("http://a/p|1.0"));
        assert!(!canonical(Some("1.0")).holds("http://a/p|1.1"));
        assert!(!canonical(Some("1.0")).holds("http://a/p"));
        let below = UriTest::VersionBelow { url: "http://a/p".into(), version: "1".into() };
        assert!(below.holds("http://a/p|1.1") && !below.holds("http://a/p|10"));
    }
}
