//! Which files of a kept index belong together.

use super::file::{Kind, PiecePlace, Unusable, Written};
use super::segment_file::SegmentFile;

/// Files of names are not more.
const MOST_FILES: usize = 100_000;

/// What the first piece of a manifest says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// By what it is indexed, and who had been purged.
    pub(super) basis: [u8; 32],
    /// The last version of the log that is in it.
    pub(super) witness: Vec<u8>,
    /// The greatest number that a file has had.
    pub(super) next: u64,
    pub(super) names: Vec<Names>,
    pub(super) segments: Vec<SegmentFile>,
}

/// A file of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) file: Written,
    /// The number after its last name's.
    pub(super) end: u32,
}

impl Manifest {
    /// The names of all files, its own too.
    pub(super) fn files(&self) -> impl Iterator<Item = String> + '_ {
        let names = self.names.iter().map(|names| (Kind::Names, names.file.number));
        let segments = self.segments.iter().map(|it| (Kind::Segment, it.file.number));
        let all = names.chain(segments).chain([(Kind::Manifest, 0)]);
        all.map(|(kind, number)| super::folder::name_of(kind, number))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.basis.to_vec();
        let mut number = |number: u64| bytes.extend_from_slice(&number.to_le_bytes());
        number(self.next);
        number(self.witness.len() as u64);
        bytes.extend_from_slice(&self.witness);
        let mut number = |number: u64| bytes.extend_from_slice(&number.to_le_bytes());
        number(self.names.len() as u64);
        number(self.segments.len() as u64);
        for Names { file, end } in &self.names {
            put(&mut bytes, file);
            bytes.extend_from_slice(&end.to_le_bytes());
        }
        for SegmentFile { file, directory } in &self.segments {
            put(&mut bytes, file);
            directory.put(&mut bytes);
        }
        bytes
    }

    /// Reads what [`Manifest::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unusable> {
        let mut rest = bytes;
        let basis = array(&mut rest)?;
        let next = u64::from_le_bytes(array(&mut rest)?);
        let length = u64::from_le_bytes(array(&mut rest)?);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (witness, behind) = rest.split_at_checked(length).ok_or(ENDS)?;
        rest = behind;
        let [names, segments] = [array(&mut rest)?, array(&mut rest)?]
            .map(|it| usize::try_from(u64::from_le_bytes(it)).unwrap_or(usize::MAX));
        if names > MOST_FILES || segments > MOST_FILES {
            return Err(Unusable::Harmed("it names too many files"));
        }
        let mut manifest = Self {
            basis,
            witness: witness.to_vec(),
            next,
            names: Vec::new(),
            segments: Vec::new(),
        };
        for _ in 0..names {
            let file = take(&mut rest)?;
            manifest.names.push(Names { file, end: u32::from_le_bytes(array(&mut rest)?) });
        }
        for _ in 0..segments {
            let file = take(&mut rest)?;
            let directory = PiecePlace::take(&mut rest).ok_or(ENDS)?;
            manifest.segments.push(SegmentFile { file, directory });
        }
        if rest.is_empty() { Ok(manifest) } else { Err(ENDS) }
    }
}

const ENDS: Unusable = Unusable::Harmed("the list of files does not end where it should");

fn put(bytes: &mut Vec<u8>, file: &Written) {
    bytes.extend_from_slice(&file.number.to_le_bytes());
    bytes.extend_from_slice(&file.bytes.to_le_bytes());
    bytes.extend_from_slice(&file.hash);
}

fn take(rest: &mut &[u8]) -> Result<Written, Unusable> {
    let number = u64::from_le_bytes(array(rest)?);
    Ok(Written { number, bytes: u64::from_le_bytes(array(rest)?), hash: array(rest)? })
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
    fn a_manifest_comes_back_and_nothing_that_was_cut_does() {
        let file = |number| Written { number, bytes: 70, hash: [number as u8; 32] };
        let directory = PiecePlace { offset: 50, number: 3, stored: 9, before: 20, check: [8; 16] };
        let segment = |number| SegmentFile { file: file(number), directory };
        let manifest = Manifest {
            basis: [9; 32],
            witness: b"7 0 Patient/1/1".to_vec(),
            next: 12,
            names: vec![Names { file: file(3), end: 5 }],
            segments: vec![segment(1), segment(12)],
        };
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
        for cut in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(Manifest::decode(&[&bytes[..], &[0]].concat()).is_err());
        let files: Vec<String> = manifest.files().collect();
        assert_eq!(files, ["names-00000003", "segment-00000001", "segment-00000012", "manifest"]);
    }
}
