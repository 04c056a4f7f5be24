//! The name of a tenant: the folder of its database.

use std::fmt;
use std::sync::Arc;

/// 1 to 64 characters of `A-Z a-z 0-9 - _ .`, not beginning with a dot, so that it can be a
/// path's component; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantText(Arc<str>);

/// The text cannot name a tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tenant's name has 1 to 64 characters of A-Z a-z 0-9 - _ . and begins with no dot")]
pub struct InvalidTenant;

impl TenantText {
    /// The longest name, in characters.
    pub const MAX_LENGTH: usize = 64;

    /// Reads a tenant's name.
    ///
    /// # Errors
    /// [`InvalidTenant`] when the text is empty, too long, begins with a dot or has another
    /// character than those allowed.
    pub fn new(text: &str) -> Result<Self, InvalidTenant> {
        if Self::is_valid(text) { Ok(Self(Arc::from(text))) } else { Err(InvalidTenant) }
    }

    /// Whether `text` can name a tenant.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (1..=Self::MAX_LENGTH).contains(&text.len())
            && !text.starts_with('.')
            && text.bytes().all(allowed)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for TenantText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::TenantText;

    #[test]
    fn a_tenants_name_is_one_harmless_component_of_a_path() {
        for good in ["default", "Clinic_2", "a.b-c", &"x".repeat(64)] {
            assert_eq!(TenantText::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "ä", "a\0", &"x".repeat(65)] {
            assert!(TenantText::new(bad).is_err(), "{bad:?}");
        }
    }
}
