//! Signature algorithms of tokens (RFC 7518, section 3.1, and RFC 8037): those that take a public
//! key. `none` and those that take a shared secret are not among them, so no configuration and no
//! token can ask for one.

use std::fmt;
use std::str::FromStr;

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RsaParameters, VerificationAlgorithm,
};

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the name that JOSE gives it")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Es256,
    Es384,
    EdDsa,
}

/// The text names no algorithm that is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of RS256, RS384, ES256, ES384 and EdDSA")]
pub struct InvalidAlgorithm(pub String);

impl Algorithm {
    /// Every algorithm, with its name.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Rs256, "RS256"),
        (Self::Rs384, "RS384"),
        (Self::Es256, "ES256"),
        (Self::Es384, "ES384"),
        (Self::EdDsa, "EdDSA"),
    ];

    /// Its name as tokens and keys write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }

    /// What checks it with a key of RSA's two numbers.
    pub(crate) fn of_rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            _ => None,
        }
    }

    /// What checks it with a point of a curve.
    pub(crate) fn of_curve(self) -> Option<&'static dyn VerificationAlgorithm> {
        match self {
            Self::Es256 => Some(&ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Some(&ECDSA_P384_SHA384_FIXED),
            Self::EdDsa => Some(&ED25519),
            _ => None,
        }
    }
}

impl FromStr for Algorithm {
    type Err = InvalidAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(known, _)| *known).ok_or_else(|| InvalidAlgorithm(text.to_owned()))
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
