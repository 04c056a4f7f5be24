//! From bytes to a commit, verifying all of it. Any bytes give a commit or an error, never a
//! panic, and take no more memory than they are long.

use std::ops::Range;

use bytes::Bytes;
use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use ring::digest::Context;

use super::encode::{block_seed, checksum, hash_id, hash_of_head};
use super::{Condition, DecodeError, Format, MAX_LENGTH, PACKED};
use crate::{
    BlobReference, BodyCoding, Commit, CommitHash, CommitId, CommitKind, ContentHash, FhirVersion,
    Idempotency, OwnerKeyId, T, TenantText, Version, VersionFlags,
};

/// A commit and what its record adds to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The format of the record.
    pub format: Format,
    /// The commit. Its versions' identifiers are empty: they are not in the record.
    pub commit: Commit,
    /// The hash of the commit before.
    pub previous: CommitHash,
    /// The commit's own hash.
    pub hash: CommitHash,
    /// Where each version's block lies in the record.
    pub blocks: Vec<Range<usize>>,
    /// The length of the record, in bytes: the next one begins there.
    pub length: usize,
}

/// What [`check`] found at the head of a whole record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHead<'a> {
    /// The commit's position.
    pub t: T,
    /// Its instant.
    pub instant: Instant,
    /// Its tenant.
    pub tenant: &'a str,
    /// The hash of the commit before.
    pub previous: CommitHash,
    /// Its own hash.
    pub hash: CommitHash,
    /// How many versions it has.
    pub versions: u32,
    /// The length of the record, in bytes: the next one begins there.
    pub length: usize,
    format: Format,
    id: CommitId,
    fhir_version: FhirVersion,
    kind: CommitKind,
    idempotency: Option<(&'a str, &'a str, [u8; 32])>,
}

/// Verifies the record that `bytes` begins with, without building the commit.
///
/// # Errors
/// [`DecodeError`] when there is no whole and unharmed record.
pub fn check(bytes: &[u8]) -> Result<RecordHead<'_>, DecodeError> {
    walk(bytes, |_, _| ())
}

/// Verifies the record that `bytes` begins with, and tells of each version where its block lies
/// in the record and its type.
///
/// # Errors
/// [`DecodeError`] when there is no whole and unharmed record.
pub fn check_each<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(Range<usize>, &'a str),
) -> Result<RecordHead<'a>, DecodeError> {
    walk(bytes, |range, block| each(range, block.resource_type))
}

/// Reads the record that `bytes` begins with. Bodies share the memory of `bytes`.
///
/// # Errors
/// [`DecodeError`] when there is no whole and unharmed record.
pub fn decode(bytes: &Bytes) -> Result<Decoded, DecodeError> {
    let (mut versions, mut blocks) = (Vec::new(), Vec::new());
    let head = walk(bytes, |range, block| {
        versions.push(block.to_version(bytes));
        blocks.push(range);
    })?;
    let tenant = TenantText::new(head.tenant).expect("walk() checked the tenant");
    Ok(Decoded {
        format: head.format,
        commit: Commit {
            t: head.t,
            instant: head.instant,
            id: head.id,
            idempotency: head.idempotency.map(|(client, key, digest)| Idempotency {
                client: client.into(),
                key: key.into(),
                digest,
            }),
            tenant,
            fhir_version: head.fhir_version,
            kind: head.kind,
            versions,
        },
        previous: head.previous,
        hash: head.hash,
        blocks,
        length: head.length,
    })
}

/// Reads one version's block, which must be all of `bytes`, as one of `tenant` at `t`.
///
/// # Errors
/// [`DecodeError`] when it is not whole and unharmed, or of another tenant or position.
pub fn decode_block(bytes: &Bytes, tenant: &str, t: T) -> Result<Version, DecodeError> {
    let mut reader = Reader { bytes, at: 0 };
    let block = block(&mut reader, block_seed(tenant, t), None)?;
    reader.finish("block")?;
    Ok(block.to_version(bytes))
}

/// An id as it stands in a block.
enum Id<'a> {
    Text(&'a str),
    Uuid(u128),
}

impl Id<'_> {
    fn to_id(&self) -> ResourceId {
        match *self {
            Self::Text(text) => ResourceId::new(text).expect("Reader::id() checked the id"),
            Self::Uuid(uuid) => ResourceId::from_uuid(uuid),
        }
    }
}

