//! The file of a settled segment: the pieces of its documents, then those of its keys, facet by
//! facet, then a directory of which pieces hold what, so that one facet is read without the
//! others.
//!
//! ```text
//! directory  pieces of documents 4 | facets 4
//!            for each piece of documents: piece
//!            for each facet: number 4 | keys 4 | documents 8 | is single 1 | bytes of keys 8 |
//!            bytes of memory 8 | pieces 4, and for each of them: piece
//! piece      offset 8 | number 8 | bytes stored 4 | bytes before 4 | check 16
//! ```
//!
//! The manifest names the file by a hash of all checks, and the directory has them: so a piece that
//! is read alone, whenever that is, is the one that was written.

use std::io;
use std::path::Path;
use std::sync::Arc;

use search_index::{
    Damaged, PieceOf, SavedSegment, SegmentSource, SettledSegment, SourceError, Summary,
};

use super::file::{Kind, PiecePlace, PlacedFile, Seal, Unusable, Written};

/// A segment's file, so that no other passes for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentFile {
    pub(super) file: Written,
    /// Where its directory is.
    pub(super) directory: PiecePlace,
}

/// Which pieces hold what.
#[derive(Debug, Default, PartialEq, Eq)]
struct Directory {
    documents: Vec<PiecePlace>,
    facets: Vec<FacetPieces>,
}

#[derive(Debug, PartialEq, Eq)]
struct FacetPieces {
    number: u32,
    summary: Summary,
    pieces: Vec<PiecePlace>,
}

/// Writes a segment's pieces and its directory. `piece` adds a piece to the file.
pub(super) fn write(
    segment: &SettledSegment,
    piece: &mut dyn FnMut(&[u8]) -> io::Result<PiecePlace>,
) -> io::Result<PiecePlace> {
    let facets = segment.facets().into_iter();
    let facets =
        facets.map(|(number, summary)| FacetPieces { number, summary, pieces: Vec::new() });
    let mut directory = Directory { documents: Vec::new(), facets: facets.collect() };
    segment.write(&mut |of, bytes| {
        let place = piece(bytes)?;
        match of {
            PieceOf::Documents => directory.documents.push(place),
            PieceOf::Keys(number) => {
                let own = directory.facets.binary_search_by_key(&number, |it| it.number);
                let own = own.map_err(|_| io::Error::other("a facet is not one of its segment"))?;
                directory.facets[own].pieces.push(place);
            }
        }
        Ok(())
    })?;
    piece(&directory.encode())
}

/// Opens a segment's file: its documents are read, its keys stay there.
pub(super) fn open(
    path: &Path,
    seal: &Seal,
    of: &SegmentFile,
    look: &mut dyn FnMut() -> Result<(), Unusable>,
) -> Result<SavedSegment, Unusable> {
    let (source, documents, facets) = source(path, seal, of)?;
    let mut segment = SavedSegment::default();
    for place in &documents {
        look()?;
        segment.piece(&source.file.piece(place)?)?;
    }
    segment.kept(facets, Arc::new(source))?;
    Ok(segment)
}

/// A segment's file that was just written, as what its keys are read from.
pub(super) fn reopen(
    path: &Path,
    seal: &Seal,
    of: &SegmentFile,
) -> Result<Arc<dyn SegmentSource>, Unusable> {
    Ok(Arc::new(source(path, seal, of)?.0))
}

/// The source, where its documents are, and what is known of its facets.
type Opened = (FileSource, Vec<PiecePlace>, Vec<(u32, Summary)>);

fn source(path: &Path, seal: &Seal, of: &SegmentFile) -> Result<Opened, Unusable> {
    let file = PlacedFile::open(path, seal, (Kind::Segment, of.file.number), of.file.bytes)?;
    let Directory { documents, facets } = Directory::decode(&file.piece(&of.directory)?)?;
    let of_facets = facets.iter().flat_map(|facet| &facet.pieces);
    let all = documents.iter().chain(of_facets).chain([&of.directory]);
    if file.hash_with(all)? != of.file.hash {
        return Err(Unusable::Harmed("it is another file"));
    }
    let summaries = facets.iter().map(|facet| (facet.number, facet.summary)).collect();
    let pieces = facets.into_iter().map(|it| (it.number, it.pieces.into_boxed_slice())).collect();
    Ok((FileSource { file, pieces }, documents, summaries))
}

