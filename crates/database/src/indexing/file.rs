//! A file of a kept index: a header that says what it is, then pieces, each compressed, sealed
//! where the tenant has keys, and with a checksum of itself and its place, then an end.
//!
//! ```text
//! header  magic 8 | kind 1 | sealed 1 | name of the key 16 | number of the file 8 | check 16
//! piece   bytes stored 4 | bytes before 4 | stored | check 16
//! end     0 4 | 0 4 | check 16
//! ```
//!
//! Numbers are little-endian. A check is the first half of SHA-256 of tenant, header, the piece's
//! number and lengths, and what is stored; the same but what is stored is what a seal is bound to.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use search_index::Damaged;
use store::keys::{Keyring, UnsealError};
use store::{ContentHash, TenantText};

/// What a file begins with: that it is one, and of which form.
const MAGIC: &[u8; 8] = b"HGINDEX\x02";
const HEADER: usize = 34;
pub(super) const CHECK: usize = 16;
/// How many bytes the lengths before a piece have.
const LENGTHS: u64 = 8;
/// A piece has no more bytes, before and after it is compressed.
const MOST_BYTES: usize = 64 << 20;
const LEVEL: i32 = 1;
/// With so many bytes more what was written is made durable.
const SYNCED_AT_ONCE: u64 = 32 << 20;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Manifest = b'm',
    Names = b'n',
    Segment = b's',
}

/// What files are bound to, and what they are sealed with.
#[derive(Debug, Clone)]
pub(super) struct Seal {
    pub(super) tenant: TenantText,
    pub(super) keys: Option<(Arc<Keyring>, [u8; 16])>,
}

/// A file that was written, so that no other passes for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// A hash of all its checks.
    pub(super) hash: [u8; 32],
}

/// A piece within its file, so that it is found alone and no other passes for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PiecePlace {
    /// Where what is stored begins.
    pub(super) offset: u64,
    /// Which of the file's pieces it is.
    pub(super) number: u64,
    pub(super) stored: u32,
    pub(super) before: u32,
    pub(super) check: [u8; CHECK],
}

impl PiecePlace {
    pub(super) fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.offset.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.stored.to_le_bytes());
        bytes.extend_from_slice(&self.before.to_le_bytes());
        bytes.extend_from_slice(&self.check);
    }

    /// Takes off what [`PiecePlace::put`] wrote; none where it is not there.
    pub(super) fn take(rest: &mut &[u8]) -> Option<Self> {
        let mut bytes = *rest;
        let place = Self {
            offset: u64::from_le_bytes(first(&mut bytes)?),
            number: u64::from_le_bytes(first(&mut bytes)?),
            stored: u32::from_le_bytes(first(&mut bytes)?),
            before: u32::from_le_bytes(first(&mut bytes)?),
            check: first(&mut bytes)?,
        };
        *rest = bytes;
        Some(place)
    }
}

