//! The same on disk: one file for each segment that is followed by another, `history/N.run`,
//! derived from the segment. All numbers are little-endian, all checksums CRC-32C.
//!
//! It begins with magic `HGATERUN` (8 bytes), format 1 (4), the header's length (4), the
//! segment's number (8), the head of the log before the segment and after it (`t` 8, instant 8,
//! hash 32, each), the number of commits (4), of versions (4) and of types (4), for each type its
//! name (1 + n) and its number of versions (4), and the checksum of all that (4), then zeros up
//! to a multiple of 4096.
//!
//! Then come five columns, each from the beginning of a page: the commits' instants (8) and the
//! number of versions up to each one's end (4), the offset (8) and length (4) of each version's
//! block, and for one type after the other which versions are of it (4). A page is 4088 bytes of
//! the column, filled up with zeros, the checksum of them (4) and four zeros.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use fhir_core::{Instant, ResourceType};
use store::{CommitHash, Head, T};

use super::InOrder;
use super::rows::Rows;
use crate::disk::{Disk, Reading};

const MAGIC: &[u8; 8] = b"HGATERUN";
const FORMAT: u32 = 1;
const PAGE: usize = 4096;
/// Bytes of a column on a page.
const PAGE_BYTES: usize = 4088;
/// Up to and including the number of types.
const FIXED: usize = 8 + 4 + 4 + 8 + 2 * HEAD + 4 + 4 + 4;
const HEAD: usize = 8 + 8 + 32;
/// No header has more bytes.
const LONGEST_HEADER: usize = 1 << 20;

/// What stands in a run's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    disk: Disk,
    path: PathBuf,
    base: Head,
    end: Head,
    commits: u32,
    rows: u32,
    /// The name of each type and the number of its versions.
    types: Vec<(ResourceType, u32)>,
    /// The page at which each column begins.
    columns: [u64; COLUMNS],
}

const COLUMNS: usize = 5;

/// A column: its number and the bytes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Column(usize, usize);

const INSTANTS: Column = Column(0, 8);
const ENDS: Column = Column(1, 4);
const OFFSETS: Column = Column(2, 8);
const LENGTHS: Column = Column(3, 4);
const TYPED: Column = Column(4, 4);

/// The bytes of the run of a segment with these rows, after which the log's head is `end`.
pub(super) fn encode(number: u64, rows: &Rows, end: Head) -> Vec<u8> {
    let mut header = Vec::with_capacity(PAGE);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&FORMAT.to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    header.extend_from_slice(&number.to_le_bytes());
    for head in [rows.base(), end] {
        header.extend_from_slice(&head.t.get().to_le_bytes());
        header.extend_from_slice(&head.instant.as_micros().to_le_bytes());
        header.extend_from_slice(&head.hash.0);
    }
    header.extend_from_slice(&rows.commits().to_le_bytes());
    header.extend_from_slice(&rows.rows().to_le_bytes());
    header.extend_from_slice(&count(rows.types.len()).to_le_bytes());
    for types in &rows.types {
        let name = types.of.as_str().as_bytes();
        header.push(u8::try_from(name.len()).expect("the record holds a type's name by this"));
        header.extend_from_slice(name);
        header.extend_from_slice(&count(types.rows.len()).to_le_bytes());
    }
    let length = count(header.len() + 4).to_le_bytes();
    header[12..16].copy_from_slice(&length);
    let checksum = crc32c::crc32c(&header).to_le_bytes();
    header.extend_from_slice(&checksum);
    header.resize(header.len().next_multiple_of(PAGE), 0);
    let mut into = header;
    put_column(rows.instants.iter().map(|instant| instant.as_micros().to_le_bytes()), &mut into);
    put_column(rows.ends.iter().map(|end| end.to_le_bytes()), &mut into);
    put_column(rows.offsets.iter().map(|offset| offset.to_le_bytes()), &mut into);
    put_column(rows.lengths.iter().map(|length| length.to_le_bytes()), &mut into);
    let typed = rows.types.iter().flat_map(|types| &types.rows);
    put_column(typed.map(|row| row.to_le_bytes()), &mut into);
    into
}

