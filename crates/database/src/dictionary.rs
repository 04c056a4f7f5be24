//! How bodies are coded: as they are, or by zstd (RFC 8878) with a dictionary of their type.
//!
//! The dictionaries are built in. Each has a number, which stands in every record it coded and in
//! every frame as its Dictionary_ID; a number that was shipped means the same bytes for ever, and
//! a better dictionary gets a new one. They are trained on public synthetic data alone
//! (`dictionaries/manifest.txt`, `cargo xtask dictionaries`): one trained on patients' data would
//! hold pieces of it word for word.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use store::BodyCoding;
use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};
use zstd::zstd_safe::{compress_bound, get_dict_id_from_frame, get_frame_content_size};

use crate::{ReadError, author};

/// The compression level; docs/storage.md has what the others cost and save.
pub const LEVEL: i32 = 1;

/// The number of the first dictionary; those below are codings without one.
pub const FIRST_NUMBER: u32 = 2;

/// Bodies shorter than this are stored as they are: compressing them gains little.
const COMPRESS_FROM: usize = 64;

/// A thread keeps its buffer for the next body up to this size.
const KEPT_BUFFER: usize = 1 << 20;

/// The file begins with this.
const MAGIC: &[u8; 8] = b"HGDICTS1";

/// What the file may at most hold, unpacked.
const MAX_UNPACKED: usize = 16 << 20;

static FILE: &[u8] = include_bytes!("../dictionaries/dictionaries.zst");

static SHIPPED: LazyLock<Shipped> = LazyLock::new(|| {
    let dictionaries = decode(FILE).expect("a test reads the dictionaries that are built in");
    Shipped::new(dictionaries)
});

thread_local! {
    /// A context's tables are larger than a resource: each thread keeps one.
    static COMPRESSOR: RefCell<Option<Coder>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// A dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dictionary {
    /// Its number: its [`BodyCoding`] and its Dictionary_ID.
    pub number: u32,
    /// The type that it is for; empty when it is for every type that has none of its own.
    pub resource_type: String,
    /// The dictionary as zstd reads it.
    pub bytes: Vec<u8>,
}

/// The dictionaries in use, each made ready when it is first needed.
struct Shipped {
    /// By number, from [`FIRST_NUMBER`] on without a gap.
    ready: Vec<Ready>,
    /// Which of them codes a type's new bodies.
    of_type: HashMap<String, usize>,
    /// Which codes those of all other types.
    shared: Option<usize>,
}

struct Ready {
    dictionary: Dictionary,
    encoder: OnceLock<EncoderDictionary<'static>>,
    decoder: OnceLock<DecoderDictionary<'static>>,
}

struct Coder {
    compressor: Compressor<'static>,
    buffer: Vec<u8>,
}

/// A body of this type, coded as new bodies are: with the newest dictionary of its type, or as it
/// is when that is as short.
#[must_use]
pub fn code(resource_type: &str, json: &[u8]) -> Option<(BodyCoding, Vec<u8>)> {
    let ready = SHIPPED.for_type(resource_type);
    let coding = ready.map_or(BodyCoding::ZSTD, |ready| BodyCoding(ready.dictionary.number));
    Some((coding, compress(ready, json)?))
}

/// The body that was coded, which had `length` bytes; never more than those are made.
///
/// # Errors
/// It is not the body of that length in that coding, or the coding is of a later Hearthgate.
pub fn expand(coding: BodyCoding, length: u32, stored: &[u8]) -> Result<Cow<'_, [u8]>, ReadError> {
    let (coding, stored, _) = author::apart(coding, stored)?;
    match coding {
        BodyCoding::AS_IS if stored.len() == length as usize => Ok(stored.into()),
        BodyCoding::AS_IS => Err(of_other_length(stored.len() as u64, length)),
        BodyCoding::ZSTD => decompress(None, length, stored).map(Cow::from),
        BodyCoding(number) => match SHIPPED.numbered(number) {
            Some(ready) => decompress(Some(ready), length, stored).map(Cow::from),
            None => Err(unreadable(format!(
                "coding {number} is not known: this program has dictionaries up to {}",
                SHIPPED.last_number()
            ))),
        },
    }
}

/// Every dictionary that is built in, by number.
pub fn shipped() -> impl Iterator<Item = &'static Dictionary> {
    SHIPPED.ready.iter().map(|ready| &ready.dictionary)
}

/// The file that is built in, from these dictionaries.
///
/// # Errors
/// zstd fails.
///
/// # Panics
/// A type's name or a dictionary is too long for the file.
pub fn encode(dictionaries: &[Dictionary]) -> std::io::Result<Vec<u8>> {
    let mut plain = MAGIC.to_vec();
    for Dictionary { number, resource_type, bytes } in dictionaries {
        let length = u32::try_from(bytes.len()).expect("a dictionary is far below 4 GiB");
        plain.extend_from_slice(&number.to_le_bytes());
        plain.push(u8::try_from(resource_type.len()).expect("a type's name is short"));
        plain.extend_from_slice(resource_type.as_bytes());
        plain.extend_from_slice(&length.to_le_bytes());
        plain.extend_from_slice(bytes);
    }
    zstd::bulk::compress(&plain, 19)
}