fn first<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*first)
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("it is not whole: {0}")]
    Harmed(&'static str),
    #[error("it cannot be opened with the keys of the tenant")]
    Sealed,
    #[error("it says what no index can say: {0}")]
    Content(#[from] Damaged),
    /// What it says of keys cannot be read.
    #[error("{0}")]
    Keys(String),
    #[error("{0}")]
    Other(&'static str),
}

/// Where a piece stands.
struct Place {
    of: Vec<u8>,
    number: u64,
}

impl Place {
    fn new(tenant: &TenantText, header: &[u8]) -> Self {
        let tenant = tenant.as_str().as_bytes();
        let length = [u8::try_from(tenant.len()).unwrap_or(u8::MAX)];
        Self { of: [&length[..], tenant, header].concat(), number: 0 }
    }

    /// The next piece's place, as bytes.
    fn next(&mut self, lengths: &[u8]) -> Vec<u8> {
        self.number += 1;
        self.of(self.number, lengths)
    }

    /// The place of the piece with a number, as bytes.
    fn of(&self, number: u64, lengths: &[u8]) -> Vec<u8> {
        [&self.of[..], &number.to_le_bytes(), lengths].concat()
    }
}

fn check(place: &[u8], stored: &[u8]) -> [u8; CHECK] {
    let ContentHash(hash) = ContentHash::of(&[place, stored].concat());
    let (first, _) = hash.split_first_chunk().expect("a hash has 32 bytes");
    *first
}

fn header(seal: &Seal, kind: Kind, number: u64) -> Vec<u8> {
    let (sealed, name) = match &seal.keys {
        Some((_, name)) => (1, *name),
        None => (0, [0; 16]),
    };
    [&MAGIC[..], &[kind as u8, sealed], &name, &number.to_le_bytes()].concat()
}

/// A file being written.
pub(super) struct Writer<'s> {
    file: BufWriter<File>,
    seal: &'s Seal,
    place: Place,
    number: u64,
    bytes: u64,
    /// How many of them are known to be on the disk.
    synced: u64,
    checks: Vec<u8>,
}

impl<'s> Writer<'s> {
    /// Begins a file, which only its owner may read.
    pub(super) fn create(path: &Path, seal: &'s Seal, kind: Kind, number: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let header = header(seal, kind, number);
        let mut place = Place::new(&seal.tenant, &header);
        let mut file = BufWriter::new(file);
        file.write_all(&header)?;
        let check = check(&place.next(&[]), &[]);
        file.write_all(&check)?;
        // Whoever forgets the file from now on finds its key.
        file.flush()?;
        let bytes = (header.len() + CHECK) as u64;
        Ok(Self { file, seal, place, number, bytes, synced: 0, checks: check.to_vec() })
    }

    /// Adds a piece.
    pub(super) fn piece(&mut self, piece: &[u8]) -> io::Result<PiecePlace> {
        if piece.len() > MOST_BYTES {
            return Err(io::Error::other("a piece of the search index is too large"));
        }
        let packed = zstd::bulk::compress(piece, LEVEL)?;
        let before = length(piece.len()).to_le_bytes();
        let place = self.place.next(&before);
        let stored = match &self.seal.keys {
            Some((keys, name)) => keys
                .seal(keys.of_derived(name), &place, &packed)
                .map_err(|_| io::Error::other("the key of the search index was destroyed"))?,
            None => packed,
        };
        let (offset, number) = (self.bytes + LENGTHS, self.place.number);
        let check = self.write(&place, before, &stored)?;
        // So that its end, which cannot be broken off, does not wait for all of it.
        if self.bytes - self.synced >= SYNCED_AT_ONCE {
            self.file.flush()?;
            self.file.get_ref().sync_data()?;
            self.synced = self.bytes;
        }
        let (stored, before) = (length(stored.len()), length(piece.len()));
        Ok(PiecePlace { offset, number, stored, before, check })
    }

    fn write(&mut self, place: &[u8], before: [u8; 4], stored: &[u8]) -> io::Result<[u8; CHECK]> {
        let check = check(place, stored);
        self.file.write_all(&length(stored.len()).to_le_bytes())?;
        self.file.write_all(&before)?;
        self.file.write_all(stored)?;
        self.file.write_all(&check)?;
        self.checks.extend_from_slice(&check);
        self.bytes += LENGTHS + (stored.len() + CHECK) as u64;
        Ok(check)
    }

    /// Ends it: it is durable then, though not its name.
    pub(super) fn finish(mut self) -> io::Result<Written> {
        let before = [0; 4];
        let place = self.place.next(&before);
        self.write(&place, before, &[])?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let ContentHash(hash) = ContentHash::of(&self.checks);
        Ok(Written { number: self.number, bytes: self.bytes, hash })
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The name of the key that a file says it is sealed with.
pub(super) fn key_of(path: &Path) -> io::Result<Option<[u8; 16]>> {
    let mut header = [0; HEADER];
    match File::open(path)?.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let is_sealed = header.starts_with(MAGIC) && header[9] == 1;
    Ok(is_sealed.then(|| header[10..26].try_into().unwrap_or_default()))
}

/// Reads a file piece by piece, and says which it was. Nothing of a piece is given before its
/// check and its seal have been looked at, and no more memory is taken than the file has bytes,
/// or than a piece may have.
pub(super) fn read(
    path: &Path,
    seal: &Seal,
    (kind, number): (Kind, u64),
    take: &mut dyn FnMut(&[u8]) -> Result<(), Unusable>,
) -> Result<Written, Unusable> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    read_from(BufReader::new(file), bytes, seal, (kind, number), take)
}

fn read_from(
    mut file: impl Read,
    bytes: u64,
    seal: &Seal,
    (kind, number): (Kind, u64),
    take: &mut dyn FnMut(&[u8]) -> Result<(), Unusable>,
) -> Result<Written, Unusable> {
    let mut place = begun(&mut file, seal, (kind, number))?;
    let mut checks = Vec::new();
    checked(&mut file, &place.next(&[]), &[], &mut checks)?;
    loop {
        let mut lengths = [0; 8];
        exactly(&mut file, &mut lengths)?;
        let [stored, before] = [&lengths[..4], &lengths[4..]]
            .map(|it| u32::from_le_bytes(it.try_into().unwrap_or_default()) as usize);
        if stored > 2 * MOST_BYTES || stored as u64 > bytes || before > MOST_BYTES {
            return Err(Unusable::Harmed("a piece is too large"));
        }
        let place = place.next(&lengths[4..]);
        let mut piece = vec![0; stored];
        exactly(&mut file, &mut piece)?;
        checked(&mut file, &place, &piece, &mut checks)?;
        if stored == 0 {
            break;
        }
        take(&opened(seal, &place, piece, before)?)?;
    }
    if file.read(&mut [0])? > 0 {
        return Err(Unusable::Harmed("something follows its end"));
    }
    let ContentHash(hash) = ContentHash::of(&checks);
    Ok(Written { number, bytes, hash })
}

/// Where the pieces of a file are, whose header is as it should be.
fn begun(
    file: &mut impl Read,
    seal: &Seal,
    (kind, number): (Kind, u64),
) -> Result<Place, Unusable> {
    let mut found = [0; HEADER];
    exactly(file, &mut found)?;
    if !found.starts_with(MAGIC) {
        return Err(Unusable::Harmed("it is of no form that this version reads"));
    }
    if found[..] != header(seal, kind, number) {
        return Err(Unusable::Harmed("it is another file, or sealed with another key"));
    }
    Ok(Place::new(&seal.tenant, &found))
}

/// What a piece was before it was stored.
fn opened(seal: &Seal, place: &[u8], stored: Vec<u8>, before: usize) -> Result<Vec<u8>, Unusable> {
    let packed = match &seal.keys {
        None => stored,
        Some((keys, name)) => match keys.unseal(keys.of_derived(name), place, &stored) {
            Ok(packed) => packed,
            Err(UnsealError::KeyDestroyed | UnsealError::Altered) => return Err(Unusable::Sealed),
        },
    };
    let piece = zstd::bulk::decompress(&packed, before)?;
    if piece.len() == before {
        Ok(piece)
    } else {
        Err(Unusable::Harmed("a piece is of another length"))
    }
}

/// A file whose pieces are read one by one, wherever they stand. It stays readable when its name
/// is gone, as long as its key is there.
pub(super) struct PlacedFile {
    file: File,
    seal: Seal,
    place: Place,
    bytes: u64,
}

impl PlacedFile {
    /// Opens one of so many bytes.
    pub(super) fn open(
        path: &Path,
        seal: &Seal,
        of: (Kind, u64),
        bytes: u64,
    ) -> Result<Self, Unusable> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() != bytes {
            return Err(Unusable::Harmed("it is of another length"));
        }
        let place = begun(&mut file, seal, of)?;
        Ok(Self { file, seal: seal.clone(), place, bytes })
    }

    /// Reads a piece, if it is the one that was written there.
    pub(super) fn piece(&self, of: &PiecePlace) -> Result<Vec<u8>, Unusable> {
        let (stored, before) = (of.stored as usize, of.before as usize);
        let too_large = u64::from(of.stored) > self.bytes || before > MOST_BYTES;
        if too_large {
            return Err(Unusable::Harmed("a piece is too large"));
        }
        let mut piece = vec![0; stored];
        self.at(of.offset, &mut piece)?;
        let place = self.place.of(of.number, &of.before.to_le_bytes());
        if check(&place, &piece) != of.check {
            return Err(Unusable::Harmed("a checksum does not match"));
        }
        opened(&self.seal, &place, piece, before)
    }

    fn at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Unusable> {
        self.file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Unusable::Harmed("it ends too soon"),
            _ => Unusable::Io(error),
        })
    }

    /// As [`Written::hash`], where these are all pieces of the file, in order: what stands between
    /// and behind them is looked at here.
    pub(super) fn hash_with<'p>(
        &self,
        pieces: impl Iterator<Item = &'p PiecePlace>,
    ) -> Result<[u8; 32], Unusable> {
        let beside = Unusable::Harmed("pieces do not follow one another");
        let mut end = HEADER as u64;
        let mut number = 1;
        let mut checks = check(&self.place.of(number, &[]), &[]).to_vec();
        let mut found = vec![0; CHECK];
        self.at(end, &mut found)?;
        if found != checks {
            return Err(Unusable::Harmed("a checksum does not match"));
        }
        end += CHECK as u64;
        for piece in pieces {
            number += 1;
            if piece.number != number || piece.offset != end + LENGTHS {
                return Err(beside);
            }
            checks.extend_from_slice(&piece.check);
            end = piece.offset.saturating_add(u64::from(piece.stored) + CHECK as u64);
        }
        let place = self.place.of(number + 1, &[0; 4]);
        let mut last = vec![0; LENGTHS as usize + CHECK];
        self.at(end, &mut last)?;
        let ends = [&[0; LENGTHS as usize][..], &check(&place, &[])].concat();
        if last != ends || end + last.len() as u64 != self.bytes {
            return Err(beside);
        }
        checks.extend_from_slice(&check(&place, &[]));
        let ContentHash(hash) = ContentHash::of(&checks);
        Ok(hash)
    }
}

