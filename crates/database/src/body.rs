//! A resource as it is stored.
//!
//! The JSON stored is the resource without white space, beginning
//! `{"resourceType":"T","id":"I","meta":{`: a prefix known from type and id alone. Just after it
//! is the hole: `versionId` and `lastUpdated` are put there when the version is read, so that
//! everything costly (writing, compressing, hashing) happens before its position is known.

use bytes::Bytes;
use fhir_core::json::{Document, Kind, Replacements, Value, write_string};
use fhir_core::{Instant, Resource, ResourceId, ResourceType, VersionId};
use fhir_schema::{PlainPath, Schema};
use store::{
    BodyCoding, CommitId, ContentHash, Derive, DeriveError, IdentifierKey, OwnerKeyId, ReadBlob,
    StoredBody, Version, VersionEntry,
};

use crate::blob::{self, Unwritten};
use crate::compartment::Compartments;
use crate::dictionary::{self, expand};
use crate::seal::Sealing;
use crate::{Author, ReadError};

/// A resource made ready to be stored under an id; its version is not known yet.
#[derive(Debug, Clone)]
pub struct Body {
    pub(crate) coding: BodyCoding,
    pub(crate) length: u32,
    pub(crate) bytes: Bytes,
    /// The JSON before coding.
    pub(crate) plain: Bytes,
    pub(crate) identifiers: Vec<IdentifierKey>,
    /// Whose data it is.
    pub(crate) compartments: Compartments,
    /// What `bytes` refer to, until it is written.
    pub(crate) blob: Option<Box<Unwritten>>,
    /// What became of it when it was sealed; `None` before.
    pub(crate) stored: Option<Stored>,
}

/// What is known of a body once it is as it will be stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    /// The key it is sealed with.
    pub(crate) owner: OwnerKeyId,
    pub(crate) content_hash: ContentHash,
    /// Whether the body is a reference to a blob.
    pub(crate) is_blob: bool,
    /// The epoch of the keys when it was sealed.
    pub(crate) epoch: u64,
}

/// A tag that only the server gives: what a resource says of it itself counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnTag<'t> {
    /// The system of the server's tags; no other tag of it stays.
    pub system: &'t str,
    /// The code of the tag to be written, if one is.
    pub code: Option<&'t str>,
}

impl Body {
    /// As [`Body::of`], with the server's own tag in `meta.tag`, which is an array where it is
    /// there.
    #[must_use]
    pub fn tagged(
        resource: &Resource<'_>,
        id: &ResourceId,
        replacements: &Replacements,
        tag: OwnTag<'_>,
        schema: &Schema,
    ) -> Self {
        Self::written(
            write(resource, id, replacements, Some(tag)),
            resource,
            id,
            (replacements, schema),
        )
    }

    /// Makes `resource` ready to be stored as `id`: `id`, `meta.versionId` and
    /// `meta.lastUpdated` are the server's, whatever it says there (HTTP-074, HTTP-092); strings
    /// named by `replacements` are written as those; all else is kept.
    #[must_use]
    pub fn of(
        resource: &Resource<'_>,
        id: &ResourceId,
        replacements: &Replacements,
        schema: &Schema,
    ) -> Self {
        Self::written(write(resource, id, replacements, None), resource, id, (replacements, schema))
    }

    fn written(
        plain: Vec<u8>,
        resource: &Resource<'_>,
        id: &ResourceId,
        (replacements, schema): (&Replacements, &Schema),
    ) -> Self {
        let plain = Bytes::from(plain);
        let length = u32::try_from(plain.len()).expect("a request's body is far below 4 GiB");
        let (coding, bytes) = match dictionary::code(resource.resource_type().as_str(), &plain) {
            Some((coding, compressed)) => (coding, Bytes::from(compressed)),
            None => (BodyCoding::AS_IS, plain.clone()),
        };
        Self {
            coding,
            length,
            bytes,
            plain,
            identifiers: identifiers_as_written(resource, replacements, schema),
            compartments: Compartments::of(resource, id, replacements, schema),
            blob: None,
            stored: None,
        }
    }

    /// The same with who made the resource on record.
    #[must_use]
    pub fn written_by(self, author: Author) -> Self {
        let (coding, bytes) = author.behind(self.coding, &self.bytes);
        let compartments = Compartments { author: Some(author), ..self.compartments };
        Self { coding, bytes: bytes.into(), compartments, ..self }
    }

    pub(crate) fn stored(&self) -> Stored {
        self.stored.expect("a transaction is sealed before it joins the line")
    }

