//! A settled segment in pieces of about a megabyte: first its documents, then its keys. A piece of
//! keys is of one facet and is read without the others; a key says how much of it is as in the key
//! before.

use std::io;
use std::sync::Arc;

use fhir_core::{Instant, VersionId};
use store::T;

use super::bytes::{Bytes, Reader};
use super::{Damaged, PIECE};
use crate::dictionary::{Dictionary, Summary};
use crate::documents::{Document, DocumentOf, LogPlace, Ordinal};
use crate::facet::Facet;
use crate::memory::Memory;
use crate::postings::Postings;
use crate::segment::Segment;
use crate::source::{Kept, SegmentSource};

const DOCUMENTS: u8 = b'D';
const KEYS: u8 = b'K';

/// Bytes that the keys of a piece may have for each of its own, beside so many in all: a key says
/// how much of it is as before, and so may be much longer than what is there of it.
const MOST_OF_A_BYTE: usize = 64;
const MOST_BESIDE: usize = 16 << 20;

/// What a piece of a segment is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceOf {
    /// Its documents.
    Documents,
    /// The keys of the facet with this number.
    Keys(u32),
}

/// Gives the pieces of a segment, one after the other.
pub(super) fn write(
    segment: &Segment,
    sink: &mut dyn FnMut(PieceOf, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    write_documents(segment, sink)?;
    for (facet, _) in segment.facets() {
        let unreadable = || io::Error::other("keys of the search index cannot be read");
        if let Some(keys) = segment.keys_once(facet).map_err(|_| unreadable())? {
            write_keys(facet, &keys, sink)?;
        }
    }
    Ok(())
}

fn write_keys(
    facet: Facet,
    keys: &Dictionary,
    sink: &mut dyn FnMut(PieceOf, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let of = PieceOf::Keys(facet.number());
    let (mut piece, mut before, mut expanded) = (Bytes::default(), Vec::new(), 0);
    for (key, postings) in keys.range(&[], None) {
        // Long keys that begin alike take little room here, and much where they are read.
        if piece.len() >= PIECE || expanded >= MOST_BESIDE / 2 {
            sink(of, piece.as_slice())?;
            (piece, expanded) = (Bytes::default(), 0);
        }
        expanded += key.len();
        if piece.len() == 0 {
            piece.byte(KEYS);
            piece.number(u64::from(facet.number()));
            before.clear();
        }
        let same = key.iter().zip(&before).take_while(|(own, other)| own == other).count();
        piece.number(same as u64);
        piece.list(&key[same..]);
        before.truncate(same);
        before.extend_from_slice(&key[same..]);
        piece.number(postings.len());
        match postings {
            Postings::Few(docs) => piece.ascending(docs.iter().copied()),
            Postings::Many(docs) => piece.ascending(docs.iter()),
        }
    }
    if piece.len() > 0 { sink(of, piece.as_slice()) } else { Ok(()) }
}

/// Adds the keys of a piece of a facet to those of the pieces before, of which `last` is the last.
pub(crate) fn decode_keys(
    piece: &[u8],
    facet: Facet,
    documents: u32,
    dictionary: &mut Dictionary,
    last: &mut Option<Vec<u8>>,
) -> Result<(), Damaged> {
    let mut reader = Reader::new(piece);
    if reader.byte()? != KEYS || reader.small()? != facet.number() {
        return Err(Damaged("a piece of a segment is not of this facet"));
    }
    let (mut key, mut docs) = (Vec::new(), Vec::new());
    let mut left = piece.len().saturating_mul(MOST_OF_A_BYTE).saturating_add(MOST_BESIDE);
    while !reader.is_empty() {
        let same = usize::try_from(reader.number()?).unwrap_or(usize::MAX);
        if same > key.len() {
            return Err(Damaged("a key begins as none before it"));
        }
        key.truncate(same);
        key.extend_from_slice(reader.list()?);
        let less = left.checked_sub(key.len());
        left = less.ok_or(Damaged("keys are longer than what there is of them"))?;
        if last.as_ref().is_some_and(|last| *last >= key) {
            return Err(Damaged("keys are not in their order"));
        }
        let count = reader.count()?;
        reader.ascending(count, documents, &mut docs)?;
        if docs.is_empty() {
            return Err(Damaged("a key has no documents"));
        }
        if !dictionary.has_room_for(key.len(), docs.len()) {
            return Err(Damaged("there are too many keys"));
        }
        dictionary.push(&key, &docs);
        last.get_or_insert_default().clone_from(&key);
    }
    Ok(())
}

fn write_documents(
    segment: &Segment,
    sink: &mut dyn FnMut(PieceOf, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let of = PieceOf::Documents;
    let mut piece = Bytes::default();
    let mut before = (0, i64::MIN);
    for document in segment.documents.iter() {
        if piece.len() >= PIECE {
            sink(of, piece.as_slice())?;
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
    if piece.len() > 0 { sink(of, piece.as_slice()) } else { Ok(()) }
}

/// A segment that is being read: its documents, and what is known of its keys, which stay where
/// they are kept.
#[derive(Debug, Default)]
pub struct SavedSegment {
    documents: Vec<Document>,
    kept: Option<SavedKeys>,
}

/// What is known of the keys of each facet, and where they are.
type SavedKeys = (Vec<(Facet, Summary)>, Arc<dyn SegmentSource>);

impl SavedSegment {
    /// Takes the next piece of its documents.
    ///
    /// # Errors
    /// [`Damaged`] when it is not one that was written behind those before.
    pub fn piece(&mut self, piece: &[u8]) -> Result<(), Damaged> {
        let mut reader = Reader::new(piece);
        match reader.byte()? {
            DOCUMENTS => self.documents(reader),
            _ => Err(Damaged("a piece of a segment is of no known kind")),
        }
    }

    /// Its keys are there: of these facets, as [`crate::SettledSegment::facets`] had them.
    ///
    /// # Errors
    /// [`Damaged`] when they are not in their order.
    pub fn kept(
        &mut self,
        facets: Vec<(u32, Summary)>,
        source: Arc<dyn SegmentSource>,
    ) -> Result<(), Damaged> {
        let facets: Vec<(Facet, Summary)> =
            facets.into_iter().map(|(number, it)| (Facet::from_number(number), it)).collect();
        if !facets.is_sorted_by(|(one, _), (other, _)| one < other) {
            return Err(Damaged("facets are not in their order"));
        }
        self.kept = Some((facets, source));
        Ok(())
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

    /// Its documents.
    pub(super) fn of(&self) -> &[Document] {
        &self.documents
    }

    /// The segment; `kept` says what its keys may say.
    pub(super) fn finish(
        self,
        kept: impl FnOnce(Arc<dyn SegmentSource>) -> Kept,
        memory: &Arc<Memory>,
    ) -> Result<Segment, Damaged> {
        let (facets, source) = self.kept.ok_or(Damaged("a segment has no keys"))?;
        let facets = facets.into_iter().map(|(facet, summary)| (facet, summary, None)).collect();
        Ok(Segment::new(self.documents, facets, Some(kept(source)), memory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_would_take_far_more_memory_than_there_are_bytes_of_them_are_refused() {
        // Each key is the one before and a letter more.
        let read = |most: u64| {
            let mut piece = Bytes::default();
            piece.byte(KEYS);
            piece.number(0);
            for same in 0..most {
                piece.number(same);
                piece.list(b"a");
                piece.number(1);
                piece.number(0);
            }
            let (mut dictionary, mut last) = (Dictionary::default(), None);
            let piece = piece.as_slice();
            let of = Facet::from_number(0);
            (piece.len(), decode_keys(piece, of, 1, &mut dictionary, &mut last))
        };
        assert_eq!(read(1_000).1, Ok(()));
        let (bytes, refused) = read(20_000);
        assert!(bytes < 200_000 && refused.is_err(), "{bytes}: {refused:?}");
    }

    #[test]
    fn long_keys_that_begin_alike_are_written_as_they_can_be_read() {
        let mut keys = Dictionary::default();
        for number in 0..12_000_u32 {
            keys.push(&[&[b'a'; 4000][..], &number.to_be_bytes()].concat(), &[0]);
        }
        let facet = Facet::from_number(0);
        let (mut read, mut last) = (Dictionary::default(), None);
        let mut longest = 0;
        write_keys(facet, &keys, &mut |_, piece| {
            longest = longest.max(piece.len());
            decode_keys(piece, facet, 1, &mut read, &mut last).map_err(io::Error::other)
        })
        .unwrap();
        assert_eq!(read.len(), keys.len());
        assert!(longest < PIECE);
    }
}
