//! The least that makes many writers' bytes durable: one thread appends what waits, calls
//! fdatasync once, and answers all of them.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use fhir_core::Clock;
use tokio::sync::oneshot;

use super::Failure;
use super::load::{Round, Window};

/// As many as the database takes into one group.
const GROUP: usize = 1024;

/// The log; dropping it ends its thread.
pub(crate) struct RawLog {
    queue: Option<SyncSender<Entry>>,
    writer: Option<JoinHandle<std::io::Result<()>>>,
}

struct Entry {
    bytes: Bytes,
    answer: oneshot::Sender<()>,
}

impl RawLog {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::options().create(true).append(true).open(path)?;
        let (queue, entries) = sync_channel(4096);
        let writer = std::thread::Builder::new().name("raw-log".to_owned());
        let writer = writer.spawn(move || write(file, entries))?;
        Ok(Self { queue: Some(queue), writer: Some(writer) })
    }

    /// Appends; answers when the bytes are on the disk.
    pub(crate) async fn append(&self, bytes: Bytes) -> Result<(), Failure> {
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or("the raw log is closed")?;
        queue.try_send(Entry { bytes, answer }).map_err(|_| "the raw log takes nothing")?;
        Ok(answered.await?)
    }
}

/// Appends `record` in groups of these sizes, over and over, each made durable before the next:
/// what the disk gives to whoever does nothing else. The times are a group's.
pub(crate) fn replay(
    path: &Path,
    record: &[u8],
    groups: &[usize],
    window: Window,
    clock: &dyn Clock,
) -> Result<Round, Failure> {
    let mut file = File::options().create(true).append(true).open(path)?;
    let (mut buffer, mut micros, mut records) = (Vec::new(), Vec::new(), 0);
    let began = clock.monotonic();
    for size in groups.iter().cycle() {
        let group_began = clock.monotonic();
        if group_began - began >= window.measured {
            break;
        }
        buffer.clear();
        (0..*size).for_each(|_| buffer.extend_from_slice(record));
        file.write_all(&buffer)?;
        file.sync_data()?;
        records += *size;
        micros.push(u32::try_from((clock.monotonic() - group_began).as_micros())?);
    }
    Round::of(records, clock.monotonic() - began, micros, None)
}

fn write(mut file: File, entries: Receiver<Entry>) -> std::io::Result<()> {
    let (mut buffer, mut answers) = (Vec::new(), Vec::new());
    while let Ok(first) = entries.recv() {
        buffer.clear();
        let mut next = Some(first);
        while let Some(entry) = next {
            buffer.extend_from_slice(&entry.bytes);
            answers.push(entry.answer);
            next = (answers.len() < GROUP).then(|| entries.try_recv().ok()).flatten();
        }
        file.write_all(&buffer)?;
        file.sync_data()?;
        for answer in answers.drain(..) {
            // Whoever asked may be gone.
            let _ = answer.send(());
        }
    }
    Ok(())
}

impl Drop for RawLog {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // A failed write was told to those who waited for it: they got no answer.
            drop(writer.join());
        }
    }
}
