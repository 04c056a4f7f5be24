//! The histories of segments that others follow: files, written behind, and made again from the
//! segment where they are missing or harmed.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use fhir_core::ResourceType;
use parking_lot::Mutex;
use store::{Head, ReadError, T, TenantText};

use super::InOrder;
use super::rows::Rows;
use super::run::{self, Run};
use crate::layout::Layout;
use crate::scan::{Place, ScanError, SegmentScan};

/// What is known of the segments that others follow.
pub(super) struct Sealed {
    layout: Layout,
    tenant: TenantText,
    kept: Arc<Mutex<HashMap<u64, Part>>>,
    /// Held by who derives one from its segment: once is enough.
    deriving: Mutex<()>,
    writing: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Clone)]
enum Part {
    /// Not written yet, or not for lack of room.
    Memory(Arc<Rows>),
    File(Arc<Run>),
}

impl Sealed {
    pub(super) fn new(layout: Layout, tenant: TenantText) -> Self {
        Self {
            layout,
            tenant,
            kept: Arc::default(),
            deriving: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    /// Takes the rows of a segment after which the head is `end`, and writes them behind.
    pub(super) fn seal(&self, segment: u64, rows: Rows, end: Head) {
        let rows = Arc::new(rows);
        self.kept.lock().insert(segment, Part::Memory(Arc::clone(&rows)));
        self.settle();
        let (layout, kept) = (self.layout.clone(), Arc::clone(&self.kept));
        let write = move || match write(&layout, segment, &rows, end) {
            Ok(run) => {
                kept.lock().insert(segment, Part::File(Arc::new(run)));
            }
            Err(error) => not_written(segment, &error),
        };
        match Builder::new().name("store-history".to_owned()).spawn(write) {
            Ok(thread) => *self.writing.lock() = Some(thread),
            Err(error) => not_written(segment, &error),
        }
    }

    /// Waits for what is being written.
    pub(super) fn settle(&self) {
        if let Some(thread) = self.writing.lock().take() {
            // A panic of its own has been printed, and what it was to write stays in memory.
            drop(thread.join());
        }
    }

    /// How many versions a segment has, when that is known without reading it.
    pub(super) fn versions(
        &self,
        segment: u64,
        of: Option<&ResourceType>,
        ends: impl Fn() -> Result<(Head, Head), ReadError>,
    ) -> Result<Option<u64>, ReadError> {
        Ok(match self.part(segment, ends)? {
            Part::Memory(_) => None,
            Part::File(run) => Some(run.versions(of).into()),
        })
    }

    pub(super) fn within<R>(
        &self,
        segment: u64,
        ends: impl Fn() -> Result<(Head, Head), ReadError>,
        ask: impl Fn(&dyn InOrder) -> io::Result<R>,
    ) -> Result<R, ReadError> {
        let asked = |part: &Part| match part {
            Part::Memory(rows) => ask(rows.as_ref()),
            Part::File(run) => ask(&run.reader()?),
        };
        let part = self.part(segment, &ends)?;
        match asked(&part) {
            Ok(answer) => Ok(answer),
            Err(error) if !is_harm(&error) => Err(unreadable(segment, &error)),
            Err(error) => {
                tracing::warn!(%error, segment, "a history cannot be read and is made again");
                self.kept.lock().remove(&segment);
                let part = self.derive(segment, ends()?)?;
                asked(&part).map_err(|source| ReadError::Io { segment, offset: 0, source })
            }
        }
    }

    /// Whether the file, if there is one, is the one of these rows.
    pub(super) fn agrees(
        &self,
        segment: u64,
        rows: &Rows,
        ends: impl Fn() -> Result<(Head, Head), ReadError>,
    ) -> Result<bool, ReadError> {
        let (base, end) = ends()?;
        if base.t.get() + u64::from(rows.commits()) != end.t.get() {
            // The segment was read up to an earlier head.
            return Ok(true);
        }
        let run = Run::open(self.layout.disk(), &self.layout.history(segment), segment, base, end);
        match run.and_then(|run| run.is_of(segment, rows)) {
            Ok(same) => Ok(same),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(source) => Err(ReadError::Io { segment, offset: 0, source }),
        }
    }

    fn part(
        &self,
        segment: u64,
        ends: impl Fn() -> Result<(Head, Head), ReadError>,
    ) -> Result<Part, ReadError> {
        if let Some(part) = self.kept.lock().get(&segment) {
            return Ok(part.clone());
        }
        let _deriving = self.deriving.lock();
        if let Some(part) = self.kept.lock().get(&segment) {
            return Ok(part.clone());
        }
        let (base, end) = ends()?;
        match Run::open(self.layout.disk(), &self.layout.history(segment), segment, base, end) {
            Ok(run) => {
                let part = Part::File(Arc::new(run));
                self.kept.lock().insert(segment, part.clone());
                Ok(part)
            }
            Err(error) if !is_harm(&error) => Err(unreadable(segment, &error)),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, segment, "a history cannot be read and is made again");
                }
                self.derive(segment, (base, end))
            }
        }
    }

    /// Reads the segment, which lies between these heads.
    fn derive(&self, segment: u64, (base, end): (Head, Head)) -> Result<Part, ReadError> {
        let failed = |error| match error {
            ScanError::Damaged(damage) => ReadError::from(damage),
            ScanError::Io { source, .. } => ReadError::Io { segment, offset: 0, source },
        };
        let path = self.layout.segment(segment);
        let (tenant, whole) = (&self.tenant, T::new(u64::MAX));
        let scan = SegmentScan::open(
            self.layout.disk(),
            &path,
            segment,
            Place::Inner,
            tenant,
            Some(base),
            whole,
        );
        let mut scan = scan.map_err(failed)?.with_rows();
        while scan.next().map_err(failed)?.is_some() {}
        let rows = scan.rows().expect("they were asked for");
        let part = match write(&self.layout, segment, &rows, end) {
            Ok(run) => Part::File(Arc::new(run)),
            Err(error) => {
                not_written(segment, &error);
                Part::Memory(Arc::new(rows))
            }
        };
        self.kept.lock().insert(segment, part.clone());
        Ok(part)
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        self.settle();
    }
}

fn write(layout: &Layout, segment: u64, rows: &Rows, end: Head) -> io::Result<Run> {
    layout.write_history(segment, &run::encode(segment, rows, end))?;
    Run::open(layout.disk(), &layout.history(segment), segment, rows.base(), end)
}

/// Whether the file is gone or not what was written, so that it is made again. A disk that cannot
/// be read says nothing against it (G8).
fn is_harm(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
}

fn unreadable(segment: u64, error: &io::Error) -> ReadError {
    let source = io::Error::new(error.kind(), format!("its history: {error}"));
    ReadError::Io { segment, offset: 0, source }
}

fn not_written(segment: u64, error: &io::Error) {
    tracing::warn!(%error, segment, "a history was not written and stays in memory");
}