    /// The JSON as it is stored, before coding: without `versionId` and `lastUpdated`.
    #[must_use]
    pub fn plain(&self) -> &Bytes {
        &self.plain
    }
}

/// `{"resourceType":"T","id":"I","meta":{`
fn prefix(resource_type: &ResourceType, id: &ResourceId, out: &mut Vec<u8>) {
    for part in [
        "{\"resourceType\":\"",
        resource_type.as_str(),
        "\",\"id\":\"",
        id.as_str(),
        "\",\"meta\":{",
    ] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn write(
    resource: &Resource<'_>,
    id: &ResourceId,
    replacements: &Replacements,
    own: Option<OwnTag<'_>>,
) -> Vec<u8> {
    let value = resource.value();
    let mut out = Vec::with_capacity(value.raw().len() + 160);
    prefix(resource.resource_type(), id, &mut out);
    let name_of = |name: &str, out: &mut Vec<u8>| {
        if !out.ends_with(b"{") {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
    };
    let member = |name: &str, value: Value<'_>, out: &mut Vec<u8>| {
        name_of(name, out);
        value.write(replacements, out);
    };
    // A name may be written with escapes: what it is, is compared; how it is written, is kept.
    let mut tags = None;
    if let Some(meta) = value.get("meta") {
        for ((name, _), (written, part)) in meta.members().zip(meta.raw_members()) {
            match &*name {
                "versionId" | "lastUpdated" => {}
                "tag" if own.is_some() && part.kind() == Kind::Array => tags = Some(part),
                _ => member(written, part, &mut out),
            }
        }
    }
    if let Some(own) = own {
        let tags = written_tags(tags, own, replacements);
        if !tags.is_empty() {
            name_of("\"tag\"", &mut out);
            out.push(b'[');
            out.extend_from_slice(&tags);
            out.push(b']');
        }
    }
    out.push(b'}');
    for ((name, _), (written, part)) in value.members().zip(value.raw_members()) {
        if !matches!(&*name, "resourceType" | "id" | "meta") {
            member(written, part, &mut out);
        }
    }
    out.push(b'}');
    out
}

/// The tags of a resource but the server's, and the server's own; commas between.
fn written_tags(tags: Option<Value<'_>>, own: OwnTag<'_>, replacements: &Replacements) -> Vec<u8> {
    let mut out = Vec::new();
    for tag in tags.iter().flat_map(Value::items) {
        let is_own = tag.kind() == Kind::Object
            && tag.get_str("system").is_some_and(|system| system == own.system);
        if !is_own {
            if !out.is_empty() {
                out.push(b',');
            }
            tag.write(replacements, &mut out);
        }
    }
    if let Some(code) = own.code {
        out.extend_from_slice(if out.is_empty() { b"{\"system\":" } else { b",{\"system\":" });
        write_string(own.system, &mut out);
        out.extend_from_slice(b",\"code\":");
        write_string(code, &mut out);
        out.push(b'}');
    }
    out
}

/// The JSON of a stored version, `versionId` and `lastUpdated` put into their hole.
pub(crate) fn fill(entry: &VersionEntry, stored: &[u8]) -> Result<Bytes, ReadError> {
    let plain = expand(entry.dictionary, entry.length, stored)?;
    let name = (&entry.resource_type, &entry.id);
    fill_plain(&plain, name, entry.version, entry.instant)
}

/// The same from what it was before coding.
pub(crate) fn fill_plain(
    plain: &[u8],
    (resource_type, id): (&ResourceType, &ResourceId),
    version: VersionId,
    instant: Instant,
) -> Result<Bytes, ReadError> {
    let mut start = Vec::with_capacity(plain.len() + 90);
    prefix(resource_type, id, &mut start);
    let rest = plain.strip_prefix(start.as_slice()).ok_or_else(|| ReadError::UnreadableBody {
        reason: "it does not begin with its type and id".to_owned(),
    })?;
    version_members(version, instant, &mut start);
    if !rest.starts_with(b"}") {
        start.push(b',');
    }
    start.extend_from_slice(rest);
    Ok(Bytes::from(start))
}

fn version_members(version: VersionId, instant: Instant, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"versionId\":\"");
    out.extend_from_slice(version.to_string().as_bytes());
    out.extend_from_slice(b"\",\"lastUpdated\":\"");
    out.extend_from_slice(&instant.text());
    out.push(b'"');
}

