//! The keys of the derived state and what they lead to.
//!
//! | key | leads to |
//! |---|---|
//! | `v`, type, 0, id, `t` inverted | where that version lies: a [`Pointer`] |
//! | `i`, type, 0, length of the identifier's key (1), identifier's key, id | the first `t` at which the resource bore it |
//!
//! Types and ids hold no byte below 0x2d. An id that is a UUID as the standard writes it is 0x01
//! and its 16 bytes, another is its text and 0. An inverted `t` is 255 less the number of its
//! bytes, then each of them inverted, so that a resource's newest version comes first.

use std::ops::RangeInclusive;

use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use store::{BodyCoding, IdentifierKey, Location, T, VersionEntry, VersionFlags};

use crate::varint::{self, signed, unsigned};

/// A key, as it stands in memory and in the state.
pub(crate) type Key = Box<[u8]>;

const VERSION: u8 = b'v';
const BEARER: u8 = b'i';
const UUID: u8 = 1;
const END: u8 = 0;
/// The hyphens of a UUID's text.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// What a key leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    /// From a version's key.
    Version(Pointer),
    /// From a bearer's key: the first position at which it bore the identifier.
    Bearer(T),
}

impl Value {
    /// Appends the value's bytes.
    pub(crate) fn put(&self, into: &mut Vec<u8>) {
        match self {
            Self::Version(pointer) => pointer.put(into),
            Self::Bearer(first) => varint::put(first.get(), into),
        }
    }
}

/// Where a version lies and what is known without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    /// Which of its commit's versions it is.
    pub(crate) ordinal: u32,
    /// How far before it the commit's record begins.
    pub(crate) into_commit: u32,
    pub(crate) version: VersionId,
    pub(crate) flags: VersionFlags,
    pub(crate) dictionary: BodyCoding,
    pub(crate) json_length: u32,
    pub(crate) instant: Instant,
}

impl Pointer {
    /// Flags (1 byte), then segment, offset, length, ordinal, distance from the commit's beginning,
    /// version, dictionary, length of the JSON and microseconds of the instant as varints.
    fn put(&self, into: &mut Vec<u8>) {
        into.push(self.flags.bits());
        for number in [
            self.segment,
            self.offset,
            self.length.into(),
            self.ordinal.into(),
            self.into_commit.into(),
            self.version.get(),
            self.dictionary.0.into(),
            self.json_length.into(),
            unsigned(self.instant.as_micros()),
        ] {
            varint::put(number, into);
        }
    }

    /// The pointer of these bytes; `None` when they are not one's.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (flags, mut rest) = bytes.split_first()?;
        let mut next = || varint::take(&mut rest);
        let pointer = Self {
            flags: VersionFlags::from_bits(*flags)?,
            segment: next()?,
            offset: next()?,
            length: u32::try_from(next()?).ok()?,
            ordinal: u32::try_from(next()?).ok()?,
            into_commit: u32::try_from(next()?).ok()?,
            version: VersionId::new(next()?)?,
            dictionary: BodyCoding(u32::try_from(next()?).ok()?),
            json_length: u32::try_from(next()?).ok()?,
            instant: Instant::from_micros(signed(next()?)),
        };
        rest.is_empty().then_some(pointer)
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
            location: Location {
                segment: self.segment,
                offset: self.offset,
                length: self.length,
                ordinal: self.ordinal,
                into_commit: self.into_commit,
            },
        }
    }
}

/// The key of a resource's version at `t`.
pub(crate) fn version_key(resource_type: &ResourceType, id: &ResourceId, t: T) -> Vec<u8> {
    let names = resource_type.as_str().len() + id.as_str().len();
    let mut key = Vec::with_capacity(names + 12);
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
    into.push(VERSION);
    into.extend_from_slice(resource_type.as_str().as_bytes());
    into.push(END);
    put_id(id, into);
    put_position(t, into);
}

/// The keys of a resource's versions up to `at`, the newest first.
pub(crate) fn version_keys(
    resource_type: &ResourceType,
    id: &ResourceId,
    at: T,
) -> RangeInclusive<Vec<u8>> {
    version_key(resource_type, id, at)..=version_key(resource_type, id, T::ZERO)
}