fn put_column<const N: usize>(values: impl Iterator<Item = [u8; N]>, into: &mut Vec<u8>) {
    let mut page = Vec::with_capacity(PAGE);
    let mut put = |page: &mut Vec<u8>| {
        page.resize(PAGE_BYTES, 0);
        let checksum = crc32c::crc32c(page).to_le_bytes();
        page.extend_from_slice(&checksum);
        page.resize(PAGE, 0);
        into.extend_from_slice(page);
        page.clear();
    };
    for value in values {
        page.extend_from_slice(&value);
        if page.len() == PAGE_BYTES {
            put(&mut page);
        }
    }
    if !page.is_empty() {
        put(&mut page);
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a segment has fewer than 2^32 of anything")
}

impl Run {
    /// Reads the header of the run at `path`: that of segment `number`, between these heads.
    pub(super) fn open(
        disk: &Disk,
        path: &Path,
        number: u64,
        base: Head,
        end: Head,
    ) -> io::Result<Self> {
        let file = disk.open_to_read(path)?;
        let mut header = vec![0; PAGE];
        file.read_exact_at(&mut header, 0)?;
        let length = number_4(&header[12..]) as usize;
        if &header[..8] != MAGIC
            || number_4(&header[8..]) != FORMAT
            || !(FIXED + 4..=LONGEST_HEADER).contains(&length)
        {
            return Err(harmed("its header is none"));
        }
        if length > PAGE {
            header.resize(length, 0);
            file.read_exact_at(&mut header[PAGE..], PAGE as u64)?;
        }
        let (header, checksum) = header[..length].split_at(length - 4);
        if crc32c::crc32c(header) != number_4(checksum) {
            return Err(harmed("its header has another checksum"));
        }
        let heads = [head(&header[24..]), head(&header[24 + HEAD..])];
        if number_8(&header[16..]) != number || heads != [base, end] {
            return Err(harmed("it is of another segment"));
        }
        let at = 24 + 2 * HEAD;
        let (commits, rows) = (number_4(&header[at..]), number_4(&header[at + 4..]));
        let types = types(number_4(&header[at + 8..]), &header[at + 12..]);
        let types = types.ok_or_else(|| harmed("its types cannot be read"))?;
        let counts = [(INSTANTS, commits), (ENDS, commits), (OFFSETS, rows), (LENGTHS, rows)];
        let mut columns = [0; COLUMNS];
        let mut page = length.div_ceil(PAGE) as u64;
        for (Column(number, bytes), count) in counts {
            columns[number] = page;
            page += u64::from(count).div_ceil((PAGE_BYTES / bytes) as u64);
        }
        columns[TYPED.0] = page;
        Ok(Self {
            disk: disk.clone(),
            path: path.to_owned(),
            base,
            end,
            commits,
            rows,
            types,
            columns,
        })
    }

    /// Opens the file, to read what its columns hold.
    pub(super) fn reader(&self) -> io::Result<Reader<'_>> {
        let file = self.disk.open_to_read(&self.path)?;
        Ok(Reader { run: self, file, pages: RefCell::default() })
    }

    /// Whether the file is, byte by byte, the one that is derived from these rows.
    pub(super) fn is_of(&self, number: u64, rows: &Rows) -> io::Result<bool> {
        Ok(self.disk.read(&self.path)? == encode(number, rows, self.end))
    }

    /// How many versions it has, of one type or of all.
    pub(super) fn versions(&self, of: Option<&ResourceType>) -> u32 {
        let Some(of) = of else {
            return self.rows;
        };
        self.types.iter().find(|(name, _)| name == of).map_or(0, |(_, count)| *count)
    }
}

fn types(count: u32, mut bytes: &[u8]) -> Option<Vec<(ResourceType, u32)>> {
    let mut types = Vec::new();
    for _ in 0..count {
        let (length, rest) = bytes.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let (versions, rest) = rest.split_at_checked(4)?;
        let name = ResourceType::new(std::str::from_utf8(name).ok()?).ok()?;
        types.push((name, number_4(versions)));
        bytes = rest;
    }
    bytes.is_empty().then_some(types)
}

/// A run whose file is open.
pub(super) struct Reader<'a> {
    run: &'a Run,
    file: Reading,
    /// The page of each column that was read last, checked.
    pages: RefCell<[(u64, Vec<u8>); COLUMNS]>,
}

impl Reader<'_> {
    fn value(&self, Column(column, bytes): Column, index: u32) -> io::Result<u64> {
        let in_page = PAGE_BYTES / bytes;
        let page = self.run.columns[column] + u64::from(index) / in_page as u64;
        let at = (index as usize % in_page) * bytes;
        let kept = &mut self.pages.borrow_mut()[column];
        // The header's pages are never asked for: 0 is none.
        if kept.0 != page {
            kept.0 = 0;
            kept.1.resize(PAGE, 0);
            self.file.read_exact_at(&mut kept.1, page * PAGE as u64)?;
            if crc32c::crc32c(&kept.1[..PAGE_BYTES]) != number_4(&kept.1[PAGE_BYTES..]) {
                return Err(harmed("a page of it has another checksum"));
            }
            kept.0 = page;
        }
        Ok(match bytes {
            8 => number_8(&kept.1[at..]),
            _ => number_4(&kept.1[at..]).into(),
        })
    }

    fn value_4(&self, column: Column, index: u32) -> io::Result<u32> {
        let value = self.value(column, index)?;
        u32::try_from(value).map_err(|_| harmed("a number of it is too large"))
    }
}

impl InOrder for Reader<'_> {
    fn base(&self) -> Head {
        self.run.base
    }

    fn commits(&self) -> u32 {
        self.run.commits
    }

    fn rows(&self) -> u32 {
        self.run.rows
    }

    fn rows_of(&self, of: &ResourceType) -> u32 {
        self.run.versions(Some(of))
    }

    fn instant(&self, commit: u32) -> io::Result<Instant> {
        Ok(Instant::from_micros(self.value(INSTANTS, commit)?.cast_signed()))
    }

    fn end(&self, commit: u32) -> io::Result<u32> {
        self.value_4(ENDS, commit)
    }

    fn place(&self, row: u32) -> io::Result<(u64, u32)> {
        Ok((self.value(OFFSETS, row)?, self.value_4(LENGTHS, row)?))
    }

    fn row_of(&self, of: &ResourceType, number: u32) -> io::Result<u32> {
        let before = self.run.types.iter().take_while(|(name, _)| name != of);
        let before: u32 = before.map(|(_, count)| count).sum();
        self.value_4(TYPED, before + number)
    }
}

/// The file is not the one that was written: it is made again from the segment.
fn harmed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn head(bytes: &[u8]) -> Head {
    let mut hash = CommitHash::ZERO;
    hash.0.copy_from_slice(&bytes[16..HEAD]);
    let instant = Instant::from_micros(number_8(&bytes[8..]).cast_signed());
    Head { t: T::new(number_8(bytes)), instant, hash }
}

fn number_4(bytes: &[u8]) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[..4]);
    u32::from_le_bytes(number)
}

fn number_8(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(number)
}