/// The identifiers by which the search parameter `identifier` finds this resource, each once.
#[must_use]
pub fn identifiers(resource: &Resource<'_>, schema: &Schema) -> Vec<IdentifierKey> {
    identifiers_as_written(resource, &Replacements::default(), schema)
}

/// Those of the identifiers that are of this system.
pub(crate) fn identifiers_of_system(
    resource: &Resource<'_>,
    wanted: &str,
    schema: &Schema,
) -> Vec<IdentifierKey> {
    let mut keys = Vec::new();
    for path in schema.identifier_paths(resource.resource_type().as_str()) {
        follow(resource.value(), path, &mut |identifier| {
            let system = identifier.get_str("system").filter(|system| system == wanted);
            if let (Some(system), Some(value)) = (system, identifier.get_str("value")) {
                keys.push(IdentifierKey::new(Some(&system), &value));
            }
        });
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The identifiers of the resource as [`write()`] writes it: a replay finds those.
fn identifiers_as_written(
    resource: &Resource<'_>,
    replacements: &Replacements,
    schema: &Schema,
) -> Vec<IdentifierKey> {
    let mut keys = Vec::new();
    let mut found = |identifier: Value<'_>| {
        if let Some(value) = identifier.get_str("value") {
            let system = identifier.get_str("system");
            keys.push(IdentifierKey::new(system.as_deref(), &value));
        }
    };
    for path in schema.identifier_paths(resource.resource_type().as_str()) {
        follow(resource.value(), path, &mut |identifier| {
            if replacements.is_empty() {
                return found(identifier);
            }
            let mut json = Vec::new();
            identifier.write(replacements, &mut json);
            let written = Document::parse(&json).expect("what was read and written is JSON");
            found(written.root());
        });
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Calls `found` with every object at `path` under `value`.
fn follow<'a>(value: Value<'a>, path: &PlainPath, found: &mut dyn FnMut(Value<'a>)) {
    fn step<'a>(value: Value<'a>, steps: &[Box<str>], found: &mut dyn FnMut(Value<'a>)) {
        for value in value.each() {
            match steps.split_first() {
                Some((name, rest)) => {
                    if let Some(next) = value.get(name) {
                        step(next, rest, found);
                    }
                }
                None if value.kind() == Kind::Object => found(value),
                None => {}
            }
        }
    }
    step(value, &path.steps, found);
}

/// Reads identifiers out of stored bodies for a store that replays its log.
#[derive(Clone)]
pub struct DeriveFromBody {
    schema: &'static Schema,
    sealing: Sealing,
}

impl DeriveFromBody {
    /// Reads by these definitions what is not sealed.
    #[must_use]
    pub fn new(schema: &'static Schema) -> Self {
        Self::sealed(schema, Sealing::none())
    }

    /// Reads by these definitions what may be sealed.
    #[must_use]
    pub fn sealed(schema: &'static Schema, sealing: Sealing) -> Self {
        Self { schema, sealing }
    }
}

impl Derive for DeriveFromBody {
    fn identifiers(
        &self,
        _: &ResourceType,
        coding: BodyCoding,
        length: u32,
        body: &[u8],
    ) -> Result<Vec<IdentifierKey>, DeriveError> {
        let json = expand(coding, length, body)?;
        let document = Document::parse(&json)?;
        let resource = Resource::new(document.root())?;
        Ok(identifiers(&resource, self.schema))
    }

    fn bears_identifiers(&self, resource_type: &ResourceType) -> bool {
        !self.schema.identifier_paths(resource_type.as_str()).is_empty()
    }

    fn identifiers_of(
        &self,
        version: &Version,
        commit: CommitId,
        ordinal: u32,
        read: ReadBlob<'_>,
    ) -> Result<Vec<IdentifierKey>, DeriveError> {
        let (owner, bytes) = (version.owner, version.body.clone());
        let stored = StoredBody { owner, commit, ordinal, bytes };
        let name = (&version.resource_type, &version.id);
        let opened = if version.flags.is_blob() {
            if self.sealing.is_destroyed(owner) {
                return Ok(Vec::new());
            }
            let reference = blob::reference(&stored.bytes)?;
            self.sealing.open_blob(name, &stored, &reference, read(&reference)?)
        } else {
            self.sealing.open_named(name, stored)
        };
        match opened {
            Ok(body) => {
                self.identifiers(&version.resource_type, version.dictionary, version.length, &body)
            }
            // Who was purged is found by nothing.
            Err(ReadError::Purged) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}
