//! What is written anew with each checkpoint, and the names of resources, in pieces.

use std::io;

use fhir_core::{Instant, ResourceType};
use fhir_search::Kind;
use store::T;

use super::bytes::{Bytes, Reader};
use super::{Checkpoint, Damaged, PIECE};
use crate::documents::Ending;
use crate::names::{Names, Numbers};

const HEAD: u8 = b'H';
const NUMBERS: u8 = b'P';
const ENDINGS: u8 = b'E';

/// The most segments that an index may have.
const MOST_SEGMENTS: u32 = 100_000;

/// Gives the state in pieces.
pub(super) fn write(
    of: &Checkpoint,
    numbers: &Numbers,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = Bytes::default();
    piece.byte(HEAD);
    piece.number(of.t.get());
    piece.integer(of.instant.as_micros());
    piece.number(of.oldest.get());
    piece.number(u64::from(of.names));
    piece.number(of.segments.len() as u64);
    sink(piece.as_slice())?;
    let mut piece = Bytes::default();
    piece.byte(NUMBERS);
    for (resource_type, code, is_reference) in numbers.all() {
        piece.list(resource_type.as_bytes());
        piece.list(code.as_bytes());
        piece.byte(u8::from(is_reference));
    }
    sink(piece.as_slice())?;
    for (segment, (_, endings)) in (0_u64..).zip(&of.segments) {
        // Of 20 bytes each at most.
        for some in endings.chunks(PIECE / 20) {
            let mut piece = Bytes::default();
            piece.byte(ENDINGS);
            piece.number(segment);
            let mut before = (0, i64::MIN);
            for ending in some {
                let (t, instant) = (ending.t.get(), ending.instant.as_micros());
                piece.number(t.saturating_sub(before.0));
                piece.number(instant.wrapping_sub(before.1).cast_unsigned());
                piece.number(u64::from(ending.doc));
                before = (t, instant);
            }
            sink(piece.as_slice())?;
        }
    }
    Ok(())
}

/// The names from `next` on as a piece; `next` is then the first that is not in it.
pub(super) fn write_names(names: &Names, next: &mut u32, end: u32) -> Bytes {
    let mut piece = Bytes::default();
    let types = names.types();
    piece.number(types.len() as u64);
    for resource_type in types {
        piece.list(resource_type.as_str().as_bytes());
    }
    piece.number(u64::from(*next));
    let bound = piece.len() + PIECE;
    while *next < end && piece.len() < bound {
        let (of, id) = names.parts(*next);
        piece.number(u64::from(of));
        piece.list(id);
        *next += 1;
    }
    piece
}

/// The state and the names of a checkpoint that is being read.
#[derive(Debug, Default)]
pub struct SavedState {
    head: Option<(T, Instant, T, u32)>,
    numbers: Vec<(Box<str>, Box<str>, bool)>,
    endings: Vec<Vec<Ending>>,
    names: Names,
}

impl SavedState {
    /// Takes the next piece of the state.
    ///
    /// # Errors
    /// [`Damaged`] when it is not one that was written behind those before.
    pub fn piece(&mut self, piece: &[u8]) -> Result<(), Damaged> {
        let mut reader = Reader::new(piece);
        match (reader.byte()?, self.head) {
            (HEAD, None) => {
                let (t, instant) = (T::new(reader.number()?), reader.integer()?);
                let (oldest, names) = (T::new(reader.number()?), reader.small()?);
                let segments = reader.small()?;
                if segments > MOST_SEGMENTS {
                    return Err(Damaged("there are too many segments"));
                }
                self.endings.resize_with(segments as usize, Vec::new);
                self.head = Some((t, Instant::from_micros(instant), oldest, names));
                reader.end()
            }
            (NUMBERS, Some(_)) if self.numbers.is_empty() => {
                while !reader.is_empty() {
                    let (of, code) = (reader.text()?.into(), reader.text()?.into());
                    self.numbers.push((of, code, reader.byte()? != 0));
                }
                Ok(())
            }
            (ENDINGS, Some(head)) => self.read_endings(reader, head.0),
            _ => Err(Damaged("a piece of the state is of no known kind")),
        }
    }

    fn read_endings(&mut self, mut reader: Reader<'_>, last: T) -> Result<(), Damaged> {
        let segment = self.endings.get_mut(reader.small()? as usize);
        let endings = segment.ok_or(Damaged("versions ended of a segment that is not there"))?;
        let mut before = (0_u64, i64::MIN);
        while !reader.is_empty() {
            let t = before.0.checked_add(reader.number()?);
            let t = t.ok_or(Damaged("a position is too great"))?;
            let instant = before.1.wrapping_add(reader.number()?.cast_signed());
            before = (t, instant);
            let ending = Ending {
                t: T::new(t),
                instant: Instant::from_micros(instant),
                doc: reader.small()?,
            };
            if ending.t > last || endings.last().is_some_and(|before| before.t > ending.t) {
                return Err(Damaged("versions did not end in the order of the log"));
            }
            endings.push(ending);
        }
        Ok(())
    }

    /// Takes the next piece of the names.
    ///
    /// # Errors
    /// As [`SavedState::piece`].
    pub fn names_piece(&mut self, piece: &[u8]) -> Result<(), Damaged> {
        let mut reader = Reader::new(piece);
        let count = reader.count()?;
        let mut types = Vec::new();
        for _ in 0..count {
            let of = ResourceType::new(reader.text()?);
            types.push(of.map_err(|_| Damaged("a type has no such name"))?);
        }
        if reader.small()? != self.names.len() {
            return Err(Damaged("names do not follow those before"));
        }
        while !reader.is_empty() {
            let of = types.get(reader.small()? as usize);
            let of = of.ok_or(Damaged("a resource is of no type"))?;
            let number = self.names.len();
            if self.names.get_or_give(of, reader.text()?).0 != number {
                return Err(Damaged("a name is there twice"));
            }
        }
        Ok(())
    }

    /// How many segments belong to it.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.endings.len()
    }

    /// Up to which position it is.
    #[must_use]
    pub fn t(&self) -> T {
        self.head.map_or(T::ZERO, |(t, ..)| t)
    }

    /// The instant of the commit at that position.
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.head.map_or(Instant::MIN, |(_, instant, ..)| instant)
    }

    pub(super) fn oldest(&self) -> T {
        self.head.map_or(T::ZERO, |(_, _, oldest, _)| oldest)
    }

    pub(super) fn endings(&self) -> &[Vec<Ending>] {
        &self.endings
    }

    pub(super) fn numbers(&self) -> Numbers {
        let mut numbers = Numbers::default();
        for (of, code, is_reference) in &self.numbers {
            let kind = if *is_reference { Kind::Reference } else { Kind::Token };
            numbers.get_or_give(of, code, kind);
        }
        numbers
    }

    /// The names, taken out.
    pub(super) fn take_names(&mut self) -> Result<Names, Damaged> {
        let wanted = self.head.map_or(0, |(.., names)| names);
        if self.names.len() < wanted {
            return Err(Damaged("names are missing"));
        }
        Ok(std::mem::take(&mut self.names))
    }
}
