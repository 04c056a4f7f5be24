//! References: to resources of this server by ordinal, to all else by text.

use std::borrow::Cow;

use super::{KeyRange, Reader, Writer};
use crate::documents::Ordinal;

const LOCAL: u8 = 0;
const URL: u8 = 1;
const CANONICAL: u8 = 2;
const NOWHERE: u8 = 3;

/// What a reference points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReferenceKey<'k> {
    /// A resource of this server, or one that is contained.
    Local { ordinal: Ordinal, version: Option<Cow<'k, str>> },
    /// Whatever has this address.
    Url(Cow<'k, str>),
    /// What has this canonical URL.
    Canonical { url: Cow<'k, str>, version: Option<Cow<'k, str>> },
    /// Nothing that has an address: it is by identifier alone, or to what is not contained.
    Nowhere,
}

/// The key of a reference to a resource of this server, or what it begins with.
pub(crate) fn local_key(ordinal: Ordinal) -> Writer {
    Writer::default().byte(LOCAL).bytes(&ordinal.0.to_be_bytes())
}

/// The key of a reference by URL.
pub(crate) fn url_key(url: &str) -> Vec<u8> {
    Writer::default().byte(URL).text(url).finish()
}

/// The key of a reference that points at nothing that is known. It is a value all the same.
pub(crate) fn nowhere_key() -> Vec<u8> {
    vec![NOWHERE]
}

/// What the key of a canonical begins with.
pub(crate) fn canonical_prefix(url: &str) -> Writer {
    Writer::default().byte(CANONICAL).text(url)
}

/// The keys of all canonicals.
pub(crate) fn canonicals() -> KeyRange {
    KeyRange::prefix(vec![CANONICAL])
}

/// What a key points at.
pub(crate) fn read_reference_key(key: &[u8]) -> Option<ReferenceKey<'_>> {
    let mut reader = Reader::new(key);
    Some(match reader.byte()? {
        LOCAL => {
            let ordinal = Ordinal(u32::from_be_bytes(reader.bytes(4)?.try_into().ok()?));
            ReferenceKey::Local { ordinal, version: reader.optional()? }
        }
        URL => ReferenceKey::Url(reader.text()?),
        NOWHERE => ReferenceKey::Nowhere,
        _ => ReferenceKey::Canonical { url: reader.text()?, version: reader.optional()? },
    })
}

/// The resource of this server that a key points at.
pub(crate) fn local_ordinal(key: &[u8]) -> Option<Ordinal> {
    let (ordinal, rest) = key.strip_prefix(&[LOCAL])?.split_first_chunk()?;
    (!rest.is_empty()).then(|| Ordinal(u32::from_be_bytes(*ordinal)))
}
