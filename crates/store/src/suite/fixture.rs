//! Commits made for tests, and reads that must succeed.

use bytes::Bytes;
use fhir_core::{Instant, ResourceId, ResourceType, VersionId};

use crate::{
    BlobReference, BodyCoding, Commit, CommitId, CommitKind, ContentHash, Derive, DeriveError,
    FhirVersion, IdentifierKey, Method, OwnerKeyId, Store, T, TenantText, Version, VersionEntry,
    VersionFlags,
};

/// The tenant of every commit made here.
#[must_use]
pub fn tenant() -> TenantText {
    TenantText::new("clinic").expect("a tenant's name")
}

/// A type's name.
#[must_use]
pub fn resource_type(name: &str) -> ResourceType {
    ResourceType::new(name).expect("a type's name")
}

/// An id.
#[must_use]
pub fn resource_id(id: &str) -> ResourceId {
    ResourceId::new(id).expect("an id")
}

/// A version's number.
#[must_use]
pub fn version_id(number: u64) -> VersionId {
    VersionId::new(number).expect("versions count from 1")
}

/// The commit at `t`, one second after the one before.
#[must_use]
pub fn commit(t: u64, versions: Vec<Version>) -> Commit {
    let seconds = 1_700_000_000 + i64::try_from(t).expect("tests stay far below 2^63 commits");
    Commit {
        t: T::new(t),
        instant: Instant::from_micros(seconds * 1_000_000),
        id: CommitId(u128::from(t) << 64 | 0xc0),
        idempotency: None,
        tenant: tenant(),
        fhir_version: FhirVersion::R4,
        kind: CommitKind::Resources,
        versions,
    }
}

/// A version of `name` (`Type/id`) that was put there.
#[must_use]
pub fn put(name: &str, number: u64, content: &str) -> Version {
    put_identified(name, number, &[], content)
}

/// A version that bears identifiers, each a system and a value.
#[must_use]
pub fn put_identified(
    name: &str,
    number: u64,
    identifiers: &[(&str, &str)],
    content: &str,
) -> Version {
    let identifiers: Vec<_> =
        identifiers.iter().map(|(system, value)| format!("{system}|{value}")).collect();
    let body = format!("{}\n{content}", identifiers.join(" "));
    let mut version = version(name, number, Method::Put, Bytes::from(body));
    version.identifiers = first_line(&version.body);
    version
}

/// The same version with a blob as its body.
#[must_use]
pub fn with_blob(mut version: Version, reference: &BlobReference) -> Version {
    version.flags = version.flags.with_blob();
    version.body = Bytes::copy_from_slice(&reference.to_bytes());
    version.content_hash = ContentHash::of(&version.body);
    version.length = u32::try_from(reference.length).expect("tests' bodies are small");
    version
}

/// A version that says the resource is deleted.
#[must_use]
pub fn delete(name: &str, number: u64) -> Version {
    version(name, number, Method::Delete, Bytes::new())
}

fn version(name: &str, number: u64, method: Method, body: Bytes) -> Version {
    let (type_name, id) = name.split_once('/').expect("a name is Type/id");
    Version {
        resource_type: resource_type(type_name),
        id: resource_id(id),
        version: version_id(number),
        flags: VersionFlags::of(method),
        owner: OwnerKeyId::NONE,
        dictionary: BodyCoding::AS_IS,
        content_hash: ContentHash::of(&body),
        length: u32::try_from(body.len()).expect("tests' bodies are small"),
        body,
        identifiers: Vec::new(),
    }
}

/// Derives identifiers from a body made here: its first line has them, as `system|value`, with a
/// space between two.
#[derive(Debug, Clone, Copy, Default)]
pub struct FirstLine;

impl Derive for FirstLine {
    fn identifiers(
        &self,
        _: &ResourceType,
        _: BodyCoding,
        length: u32,
        body: &[u8],
    ) -> Result<Vec<IdentifierKey>, DeriveError> {
        if body.len() == length as usize {
            Ok(first_line(body))
        } else {
            Err("the body does not have the length it was stored with".into())
        }
    }
}

fn first_line(body: &[u8]) -> Vec<IdentifierKey> {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().next().unwrap_or_default();
    line.split(' ')
        .filter_map(|identifier| identifier.split_once('|'))
        .map(|(system, value)| IdentifierKey::new(Some(system), value))
        .collect()
}

/// Appends commits, which must succeed.
///
/// # Panics
/// When it does not.
pub fn append(store: &dyn Store, group: &[Commit]) {
    let head = store.append(group).expect("a sound group is taken");
    assert_eq!(Some(head.t), group.last().map(|commit| commit.t));
    assert_eq!(store.head(), head);
}

/// Reads the newest version of `name` with its body.
///
/// # Panics
/// When that fails.
pub async fn read(store: &dyn Store, name: &str, at: u64) -> Option<(VersionEntry, Bytes)> {
    let (type_name, id) = name.split_once('/').expect("a name is Type/id");
    let (resource_type, id) = (resource_type(type_name), resource_id(id));
    let entry = store.newest(&resource_type, &id, T::new(at)).await;
    let entry = entry.expect("newest is known")?;
    let body = store.body(&entry).await.expect("the body is whole");
    Some((entry, body))
}

/// The content of the newest version of `name`, as it was given to [`put`], also from a blob.
///
/// # Panics
/// When the read fails.
pub async fn content(store: &dyn Store, name: &str, at: u64) -> Option<String> {
    let (entry, mut body) = read(store, name, at).await?;
    if entry.flags.is_blob() {
        let reference = BlobReference::from_bytes(&body).expect("a record has whole references");
        body = store.blob(&reference).await.expect("the blob is whole");
    }
    let text = String::from_utf8(body.to_vec()).expect("tests' bodies are text");
    let (_, content) = text.split_once('\n').unwrap_or_default();
    Some(content.to_owned())
}

/// The ids that an identifier finds.
///
/// # Panics
/// When the read fails.
pub async fn identified(
    store: &dyn Store,
    type_name: &str,
    identifier: (&str, &str),
    at: u64,
) -> Vec<String> {
    let key = IdentifierKey::new(Some(identifier.0), identifier.1);
    let resource_type = resource_type(type_name);
    let ids = store.identified(&resource_type, &key, T::new(at)).await;
    let ids = ids.expect("bearers are known");
    ids.iter().map(ToString::to_string).collect()
}
