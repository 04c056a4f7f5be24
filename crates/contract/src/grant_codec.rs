//! The grant as a header, and whether it is for this request.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserializer as _;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};

use crate::{Grant, GrantError, Interaction, digest};

/// The names of the members, as `critical` may list them.
pub(crate) const MEMBERS: &str = "tenant client user fhirUser authorization patient encounter \
    purpose breakGlass rules powers lane budget notAfter interaction digest nonce critical";

/// The grant was made for another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// Method, path or query differ.
    #[error("the grant is for another method, path or query")]
    Digest,
    /// The two sides understand the request differently.
    #[error("the grant is for another interaction")]
    Classification,
}

impl Grant {
    /// The value of [`header::GRANT`](crate::header::GRANT).
    ///
    /// # Errors
    /// [`GrantError::TooLong`]: a grant is never cut.
    pub fn encode(&self) -> Result<String, GrantError> {
        let json = serde_json::to_vec(&**self).map_err(GrantError::NotJson)?;
        let header = URL_SAFE_NO_PAD.encode(json);
        let fits = header.len() <= Self::MAX_LENGTH;
        fits.then_some(header.len()).ok_or(GrantError::TooLong(header.len()))?;
        Ok(header)
    }

    /// Reads a header. Unknown members are ignored unless `critical` lists them; names given
    /// twice are refused; everything that [`Grant::new`] judges is judged again.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn decode(header: &str) -> Result<Self, GrantError> {
        if header.len() > Self::MAX_LENGTH {
            return Err(GrantError::TooLong(header.len()));
        }
        let json = URL_SAFE_NO_PAD.decode(header).map_err(GrantError::NotBase64)?;
        let names = serde_json::Deserializer::from_slice(&json).deserialize_map(DistinctNames);
        let fields = names.and_then(|()| serde_json::from_slice(&json));
        Self::new(fields.map_err(GrantError::NotJson)?)
    }

    /// Whether this grant was made for this request, understood in this way.
    ///
    /// # Errors
    /// [`Disagreement`].
    pub fn agrees(
        &self,
        method: &str,
        path: &str,
        query: Option<&str>,
        interaction: &Interaction,
    ) -> Result<(), Disagreement> {
        if self.digest != digest(method, path, query) {
            return Err(Disagreement::Digest);
        }
        let same = self.interaction == interaction.code();
        same.then_some(()).ok_or(Disagreement::Classification)
    }
}

/// Looks through an object's names: none may stand twice, not even an unknown one.
struct DistinctNames;

impl<'de> Visitor<'de> for DistinctNames {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen: Vec<&'de str> = Vec::with_capacity(18);
        // Names are borrowed: one written with escapes is refused as well.
        while let Some((name, IgnoredAny)) = map.next_entry()? {
            if seen.contains(&name) {
                return Err(A::Error::custom("a name given twice"));
            }
            seen.push(name);
        }
        Ok(())
    }
}
