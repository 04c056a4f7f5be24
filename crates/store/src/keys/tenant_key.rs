//! The tenant's key, which wraps all others: 256 random bits, kept outside the data.

use std::fmt;

use fhir_core::Ids;

/// A tenant's key. Prints nothing of it.
#[derive(Clone)]
pub struct TenantKey([u8; 32]);

/// The text is no tenant's key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tenant's key is one line of 64 hexadecimal digits")]
pub struct InvalidTenantKey;

impl TenantKey {
    /// A new random key.
    #[must_use]
    pub fn draw(ids: &dyn Ids) -> Self {
        let mut bytes = [0; 32];
        ids.fill(&mut bytes);
        Self(bytes)
    }

    /// Reads a key: 64 hexadecimal digits, white space around them ignored.
    ///
    /// # Errors
    /// [`InvalidTenantKey`] when the text is anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidTenantKey> {
        let digits = text.trim().as_bytes();
        if digits.len() != 64 {
            return Err(InvalidTenantKey);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(InvalidTenantKey);
            let value = digit(0)? << 4 | digit(1)?;
            *byte = u8::try_from(value).expect("two hexadecimal digits are a byte");
        }
        // Nobody draws it; a file of zeros is one that was never written.
        if bytes == [0; 32] { Err(InvalidTenantKey) } else { Ok(Self(bytes)) }
    }

    /// The text that [`TenantKey::parse`] reads: for the one file that keeps it.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TenantKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TenantKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::TenantKey;

    #[test]
    fn a_key_is_read_from_the_text_it_gives_and_prints_nothing() {
        let text = "00ff".repeat(16);
        let key = TenantKey::parse(&format!("{text}\n")).unwrap();
        assert_eq!(key.to_text(), text);
        assert_eq!(format!("{key:?}"), "TenantKey([redacted])");
        for bad in ["", "00", &"0g".repeat(32), &"00".repeat(32), &"00".repeat(33)] {
            assert!(TenantKey::parse(bad).is_err(), "{bad}");
        }
    }
}
