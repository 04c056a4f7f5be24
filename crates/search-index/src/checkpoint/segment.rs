//! A settled segment in pieces of about a megabyte: first its documents, then its keys, each piece
//! to be read without the others. A key says how much of it is as in the key before.

use std::io;

use fhir_core::{Instant, VersionId};
use store::T;

use super::bytes::{Bytes, Reader};
use super::{Damaged, PIECE};
use crate::dictionary::Dictionary;
use crate::documents::{Document, DocumentOf, LogPlace, Ordinal};
use crate::facet::Facet;
use crate::part::Part;
use crate::segment::Segment;

const DOCUMENTS: u8 = b'D';
const KEYS: u8 = b'K';

/// Bytes that keys may have for each byte they are read from, beside so many in all: a key says how
/// much of it is as before, and so may be much longer than what is there of it.
const MOST_OF_A_BYTE: usize = 64;
const MOST_BESIDE: usize = 16 << 20;

/// Gives the pieces of a segment, one after the other.
pub(super) fn write(
    segment: &Segment,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    write_documents(segment, sink)?;
    let mut piece = Bytes::default();
    let mut before: (Option<Facet>, Vec<u8>) = (None, Vec::new());
    for (facet, key, postings) in segment.keys() {
        if piece.len() >= PIECE {
            sink(piece.as_slice())?;
            piece = Bytes::default();
        }
        if piece.len() == 0 {
            piece.byte(KEYS);
            before = (None, Vec::new());
        }
        if before.0 == Some(facet) {
            piece.number(0);
        } else {
            piece.number(u64::from(facet.number()) + 1);
            before = (Some(facet), Vec::new());
        }
        let same = key.iter().zip(&before.1).take_while(|(own, other)| own == other).count();
        piece.number(same as u64);
        piece.list(&key[same..]);
        before.1.truncate(same);
        before.1.extend_from_slice(&key[same..]);
        piece.number(postings.len());
        match postings {
            crate::postings::Postings::Few(docs) => piece.ascending(docs.iter().copied()),
            crate::postings::Postings::Many(docs) => piece.ascending(docs.iter()),
        }
    }
    if piece.len() > 0 { sink(piece.as_slice()) } else { Ok(()) }
}

fn write_documents(
    segment: &Segment,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = Bytes::default();
    let mut before = (0, i64::MIN);
    for document in segment.documents().iter() {
        if piece.len() >= PIECE {
            sink(piece.as_slice())?;
            piece = Bytes::default();
        }
        if piece.len() == 0 {
            piece.byte(DOCUMENTS);
            before = (0, i64::MIN);
        }
        let (t, instant) = (document.place.t.get(), document.instant.as_micros());
        let is_contained = document.of == DocumentOf::Contained;
        piece.number(t.saturating_sub(before.0) << 1 | u64::from(is_contained));
        piece.number(instant.wrapping_sub(before.1).cast_unsigned());
        piece.number(u64::from(document.place.change));
        piece.number(document.version.get());
        piece.raw(&document.ordinal.0.to_le_bytes());
        before = (t, instant);
    }
    if piece.len() > 0 { sink(piece.as_slice()) } else { Ok(()) }
}

/// A segment that is being read.
#[derive(Debug, Default)]
pub struct SavedSegment {
    documents: Vec<Document>,
    dictionary: Dictionary,
    /// The facet and key before, over all pieces.
    last: (Option<Facet>, Vec<u8>),
    docs: Vec<u32>,
    /// Bytes of the pieces that keys were read from, and of the keys.
    read: usize,
    made: usize,
}

impl SavedSegment {
    /// Takes its next piece.
    ///
    /// # Errors
    /// [`Damaged`] when it is not one that was written behind those before.
    pub fn piece(&mut self, piece: &[u8]) -> Result<(), Damaged> {
        let mut reader = Reader::new(piece);
        match reader.byte()? {
            DOCUMENTS if self.last.0.is_none() => self.documents(reader),
            KEYS => {
                self.read += piece.len();
                self.keys(reader)
            }
            _ => Err(Damaged("a piece of a segment is of no known kind")),
        }
    }

