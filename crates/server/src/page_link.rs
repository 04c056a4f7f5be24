//! Links to other pages of an answer (FHIR R4, 3.1.1.3.4): what the server must know to go on is
//! in the link itself, sealed, so that it holds no memory of it and a client learns nothing from
//! it and can change nothing in it.
//!
//! A link is AES-256-GCM over its instant and content, under a key that is kept with the data; the
//! additional data is who asks, by which rules, and what is asked for, so that nobody else's link
//! opens, and none for another URL. It lives 24 hours. Here nothing is known of what goes on.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::Grant;
use fhir_core::{Clock, Ids, Instant};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::call::Call;
use crate::error::ServerError;

/// The parameter that carries what is sealed.
pub(crate) const PARAMETER: &str = "_page";

/// How long a link lives, in microseconds.
const LIFE: i64 = 24 * 3600 * 1_000_000;
/// How far the clock may have gone back since a link was made, in microseconds.
const SLACK: i64 = 60 * 1_000_000;
const INSTANT: usize = 8;
/// What else might ever be sealed under the same key begins with something else.
const PURPOSE: &[u8] = b"hearthgate page 1";

/// The key that page links are sealed with. Shows nothing of itself.
#[derive(Clone)]
pub struct PageKey(Arc<LessSafeKey>);

impl PageKey {
    /// Bytes of a key.
    pub const LENGTH: usize = 32;

    /// The key of these bytes, which must be secret and random.
    #[must_use]
    pub fn new(bytes: &[u8; Self::LENGTH]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("AES-256 has keys of 32 bytes");
        Self(Arc::new(LessSafeKey::new(key)))
    }

    fn seal(&self, nonce: [u8; NONCE_LEN], binding: &[u8], content: &[u8]) -> String {
        let mut sealed = content.to_vec();
        let own = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(own, Aad::from(binding), &mut sealed);
        let tag = tag.expect("what a page link holds is far below the most that is sealed");
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&sealed);
        bytes.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn open(&self, binding: &[u8], text: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let content = self.0.open_in_place(nonce, Aad::from(binding), &mut sealed).ok()?;
        Some(content.to_vec())
    }
}

impl fmt::Debug for PageKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PageKey")
    }
}

/// What a call's links are made and read with.
pub(crate) struct PageLinks<'a> {
    key: &'a PageKey,
    clock: &'a dyn Clock,
    ids: &'a dyn Ids,
    binding: Vec<u8>,
}

impl<'a> PageLinks<'a> {
    /// The links of a call for what lies at `path`, relative to the base.
    pub(crate) fn of(call: &'a Call<'_>, path: &str) -> Self {
        let server = call.server;
        Self {
            key: &server.page_key,
            clock: server.clock.as_ref(),
            ids: server.ids.as_ref(),
            binding: binding(call.grant, call.interaction.code(), path),
        }
    }

    /// The value of [`PARAMETER`] that says `content`.
    pub(crate) fn seal(&self, content: &[u8]) -> String {
        let mut nonce = [0; NONCE_LEN];
        self.ids.fill(&mut nonce);
        let mut all = self.clock.now().as_micros().to_be_bytes().to_vec();
        all.extend_from_slice(content);
        self.key.seal(nonce, &self.binding, &all)
    }

    /// What the value of [`PARAMETER`] says.
    pub(crate) fn open(&self, text: &str) -> Result<Vec<u8>, ServerError> {
        let mut all = self.key.open(&self.binding, text).ok_or(ServerError::PageLinkInvalid)?;
        let made = all.first_chunk::<INSTANT>().ok_or(ServerError::PageLinkInvalid)?;
        let made = Instant::from_micros(i64::from_be_bytes(*made)).as_micros();
        let age = self.clock.now().as_micros().saturating_sub(made);
        if !(-SLACK..=LIFE).contains(&age) {
            return Err(ServerError::PageLinkExpired);
        }
        Ok(all.split_off(INSTANT))
    }
}

/// Who asks, by which rules, and for what: no two of them give the same bytes.
fn binding(grant: &Grant, interaction: &str, path: &str) -> Vec<u8> {
    let rules = serde_json::to_vec(&grant.rules).expect("rules are plain data");
    let text = |text: &Option<String>| text.as_deref().map(|text| text.as_bytes().to_vec());
    let fields = [
        Some(PURPOSE.to_vec()),
        Some(grant.tenant.to_string().into_bytes()),
        text(&grant.client),
        text(&grant.user),
        grant.patient.as_ref().map(|id| id.as_str().as_bytes().to_vec()),
        grant.encounter.as_ref().map(|id| id.as_str().as_bytes().to_vec()),
        grant.fhir_user.as_ref().map(|user| user.to_string().into_bytes()),
        Some(rules),
        Some(interaction.as_bytes().to_vec()),
        Some(path.as_bytes().to_vec()),
    ];
    let mut binding = Vec::new();
    for field in fields {
        // What is absent differs from what is empty.
        let length = field.as_ref().map_or(u64::MAX, |field| field.len() as u64);
        binding.extend_from_slice(&length.to_be_bytes());
        binding.extend_from_slice(&field.unwrap_or_default());
    }
    binding
}

#[cfg(test)]
mod tests {
    use super::PageKey;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    #[test]
    fn what_was_sealed_opens_as_it_was_and_only_so() {
        let key = PageKey::new(&[7; 32]);
        let sealed = key.seal([1; 12], b"who", b"content");
        assert_eq!(key.open(b"who", &sealed).as_deref(), Some(b"content".as_slice()));
        assert_eq!(key.open(b"whom", &sealed), None);
        assert_eq!(PageKey::new(&[8; 32]).open(b"who", &sealed), None);
        let bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(key.open(b"who", &URL_SAFE_NO_PAD.encode(&changed)), None, "{at}");
            assert_eq!(key.open(b"who", &URL_SAFE_NO_PAD.encode(&bytes[..at])), None, "{at}");
        }
        for text in ["", "x", "äö", "a b", &"A".repeat(10_000)] {
            assert_eq!(key.open(b"who", text), None, "{text}");
        }
    }

    #[test]
    fn a_key_shows_nothing_of_itself() {
        assert_eq!(format!("{:?}", PageKey::new(&[7; 32])), "PageKey");
    }
}