/// A block's fields, checked.
struct Block<'a> {
    resource_type: &'a str,
    id: Id<'a>,
    version: VersionId,
    flags: VersionFlags,
    owner: OwnerKeyId,
    dictionary: BodyCoding,
    content_hash: ContentHash,
    length: u32,
    /// What the commit's hash covers of it before the id and after.
    hashed: [&'a [u8]; 2],
    body: Range<usize>,
}

impl Block<'_> {
    fn to_version(&self, bytes: &Bytes) -> Version {
        Version {
            resource_type: ResourceType::new(self.resource_type).expect("block() checked the type"),
            id: self.id.to_id(),
            version: self.version,
            flags: self.flags,
            owner: self.owner,
            dictionary: self.dictionary,
            content_hash: self.content_hash,
            length: self.length,
            body: bytes.slice(self.body.clone()),
            identifiers: Vec::new(),
        }
    }

    fn hash(&self, context: &mut Context) {
        let [before, after] = self.hashed;
        context.update(before);
        match &self.id {
            Id::Text(text) => hash_id(text, context),
            Id::Uuid(uuid) => hash_id(ResourceId::from_uuid(*uuid).as_str(), context),
        }
        context.update(after);
    }
}

fn walk<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(Range<usize>, Block<'a>),
) -> Result<RecordHead<'a>, DecodeError> {
    let mut outer = Reader { bytes, at: 0 };
    let mut reader = outer.framed("record", 0)?;
    let start = reader.at;
    let mut head = head(&mut reader)?;
    let mut context = hash_of_head(&reader.bytes[start + 1..reader.at]);
    let seed = block_seed(head.tenant, head.t);
    for _ in 0..head.versions {
        let at = reader.at;
        let block = block(&mut reader, seed, Some(head.format))?;
        block.hash(&mut context);
        each(at..reader.at, block);
    }
    reader.finish("record")?;
    head.hash.0.copy_from_slice(context.finish().as_ref());
    head.length = reader.at;
    Ok(head)
}

fn head<'a>(reader: &mut Reader<'a>) -> Result<RecordHead<'a>, DecodeError> {
    let known = |at, field, number: u64| error(at, field, Condition::Unknown(number));
    let at = reader.at;
    let [format, kind, fhir_version, reserved] = reader.array("format")?;
    let format =
        Format::from_number(format).ok_or_else(|| known(at, "format", u64::from(format)))?;
    let kind =
        CommitKind::from_number(kind).ok_or_else(|| known(at + 1, "kind", u64::from(kind)))?;
    let fhir_version = FhirVersion::from_number(fhir_version)
        .ok_or_else(|| known(at + 2, "FHIR version", u64::from(fhir_version)))?;
    if reserved != 0 {
        return Err(known(at + 3, "reserved", u64::from(reserved)));
    }
    let t = T::new(u64::from_le_bytes(reader.array("t")?));
    let at = reader.at;
    let micros = i64::from_le_bytes(reader.array("instant")?);
    let instant = Instant::from_micros(micros);
    if instant.as_micros() != micros {
        let condition = Condition::OutOfRange(i128::from(micros));
        return Err(error(at, "instant", condition));
    }
    let id = CommitId(u128::from_le_bytes(reader.array("commit id")?));
    let previous = CommitHash(reader.array("hash of the commit before")?);
    let tenant = reader.short("tenant", TenantText::is_valid)?;
    let at = reader.at;
    let idempotency = match reader.array("idempotency")? {
        [0] => None,
        [1] => Some((
            reader.text("idempotency client")?,
            reader.text("idempotency key")?,
            reader.array("idempotency digest")?,
        )),
        [mark] => return Err(known(at, "idempotency", u64::from(mark))),
    };
    Ok(RecordHead {
        t,
        instant,
        tenant,
        previous,
        hash: CommitHash::ZERO,
        versions: u32::from_le_bytes(reader.array("number of versions")?),
        length: 0,
        format,
        id,
        fhir_version,
        kind,
        idempotency,
    })
}

