//! The keys and values of the derived state.
//!
//! | tree | key | value |
//! |---|---|---|
//! | `versions` | type, 0, id, 0, `t` inverted | [`Pointer`] |
//! | `identifiers` | type, 0, length of the identifier's key (1), identifier's key, id | first `t` |
//!
//! Types and ids hold no zero byte. Positions are big-endian in keys, inverted so that a
//! resource's newest version comes first.

use std::ops::RangeInclusive;

use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use store::{BodyCoding, IdentifierKey, Location, T, VersionEntry, VersionFlags};

const POSITION: usize = 8;

/// Where a version lies and what is known without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    /// The number of the resource within its tenant. Reserved: 0.
    pub(crate) ordinal: u32,
    pub(crate) version: VersionId,
    pub(crate) flags: VersionFlags,
    pub(crate) dictionary: BodyCoding,
    pub(crate) json_length: u32,
    pub(crate) instant: Instant,
}

/// Bytes of a pointer.
pub(crate) const POINTER: usize = 8 + 8 + 4 + 4 + 8 + 1 + 4 + 4 + 8;

impl Pointer {
    pub(crate) fn encode(&self) -> [u8; POINTER] {
        let mut bytes = [0; POINTER];
        bytes[0..8].copy_from_slice(&self.segment.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.length.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.ordinal.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.version.get().to_le_bytes());
        bytes[32] = self.flags.bits();
        bytes[33..37].copy_from_slice(&self.dictionary.0.to_le_bytes());
        bytes[37..41].copy_from_slice(&self.json_length.to_le_bytes());
        bytes[41..49].copy_from_slice(&self.instant.as_micros().to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; POINTER] = bytes.try_into().ok()?;
        let eight = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let four = |at: usize| bytes[at..at + 4].try_into().map(u32::from_le_bytes).ok();
        Some(Self {
            segment: eight(0)?,
            offset: eight(8)?,
            length: four(16)?,
            ordinal: four(20)?,
            version: VersionId::new(eight(24)?)?,
            flags: VersionFlags::from_bits(bytes[32])?,
            dictionary: BodyCoding(four(33)?),
            json_length: four(37)?,
            instant: Instant::from_micros(eight(41)? as i64),
        })
    }

    /// The entry of this version of a resource.
    pub(crate) fn entry(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        t: T,
    ) -> VersionEntry {
        VersionEntry {
            t,
            instant: self.instant,
            resource_type: resource_type.clone(),
            id: id.clone(),
            version: self.version,
            flags: self.flags,
            dictionary: self.dictionary,
            length: self.json_length,
            location: Location { segment: self.segment, offset: self.offset, length: self.length },
        }
    }
}

/// The key of a resource's version at `t`.
pub(crate) fn version_key(resource_type: &ResourceType, id: &ResourceId, t: T) -> Vec<u8> {
    let names = resource_type.as_str().len() + id.as_str().len();
    let mut key = Vec::with_capacity(names + 2 + POSITION);
    put_version_key(resource_type, id, t, &mut key);
    key
}

/// Appends the key of a resource's version at `t`.
pub(crate) fn put_version_key(
    resource_type: &ResourceType,
    id: &ResourceId,
    t: T,
    into: &mut Vec<u8>,
) {
    into.extend_from_slice(resource_type.as_str().as_bytes());
    into.push(0);
    into.extend_from_slice(id.as_str().as_bytes());
    into.push(0);
    into.extend_from_slice(&(!t.get()).to_be_bytes());
}

/// The keys of a resource's versions up to `at`, the newest first.
pub(crate) fn version_keys(
    resource_type: &ResourceType,
    id: &ResourceId,
    at: T,
) -> RangeInclusive<Vec<u8>> {
    version_key(resource_type, id, at)..=version_key(resource_type, id, T::ZERO)
}