/// All keys of versions.
pub(crate) fn all_versions() -> RangeInclusive<Vec<u8>> {
    vec![VERSION]..=vec![VERSION + 1]
}

/// The position in a version's key; `None` for what is no version's key.
pub(crate) fn position(key: &[u8]) -> Option<T> {
    let rest = key.strip_prefix(&[VERSION])?;
    take_position(take_id(rest_of_type(rest)?)?.1)
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
    into.push(BEARER);
    into.extend_from_slice(resource_type.as_str().as_bytes());
    into.push(END);
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
    put_id(id, into);
}

/// The resource in a bearer's key that begins with `prefix`.
pub(crate) fn bearer(prefix: &[u8], key: &[u8]) -> Option<ResourceId> {
    let (id, rest) = take_id(key.strip_prefix(prefix)?)?;
    ResourceId::new(&id).ok().filter(|_| rest.is_empty())
}

/// The first position in the value of a bearer's key.
pub(crate) fn first_position(mut value: &[u8]) -> Option<T> {
    let first = varint::take(&mut value)?;
    value.is_empty().then(|| T::new(first))
}

/// The part of a key that those asked for together share, and that is therefore known when one
/// is looked for: up to the id of a version's key, up to the identifier of a bearer's.
pub(crate) fn sought(key: &[u8]) -> Option<&[u8]> {
    let (table, rest) = key.split_first()?;
    let rest = rest_of_type(rest)?;
    let rest = match *table {
        VERSION => match *rest.first()? {
            UUID => rest.get(17..)?,
            _ => rest_of_type(rest)?,
        },
        BEARER => rest.get(1 + usize::from(*rest.first()?)..)?,
        _ => return None,
    };
    key.get(..key.len() - rest.len())
}

/// The type, and for a version the id, in a key. Of an identifier's key no more is shown.
pub(crate) fn resource_name(key: &[u8]) -> String {
    let Some((table, rest)) = key.split_first() else {
        return String::new();
    };
    let Some(after) = rest_of_type(rest) else {
        return String::new();
    };
    let resource_type = String::from_utf8_lossy(&rest[..rest.len() - after.len() - 1]);
    match take_id(after) {
        Some((id, _)) if *table == VERSION => format!("{resource_type}/{id}"),
        _ => resource_type.into_owned(),
    }
}

/// What stands after the first 0.
fn rest_of_type(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == END)?;
    bytes.get(end + 1..)
}

fn put_id(id: &ResourceId, into: &mut Vec<u8>) {
    if let Some(uuid) = uuid(id.as_str().as_bytes()) {
        into.push(UUID);
        into.extend_from_slice(&uuid);
    } else {
        into.extend_from_slice(id.as_str().as_bytes());
        into.push(END);
    }
}

/// The id at the front, and what follows it.
fn take_id(bytes: &[u8]) -> Option<(String, &[u8])> {
    if let Some(rest) = bytes.strip_prefix(&[UUID]) {
        let (uuid, rest) = rest.split_first_chunk()?;
        return Some((uuid_text(uuid), rest));
    }
    let rest = rest_of_type(bytes)?;
    let id = std::str::from_utf8(&bytes[..bytes.len() - rest.len() - 1]).ok()?;
    Some((id.to_owned(), rest))
}

/// The bytes of a UUID in lower case with its four hyphens: what alone is written back equal.
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let (mut uuid, mut digits) = ([0; 16], 0);
    for (at, byte) in text.iter().enumerate() {
        let digit = match byte {
            b'-' if HYPHENS.contains(&at) => continue,
            _ if HYPHENS.contains(&at) => return None,
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        uuid[digits / 2] |= if digits % 2 == 0 { digit << 4 } else { digit };
        digits += 1;
    }
    Some(uuid)
}

fn uuid_text(uuid: &[u8; 16]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for byte in uuid {
        if HYPHENS.contains(&text.len()) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(DIGITS[usize::from(digit)]));
        }
    }
    text
}

fn put_position(t: T, into: &mut Vec<u8>) {
    let bytes = t.get().to_be_bytes();
    let zeros = t.get().leading_zeros() as usize / 8;
    into.push(u8::MAX - (bytes.len() - zeros) as u8);
    into.extend(bytes[zeros..].iter().map(|byte| !byte));
}