/// A block of a record in `format`, or in any.
fn block<'a>(
    outer: &mut Reader<'a>,
    seed: u32,
    format: Option<Format>,
) -> Result<Block<'a>, DecodeError> {
    let mut reader = outer.framed("block", seed)?;
    let start = reader.at;
    let resource_type = reader.short("type", ResourceType::is_valid)?;
    let before_id = &reader.bytes[start..reader.at];
    let id = reader.id(format)?;
    let after_id = reader.at;
    let at = reader.at;
    let version = VersionId::new(u64::from_le_bytes(reader.array("version number")?))
        .ok_or_else(|| error(at, "version number", Condition::OutOfRange(0)))?;
    let at = reader.at;
    let [bits] = reader.array("flags")?;
    let flags = VersionFlags::from_bits(bits)
        .ok_or_else(|| error(at, "flags", Condition::Unknown(u64::from(bits))))?;
    let owner = OwnerKeyId(u64::from_le_bytes(reader.array("owner key id")?));
    let dictionary = BodyCoding(u32::from_le_bytes(reader.array("dictionary")?));
    let content_hash = ContentHash(reader.array("content hash")?);
    let length = u32::from_le_bytes(reader.array("length")?);
    let at = reader.at;
    let stored = u32::from_le_bytes(reader.array("body")?);
    if flags.is_deleted() && (length, stored) != (0, 0) {
        let condition = Condition::OutOfRange(i128::from(length.max(stored)));
        return Err(error(at, "body of a deleted version", condition));
    }
    let hashed = [before_id, &reader.bytes[after_id..reader.at]];
    let at = reader.at;
    let bytes = reader.take(stored as usize, "body")?;
    if flags.is_blob() && BlobReference::from_bytes(bytes).is_none() {
        return Err(error(at, "reference to a blob", Condition::Malformed));
    }
    let body = at..reader.at;
    reader.finish("block")?;
    outer.at = reader.at;
    Ok(Block {
        resource_type,
        id,
        version,
        flags,
        owner,
        dictionary,
        content_hash,
        length,
        hashed,
        body,
    })
}

/// Takes fields from the front of bytes and knows where it is.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, needed: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let available = self.bytes.len() - self.at;
        if needed > available {
            let condition = Condition::Short { needed, available };
            return Err(error(self.at, field, condition));
        }
        let taken = &self.bytes[self.at..self.at + needed];
        self.at += needed;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, field)?);
        Ok(array)
    }

    /// Text with its length in one byte.
    fn short(
        &mut self,
        field: &'static str,
        is_valid: fn(&str) -> bool,
    ) -> Result<&'a str, DecodeError> {
        let at = self.at;
        let [length] = self.array(field)?;
        let text = std::str::from_utf8(self.take(usize::from(length), field)?).ok();
        text.filter(|text| is_valid(text)).ok_or_else(|| error(at, field, Condition::Malformed))
    }

    /// An id, in the one way that `format` has for it.
    fn id(&mut self, format: Option<Format>) -> Result<Id<'a>, DecodeError> {
        let at = self.at;
        if format != Some(Format::One) && self.bytes.get(at) == Some(&PACKED) {
            self.at += 1;
            return Ok(Id::Uuid(u128::from_be_bytes(self.array("id")?)));
        }
        let text = self.short("id", ResourceId::is_valid)?;
        if format == Some(Format::Two) && ResourceId::uuid_of(text).is_some() {
            return Err(error(at, "id", Condition::Malformed));
        }
        Ok(Id::Text(text))
    }

    /// Text with its length in two bytes.
    fn text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let at = self.at;
        let length = u16::from_le_bytes(self.array(field)?);
        std::str::from_utf8(self.take(usize::from(length), field)?)
            .map_err(|_| error(at, field, Condition::Malformed))
    }

    /// A reader of the frame or block that begins here, which ends where that does, once its
    /// checksum holds.
    fn framed(&mut self, field: &'static str, seed: u32) -> Result<Reader<'a>, DecodeError> {
        let at = self.at;
        let length = u32::from_le_bytes(self.array(field)?) as usize;
        if length > MAX_LENGTH {
            let condition = Condition::OutOfRange(length as i128);
            return Err(error(at, field, condition));
        }
        let stored = u32::from_le_bytes(self.array(field)?);
        let inside = self.at;
        self.take(length, field).map_err(|short| error(at, field, short.condition))?;
        let computed = checksum(seed, &self.bytes[at..self.at]);
        if stored != computed {
            let condition = Condition::Checksum { stored, computed };
            return Err(error(at, field, condition));
        }
        Ok(Reader { bytes: &self.bytes[..self.at], at: inside })
    }

    fn finish(&self, field: &'static str) -> Result<(), DecodeError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            more => Err(error(self.at, field, Condition::Trailing(more))),
        }
    }
}

fn error(offset: usize, field: &'static str, condition: Condition) -> DecodeError {
    DecodeError { offset, field, condition }
}