impl std::fmt::Debug for PlacedFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PlacedFile").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

fn exactly(file: &mut impl Read, bytes: &mut [u8]) -> Result<(), Unusable> {
    file.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Unusable::Harmed("it ends too soon"),
        _ => Unusable::Io(error),
    })
}

/// Compares the check that follows.
fn checked(
    file: &mut impl Read,
    place: &[u8],
    stored: &[u8],
    checks: &mut Vec<u8>,
) -> Result<(), Unusable> {
    let mut found = [0; CHECK];
    exactly(file, &mut found)?;
    if found != check(place, stored) {
        return Err(Unusable::Harmed("a checksum does not match"));
    }
    checks.extend_from_slice(&found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seal(tenant: &str) -> Seal {
        Seal { tenant: TenantText::new(tenant).unwrap(), keys: None }
    }

    fn written(pieces: &[Vec<u8>]) -> (Vec<u8>, Written) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let of = seal("clinic");
        let mut writer = Writer::create(&path, &of, Kind::Segment, 7).unwrap();
        for piece in pieces {
            writer.piece(piece).unwrap();
        }
        let written = writer.finish().unwrap();
        (std::fs::read(path).unwrap(), written)
    }

    fn read_as(
        bytes: &[u8],
        tenant: &str,
        of: (Kind, u64),
    ) -> Result<(Vec<Vec<u8>>, Written), Unusable> {
        let mut pieces = Vec::new();
        let mut take = |piece: &[u8]| {
            pieces.push(piece.to_vec());
            Ok(())
        };
        let written = read_from(bytes, bytes.len() as u64, &seal(tenant), of, &mut take)?;
        Ok((pieces, written))
    }

    proptest! {
        #[test]
        fn a_file_gives_back_its_pieces_and_every_change_is_noticed(
            pieces in prop::collection::vec(prop::collection::vec(0_u8..4, 0..300), 0..5),
            at in any::<prop::sample::Index>(),
            change in 1_u8..=255,
        ) {
            let (mut bytes, written) = written(&pieces);
            prop_assert_eq!(written.bytes, bytes.len() as u64);
            let read = read_as(&bytes, "clinic", (Kind::Segment, 7)).unwrap();
            prop_assert_eq!(&read, &(pieces, written));
            prop_assert!(read_as(&bytes, "other", (Kind::Segment, 7)).is_err());
            prop_assert!(read_as(&bytes, "clinic", (Kind::Names, 7)).is_err());
            prop_assert!(read_as(&bytes, "clinic", (Kind::Segment, 8)).is_err());
            let at = at.index(bytes.len());
            prop_assert!(read_as(&bytes[..at], "clinic", (Kind::Segment, 7)).is_err());
            let longer = [&bytes[..], &[change]].concat();
            prop_assert!(read_as(&longer, "clinic", (Kind::Segment, 7)).is_err());
            bytes[at] ^= change;
            prop_assert!(read_as(&bytes, "clinic", (Kind::Segment, 7)).is_err());
        }

        #[test]
        fn any_bytes_are_a_file_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let header = header(&seal("clinic"), Kind::Names, 1);
            prop_assert!(read_as(&bytes, "clinic", (Kind::Names, 1)).is_err());
            let behind = [&header[..], &bytes].concat();
            prop_assert!(read_as(&behind, "clinic", (Kind::Names, 1)).is_err());
        }
    }
}