    fn documents(&mut self, mut reader: Reader<'_>) -> Result<(), Damaged> {
        let mut before = (0_u64, i64::MIN);
        while !reader.is_empty() {
            let number = reader.number()?;
            let t = before.0.checked_add(number >> 1).ok_or(Damaged("a position is too great"))?;
            let instant = before.1.wrapping_add(reader.number()?.cast_signed());
            let change = reader.small()?;
            let version = VersionId::new(reader.number()?);
            let version = version.ok_or(Damaged("a version has no such number"))?;
            let ordinal = reader.raw(4)?.try_into().map(u32::from_le_bytes);
            let of = match number & 1 {
                0 => DocumentOf::Resource,
                _ => DocumentOf::Contained,
            };
            let document = Document {
                ordinal: Ordinal(ordinal.unwrap_or(u32::MAX)),
                place: LogPlace { t: T::new(t), change },
                version,
                instant: Instant::from_micros(instant),
                of,
            };
            let follows = match (self.documents.last(), of) {
                (None, of) => of == DocumentOf::Resource && t > 0,
                (Some(last), DocumentOf::Contained) => last.place == document.place,
                (Some(last), DocumentOf::Resource) => last.place < document.place,
            };
            let grows = self.documents.last().is_none_or(|last| last.instant <= document.instant);
            if !follows || !grows || self.documents.len() >= u32::MAX as usize - 1 {
                return Err(Damaged("documents are not in the order of the log"));
            }
            self.documents.push(document);
            before = (t, instant);
        }
        Ok(())
    }

    fn keys(&mut self, mut reader: Reader<'_>) -> Result<(), Damaged> {
        let documents = u32::try_from(self.documents.len()).unwrap_or(u32::MAX);
        let mut before: (Option<Facet>, Vec<u8>) = (None, Vec::new());
        while !reader.is_empty() {
            match reader.number()? {
                0 => {}
                number => {
                    let number = u32::try_from(number - 1);
                    let number = number.map_err(|_| Damaged("a number is too great"))?;
                    before = (Some(Facet::from_number(number)), Vec::new());
                }
            }
            let facet = before.0.ok_or(Damaged("a key has no facet"))?;
            let same = usize::try_from(reader.number()?).unwrap_or(usize::MAX);
            if same > before.1.len() {
                return Err(Damaged("a key begins as none before it"));
            }
            before.1.truncate(same);
            before.1.extend_from_slice(reader.list()?);
            self.made += before.1.len();
            if self.made > self.read.saturating_mul(MOST_OF_A_BYTE).saturating_add(MOST_BESIDE) {
                return Err(Damaged("keys are longer than what there is of them"));
            }
            let follows = match self.last.0 {
                None => true,
                Some(last) => (last, &self.last.1) < (facet, &before.1),
            };
            if !follows {
                return Err(Damaged("keys are not in their order"));
            }
            let count = reader.count()?;
            reader.ascending(count, documents, &mut self.docs)?;
            if !self.dictionary.has_room_for(before.1.len(), self.docs.len()) {
                return Err(Damaged("there are too many keys"));
            }
            self.dictionary.push(facet, &before.1, &self.docs);
            self.last.0 = Some(facet);
            self.last.1.clone_from(&before.1);
        }
        Ok(())
    }

    /// Its documents.
    pub(super) fn of(&self) -> &[Document] {
        &self.documents
    }

    /// Its keys of a facet.
    pub(super) fn keys_of(&self, facet: Facet) -> impl Iterator<Item = &[u8]> {
        self.dictionary.places(facet).map(|place| self.dictionary.key(place))
    }

    pub(super) fn finish(mut self) -> Segment {
        self.dictionary.shrink();
        Segment::new(self.documents, self.dictionary)
    }
}