fn take_position(bytes: &[u8]) -> Option<T> {
    let (length, rest) = bytes.split_first()?;
    if rest.len() > 8 || rest.len() != usize::from(u8::MAX - length) {
        return None;
    }
    let join = |number: u64, byte: &u8| (number << 8) | u64::from(!byte);
    Some(T::new(rest.iter().fold(0, join)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use store::Method;

    const IDS: &str = "[a-c.-]{1,3}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\
                       [0-9A-F]{8}-0000-0000-0000-[0-9A-Fa-f]{12}";

    fn key(of: &(String, String, u64)) -> Vec<u8> {
        let (resource_type, id) = (ResourceType::new(&of.0).unwrap(), ResourceId::new(&of.1));
        version_key(&resource_type, &id.unwrap(), T::new(of.2))
    }

    proptest! {
        #[test]
        fn a_resources_versions_lie_together_the_newest_first(
            a in ("[A-C][a-c]{0,2}", IDS, any::<u64>(), 0..64_u32),
            b in ("[A-C][a-c]{0,2}", IDS, any::<u64>(), 0..64_u32),
            later in any::<u64>(),
        ) {
            let (a, b) = ((a.0, a.1, a.2 >> a.3), (b.0, b.1, b.2 >> b.3));
            prop_assert_eq!(position(&key(&a)), Some(T::new(a.2)));
            let resource_type = ResourceType::new(&a.0).unwrap();
            let keys = version_keys(&resource_type, &ResourceId::new(&a.1).unwrap(), T::new(later));
            let within = (&a.0, &a.1) == (&b.0, &b.1) && b.2 <= later;
            prop_assert_eq!(keys.contains(&key(&b)), within);
            prop_assert_eq!(keys.contains(&key(&a)), a.2 <= later);
            let same = (a.0.clone(), a.1.clone(), b.2);
            prop_assert_eq!(key(&a).cmp(&key(&same)), b.2.cmp(&a.2));
            let sought = |of| sought(&key(of)).unwrap().to_vec();
            prop_assert_eq!(sought(&a), sought(&same));
            let other = (&a.0, &a.1) != (&b.0, &b.1);
            prop_assert_eq!(sought(&a) != sought(&b), other);
            prop_assert_eq!(resource_name(&key(&a)), format!("{}/{}", a.0, a.1));
        }

        #[test]
        fn bearers_keys_lead_back_to_their_ids(id in IDS, value in "[a-c]{0,3}", other in "[a-c]{0,3}") {
            let patient = ResourceType::new("Patient").unwrap();
            let id = ResourceId::new(&id).unwrap();
            let mut key = Vec::new();
            put_bearer_key(&patient, &IdentifierKey::new(None, &value), &id, &mut key);
            let prefix = bearers_key(&patient, &IdentifierKey::new(None, &other));
            prop_assert_eq!(bearer(&prefix, &key), (value == other).then_some(id));
            let prefix = bearers_key(&patient, &IdentifierKey::new(None, &value));
            prop_assert_eq!(sought(&key), Some(prefix.as_slice()));
        }

        #[test]
        fn values_survive_their_bytes(
            (segment, offset, length, ordinal, into_commit) in any::<(u64, u64, u32, u32, u32)>(),
            (version, dictionary, json_length, micros) in (1..u64::MAX, any::<u32>(), any::<u32>(), 0..1_i64 << 50),
        ) {
            let pointer = Pointer {
                segment,
                offset,
                length,
                ordinal,
                into_commit,
                version: VersionId::new(version).unwrap(),
                flags: VersionFlags::of(Method::Patch),
                dictionary: BodyCoding(dictionary),
                json_length,
                instant: Instant::from_micros(micros),
            };
            let mut bytes = Vec::new();
            Value::Version(pointer).put(&mut bytes);
            prop_assert_eq!(Pointer::decode(&bytes), Some(pointer));
            bytes.push(0);
            prop_assert_eq!(Pointer::decode(&bytes), None);
            bytes.clear();
            Value::Bearer(T::new(offset)).put(&mut bytes);
            prop_assert_eq!(first_position(&bytes), Some(T::new(offset)));
        }

        #[test]
        fn any_bytes_are_a_key_or_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            position(&bytes);
            sought(&bytes);
            resource_name(&bytes);
            Pointer::decode(&bytes);
        }
    }
}
