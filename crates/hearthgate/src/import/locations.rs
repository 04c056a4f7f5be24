//! Where everything that was imported is: a line of JSON for each resource, written as the
//! answers come.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};

use serde::Serialize;

use super::document::{Place, What};
use super::sending::{Arrived, Fate};

/// The file of locations. One that cannot be written stops nothing: it is said at the end.
#[derive(Debug)]
pub(crate) struct Locations {
    /// None where none was asked for.
    out: Option<BufWriter<File>>,
    failed: Option<io::Error>,
}

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<usize>,
    location: &'a str,
}

impl Locations {
    pub(crate) fn to(file: Option<File>) -> Self {
        Self { out: file.map(BufWriter::new), failed: None }
    }

    /// Writes where the resources of a shipment are; of those that are nowhere, nothing.
    pub(crate) fn add(&mut self, arrived: &Arrived) {
        if self.failed.is_none() {
            self.failed = self.write(arrived).err();
        }
    }

    fn write(&mut self, arrived: &Arrived) -> io::Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let mut write = |place: &Place, entry: Option<usize>, location: &str| {
            let line = Line { file: &place.file, line: place.line, entry, location };
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")
        };
        let place = &arrived.place;
        match (&arrived.fate, &arrived.what) {
            (Fate::Stands(_, Some(location)), _) => write(place, place.entry, location),
            (Fate::Stands(_, None), What::Put(name, id)) => {
                write(place, place.entry, &format!("{name}/{id}"))
            }
            (Fate::Answered(entries), _) => {
                entries.iter().enumerate().try_for_each(|(at, entry)| match &entry.location {
                    Some(location) if entry.stands() => write(place, Some(at + 1), location),
                    _ => Ok(()),
                })
            }
            _ => Ok(()),
        }
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// The first that was met.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        match self.failed {
            Some(error) => Err(error),
            None => self.out.as_mut().map_or(Ok(()), |out| out.flush()),
        }
    }
}