/// The position in a version's key.
pub(crate) fn position(key: &[u8]) -> Option<T> {
    let (_, position) = key.split_last_chunk::<POSITION>()?;
    Some(T::new(!u64::from_be_bytes(*position)))
}

/// The key that begins those of everyone of a type who bears an identifier.
pub(crate) fn bearers_key(resource_type: &ResourceType, identifier: &IdentifierKey) -> Vec<u8> {
    let mut key = Vec::new();
    put_bearers_key(resource_type, identifier, &mut key);
    key
}

fn put_bearers_key(resource_type: &ResourceType, identifier: &IdentifierKey, into: &mut Vec<u8>) {
    let identifier = identifier.as_bytes();
    let length = u8::try_from(identifier.len());
    into.extend_from_slice(resource_type.as_str().as_bytes());
    into.push(0);
    into.push(length.expect("an identifier's key has at most 255 bytes"));
    into.extend_from_slice(identifier);
}

/// Appends the key of a resource as a bearer of an identifier.
pub(crate) fn put_bearer_key(
    resource_type: &ResourceType,
    identifier: &IdentifierKey,
    id: &ResourceId,
    into: &mut Vec<u8>,
) {
    put_bearers_key(resource_type, identifier, into);
    into.extend_from_slice(id.as_str().as_bytes());
}

/// The resource in a bearer's key that begins with `prefix`.
pub(crate) fn bearer(prefix: &[u8], key: &[u8]) -> Option<ResourceId> {
    let id = std::str::from_utf8(key.strip_prefix(prefix)?).ok()?;
    ResourceId::new(id).ok()
}

/// The value of a bearer's key.
pub(crate) fn first_position(value: &[u8]) -> Option<T> {
    value.try_into().map(u64::from_le_bytes).map(T::new).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use store::Method;

    proptest! {
        #[test]
        fn keys_sort_by_type_then_id_then_newest_first(
            a in ("[A-C][a-c]{0,2}", "[a-c.-]{1,3}", 0..5_u64),
            b in ("[A-C][a-c]{0,2}", "[a-c.-]{1,3}", 0..5_u64),
        ) {
            let key = |of: &(String, String, u64)| version_key(
                &ResourceType::new(&of.0).unwrap(),
                &ResourceId::new(&of.1).unwrap(),
                T::new(of.2),
            );
            let order = (&a.0, &a.1, std::cmp::Reverse(a.2)).cmp(&(&b.0, &b.1, std::cmp::Reverse(b.2)));
            prop_assert_eq!(key(&a).cmp(&key(&b)), order);
            prop_assert_eq!(position(&key(&a)), Some(T::new(a.2)));
        }

        #[test]
        fn pointers_survive_their_bytes(
            (segment, offset, length, ordinal) in any::<(u64, u64, u32, u32)>(),
            (version, dictionary, json_length, micros) in (1..u64::MAX, any::<u32>(), any::<u32>(), 0..1_i64 << 50),
        ) {
            let pointer = Pointer {
                segment,
                offset,
                length,
                ordinal,
                version: VersionId::new(version).unwrap(),
                flags: VersionFlags::of(Method::Patch),
                dictionary: BodyCoding(dictionary),
                json_length,
                instant: Instant::from_micros(micros),
            };
            prop_assert_eq!(Pointer::decode(&pointer.encode()), Some(pointer));
        }
    }

    #[test]
    fn an_identifiers_bearers_are_not_those_of_another_it_begins() {
        let patient = ResourceType::new("Patient").unwrap();
        let id = ResourceId::new("b").unwrap();
        let short = bearers_key(&patient, &IdentifierKey::new(None, "a"));
        let bearer_key = |value: &str| {
            let mut key = Vec::new();
            put_bearer_key(&patient, &IdentifierKey::new(None, value), &id, &mut key);
            key
        };
        assert_eq!(bearer(&short, &bearer_key("ab")), None);
        assert_eq!(bearer(&short, &bearer_key("a")), Some(id.clone()));
    }
}
