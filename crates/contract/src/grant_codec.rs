//! The grant as a header, and whether it is for this request.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::{Deserialize as _, Deserializer as _};

use crate::{Grant, GrantError, GrantFields, Interaction, digest};

/// The names of the members, as `critical` may list them.
pub(crate) const MEMBERS: &str = "tenant client user role fhirUser authorization patient \
    encounter purpose breakGlass rules powers lane budget notAfter interaction digest nonce critical";

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
        let mut text = serde_json::Deserializer::from_slice(&json);
        let fields = text.deserialize_map(DistinctNames);
        let fields = fields.and_then(|fields| text.end().map(|()| fields));
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

/// Reads the members of an object whose names differ: none may stand twice, not even an unknown
/// one.
struct DistinctNames;

impl<'de> Visitor<'de> for DistinctNames {
    type Value = GrantFields;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<GrantFields, A::Error> {
        let members = Members { map, seen: Vec::with_capacity(18) };
        GrantFields::deserialize(MapAccessDeserializer::new(members))
    }
}

/// An object's members, their names looked at on the way.
struct Members<'de, A> {
    map: A,
    seen: Vec<&'de str>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        // Names are borrowed: one written with escapes is refused as well.
        let Some(name) = self.map.next_key::<&'de str>()? else { return Ok(None) };
        if self.seen.contains(&name) {
            return Err(A::Error::custom("a name given twice"));
        }
        self.seen.push(name);
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