/// The dictionaries of a file; `None` when it is not one.
#[must_use]
pub fn decode(file: &[u8]) -> Option<Vec<Dictionary>> {
    let plain = zstd::bulk::decompress(file, MAX_UNPACKED).ok()?;
    let mut rest = plain.strip_prefix(MAGIC)?;
    let mut dictionaries = Vec::new();
    while !rest.is_empty() {
        let number = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
        let name = usize::from(*take(&mut rest, 1)?.first()?);
        let resource_type = String::from_utf8(take(&mut rest, name)?.to_vec()).ok()?;
        let length = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
        let bytes = take(&mut rest, usize::try_from(length).ok()?)?.to_vec();
        let expected = FIRST_NUMBER as usize + dictionaries.len();
        if number as usize != expected {
            return None;
        }
        dictionaries.push(Dictionary { number, resource_type, bytes });
    }
    Some(dictionaries)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

impl Shipped {
    fn new(dictionaries: Vec<Dictionary>) -> Self {
        let (mut of_type, mut shared) = (HashMap::new(), None);
        for (at, dictionary) in dictionaries.iter().enumerate() {
            // A later one is better: it takes over, and the earlier one is for what it coded.
            if dictionary.resource_type.is_empty() {
                shared = Some(at);
            } else {
                of_type.insert(dictionary.resource_type.clone(), at);
            }
        }
        let ready = dictionaries.into_iter().map(|dictionary| Ready {
            dictionary,
            encoder: OnceLock::new(),
            decoder: OnceLock::new(),
        });
        Self { ready: ready.collect(), of_type, shared }
    }

    fn for_type(&self, resource_type: &str) -> Option<&Ready> {
        let at = self.of_type.get(resource_type).copied().or(self.shared)?;
        self.ready.get(at)
    }

    fn numbered(&self, number: u32) -> Option<&Ready> {
        self.ready.get(number.checked_sub(FIRST_NUMBER)? as usize)
    }

    fn last_number(&self) -> usize {
        FIRST_NUMBER as usize + self.ready.len() - 1
    }
}

impl Ready {
    fn encoder(&self) -> &EncoderDictionary<'static> {
        self.encoder.get_or_init(|| EncoderDictionary::copy(&self.dictionary.bytes, LEVEL))
    }

    fn decoder(&self) -> &DecoderDictionary<'static> {
        self.decoder.get_or_init(|| DecoderDictionary::copy(&self.dictionary.bytes))
    }
}

/// The compressed text, when it is the shorter one.
fn compress(ready: Option<&'static Ready>, json: &[u8]) -> Option<Vec<u8>> {
    if json.len() < COMPRESS_FROM {
        return None;
    }
    COMPRESSOR.with_borrow_mut(|kept| {
        let Coder { compressor, buffer } = match kept {
            Some(coder) => coder,
            none => {
                none.insert(Coder { compressor: Compressor::new(LEVEL).ok()?, buffer: Vec::new() })
            }
        };
        match ready {
            Some(ready) => compressor.set_prepared_dictionary(ready.encoder()).ok()?,
            None => compressor.set_compression_level(LEVEL).ok()?,
        }
        buffer.clear();
        buffer.reserve(compress_bound(json.len()));
        compressor.compress_to_buffer(json, buffer).ok()?;
        // Copied, since a body waits in memory in as many bytes as were reserved for it.
        let compressed = (buffer.len() < json.len()).then(|| buffer.as_slice().to_vec());
        if buffer.capacity() > KEPT_BUFFER {
            *buffer = Vec::new();
        }
        compressed
    })
}

fn decompress(
    ready: Option<&'static Ready>,
    length: u32,
    stored: &[u8],
) -> Result<Vec<u8>, ReadError> {
    // Before anything is reserved for it. zstd itself takes a frame that names no dictionary with
    // any, and makes other bytes of it.
    match get_frame_content_size(stored) {
        Ok(Some(size)) if size == u64::from(length) => {}
        Ok(Some(size)) => return Err(of_other_length(size, length)),
        Ok(None) | Err(_) => return Err(unreadable("it is no zstd frame of a body".to_owned())),
    }
    let named = get_dict_id_from_frame(stored).map_or(0, u32::from);
    let expected = ready.map_or(0, |ready| ready.dictionary.number);
    if named != expected {
        let reason = format!("it names dictionary {named} instead of {expected} (0: none)");
        return Err(unreadable(reason));
    }
    let plain = DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new()?),
        };
        match ready {
            Some(ready) => decompressor.set_prepared_dictionary(ready.decoder())?,
            None => decompressor.set_dictionary(&[])?,
        }
        decompressor.decompress(stored, length as usize)
    });
    let plain = plain.map_err(|error| unreadable(error.to_string()))?;
    if plain.len() == length as usize {
        Ok(plain)
    } else {
        Err(of_other_length(plain.len() as u64, length))
    }
}

fn unreadable(reason: String) -> ReadError {
    ReadError::UnreadableBody { reason }
}

fn of_other_length(found: u64, length: u32) -> ReadError {
    unreadable(format!("{found} bytes instead of {length}"))
}