/// The keys of a segment in its file.
#[derive(Debug)]
struct FileSource {
    file: PlacedFile,
    /// Ascending by facet.
    pieces: Vec<(u32, Box<[PiecePlace]>)>,
}

impl SegmentSource for FileSource {
    fn facet(
        &self,
        facet: u32,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Damaged>,
    ) -> Result<(), SourceError> {
        let Ok(at) = self.pieces.binary_search_by_key(&facet, |(it, _)| *it) else {
            return Ok(());
        };
        for place in &self.pieces[at].1 {
            let piece = self.file.piece(place);
            take(&piece.map_err(|error| SourceError::Unreadable(error.into()))?)?;
        }
        Ok(())
    }
}

const ENDS: Unusable = Unusable::Harmed("its directory does not end where it should");

impl Directory {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_count(&mut bytes, self.documents.len());
        put_count(&mut bytes, self.facets.len());
        self.documents.iter().for_each(|place| place.put(&mut bytes));
        for FacetPieces { number, summary, pieces } in &self.facets {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(&summary.keys.to_le_bytes());
            bytes.extend_from_slice(&summary.documents.to_le_bytes());
            bytes.push(u8::from(summary.is_single));
            bytes.extend_from_slice(&summary.key_bytes.to_le_bytes());
            bytes.extend_from_slice(&summary.bytes.to_le_bytes());
            put_count(&mut bytes, pieces.len());
            pieces.iter().for_each(|place| place.put(&mut bytes));
        }
        bytes
    }

    /// Reads what [`Directory::encode`] wrote.
    fn decode(bytes: &[u8]) -> Result<Self, Unusable> {
        let mut rest = bytes;
        let [documents, facets] = [count(&mut rest)?, count(&mut rest)?];
        let mut directory = Self { documents: places(documents, &mut rest)?, facets: Vec::new() };
        for _ in 0..facets {
            let number = u32::from_le_bytes(array(&mut rest)?);
            let summary = Summary {
                keys: u32::from_le_bytes(array(&mut rest)?),
                documents: u64::from_le_bytes(array(&mut rest)?),
                is_single: array::<1>(&mut rest)? == [1],
                key_bytes: u64::from_le_bytes(array(&mut rest)?),
                bytes: u64::from_le_bytes(array(&mut rest)?),
            };
            let pieces = count(&mut rest)?;
            let pieces = places(pieces, &mut rest)?;
            directory.facets.push(FacetPieces { number, summary, pieces });
        }
        if rest.is_empty() { Ok(directory) } else { Err(ENDS) }
    }
}

fn places(count: usize, rest: &mut &[u8]) -> Result<Vec<PiecePlace>, Unusable> {
    (0..count).map(|_| PiecePlace::take(rest).ok_or(ENDS)).collect()
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// How many entries follow, of some bytes each.
fn count(rest: &mut &[u8]) -> Result<usize, Unusable> {
    let count = u32::from_le_bytes(array(rest)?) as usize;
    if count > rest.len() { Err(ENDS) } else { Ok(count) }
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Unusable> {
    let (array, behind) = rest.split_first_chunk().ok_or(ENDS)?;
    *rest = behind;
    Ok(*array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_comes_back_and_nothing_that_was_cut_does() {
        let place = |number| PiecePlace {
            offset: 7 * number,
            number,
            stored: 4,
            before: 9,
            check: [3; 16],
        };
        let summary = Summary { keys: 3, documents: 9, is_single: true, key_bytes: 12, bytes: 90 };
        let facet = |number| FacetPieces { number, summary, pieces: vec![place(5), place(6)] };
        let directory =
            Directory { documents: vec![place(2)], facets: vec![facet(16), facet(257)] };
        let bytes = directory.encode();
        assert_eq!(Directory::decode(&bytes).unwrap(), directory);
        for cut in 0..bytes.len() {
            assert!(Directory::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(Directory::decode(&[&bytes[..], &[0]].concat()).is_err());
    }
}
