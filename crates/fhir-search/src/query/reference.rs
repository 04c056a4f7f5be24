//! References (FHIR R4, 3.1.1.4.13). Addresses of the server itself are local ones here.

use fhir_core::{ResourceId, ResourceType};

use super::TokenTest;
use super::uri::is_version_below;
use crate::ReferenceTarget;

/// What is asked of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferenceTest {
    /// A bare id: a resource of any of these types, which are all that the parameter may point
    /// to. Empty when it may point to any.
    Id {
        /// The id.
        id: ResourceId,
        /// The types.
        types: Vec<ResourceType>,
    },
    /// A resource of this server; a reference to any version of it counts when none is asked.
    Local {
        /// The type.
        resource_type: ResourceType,
        /// The id.
        id: ResourceId,
        /// The version.
        version: Option<Box<str>>,
    },
    /// An absolute URL or URN, to the letter; of a canonical one the version counts when one is
    /// asked.
    Url {
        /// The URL.
        url: Box<str>,
        /// The canonical's version.
        version: Option<Box<str>>,
    },
    /// `:below` of a canonical: this URL, with a version that is this or begins with it (`1` with
    /// `1.0`), whatever version when none is asked.
    CanonicalBelow {
        /// The URL.
        url: Box<str>,
        /// What the version begins with.
        version: Option<Box<str>>,
    },
    /// `:identifier`: what `Reference.identifier` says.
    Identifier(TokenTest),
    /// `:above` and `:below`: this resource, or one that is above or below it by this same
    /// parameter.
    Hierarchy {
        /// Which way.
        towards: Hierarchy,
        /// The type.
        resource_type: ResourceType,
        /// The id.
        id: ResourceId,
    },
}

/// Which way a hierarchy is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// To what it is a part of.
    Above,
    /// To what its parts are.
    Below,
}

impl ReferenceTest {
    /// Whether it holds of a reference that is literal, canonical or by identifier. None where
    /// more must be known than that: for [`ReferenceTest::Hierarchy`], and for
    /// [`ReferenceTest::Identifier`], whose test compares the identifier as any token.
    #[must_use]
    pub fn holds(&self, target: &ReferenceTarget<'_>) -> Option<bool> {
        let holds = match self {
            Self::Id { id, types } => match target {
                ReferenceTarget::Local { resource_type, id: stored, .. } => {
                    stored == id.as_str()
                        && (types.is_empty() || types.iter().any(|it| it.as_str() == resource_type))
                }
                _ => false,
            },
            Self::Local { resource_type, id, version } => match target {
                ReferenceTarget::Local {
                    resource_type: of,
                    id: stored,
                    version: stored_version,
                } => {
                    of == resource_type.as_str()
                        && stored == id.as_str()
                        && version.as_ref().is_none_or(|it| stored_version.as_deref() == Some(it))
                }
                _ => false,
            },
            Self::Url { url, version } => match target {
                ReferenceTarget::Url(stored) => version.is_none() && **stored == **url,
                ReferenceTarget::Canonical { url: stored, version: stored_version } => {
                    **stored == **url
                        && version.as_ref().is_none_or(|it| stored_version.as_deref() == Some(it))
                }
                _ => false,
            },
            Self::CanonicalBelow { url, version } => match target {
                ReferenceTarget::Canonical { url: stored, version: stored_version } => {
                    let below = |base: &str| {
                        stored_version.as_deref().is_some_and(|it| is_version_below(it, base))
                    };
                    **stored == **url && version.as_deref().is_none_or(below)
                }
                _ => false,
            },
            Self::Identifier(_) | Self::Hierarchy { .. } => return None,
        };
        Some(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::ReferenceTest;
    use crate::ReferenceTarget;
    use fhir_core::{ResourceId, ResourceType};

    const BASE: &str = "http://own/fhir";

    fn local(version: Option<&str>) -> ReferenceTest {
        ReferenceTest::Local {
            resource_type: ResourceType::new("Patient").unwrap(),
            id: ResourceId::new("1").unwrap(),
            version: version.map(Into::into),
        }
    }

    fn holds(test: &ReferenceTest, stored: &str) -> bool {
        test.holds(&ReferenceTarget::of_reference(stored.into(), Some(BASE))).unwrap()
    }

    #[test]
    fn a_resource_of_this_server_is_found_however_it_is_referred_to() {
        // SRCH-118, SRCH-119, SRCH-120, SRCH-127
        for stored in ["Patient/1", "http://own/fhir/Patient/1", "Patient/1/_history/2"] {
            assert!(holds(&local(None), stored), "{stored}");
        }
        for stored in ["http://other/Patient/1", "Group/1", "Patient/2", "#1"] {
            assert!(!holds(&local(None), stored), "{stored}");
        }
        assert!(holds(&local(Some("2")), "Patient/1/_history/2"));
        assert!(!holds(&local(Some("2")), "Patient/1"));
        let foreign = ReferenceTest::Url { url: "http://other/Patient/1".into(), version: None };
        assert!(holds(&foreign, "http://other/Patient/1") && !holds(&foreign, "Patient/1"));
    }

    #[test]
    fn a_canonical_reference_is_found_by_its_url_and_version() {
        // SRCH-122, SRCH-123, SRCH-124
        let stored = |text: &'static str| ReferenceTarget::of_canonical(text.into());
        let url = |version: Option<&str>| ReferenceTest::Url {
            url: "http://a/q".into(),
            version: version.map(Into::into),
        };
        let below = |version: Option<&str>| ReferenceTest::CanonicalBelow {
            url: "http://a/q".into(),
            version: version.map(Into::into),
        };
        let check = |test: ReferenceTest, found: [bool; 4]| {
            let all = ["http://a/q", "http://a/q|1.0", "http://a/q|1.1", "http://a/q|2.0"];
            assert_eq!(all.map(|it| test.holds(&stored(it)).unwrap()), found, "{test:?}");
        };
        check(url(None), [true; 4]);
        check(url(Some("1.0")), [false, true, false, false]);
        check(below(Some("1")), [false, true, true, false]);
        check(below(None), [true; 4]);
        let urn = ReferenceTest::Url { url: "urn:oid:1.2".into(), version: None };
        assert!(holds(&urn, "urn:oid:1.2") && !holds(&urn, "urn:oid:1.2.3"));
    }
}
