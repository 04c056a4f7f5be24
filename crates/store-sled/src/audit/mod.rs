//! The audit log in plain files, `audit/` in the tenant's directory: a thread writes what waits
//! every tenth of a second, or at once where somebody waits for it.
//!
//! Groups of events are framed and chained as `frame` says; a group is sealed as a whole with a
//! key of its segment, which is the tenant's and no patient's. What the disk refuses waits, and is
//! tried again; meanwhile [`AuditLog::trouble`] says why, so that nobody does what could not be
//! written down. Blocks of the disk are taken ahead: when it has no more of them that is said while
//! there is room for the events of what is under way, which are written and told to be. Segments that hold nothing younger than they must be kept are removed.

mod extent;
mod frame;
mod patients;
mod reading;
mod segments;
mod verify;

pub use extent::{AuditSegment, audit_segments};
pub use verify::{AuditVerified, verify_audit};

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use fhir_core::Instant;
use parking_lot::{Condvar, Mutex};
use store::TenantText;
use store::audit::{
    AuditLog, ChainHash, Event, Extent, NotKept, Reached, Synced, Unreadable, Visit, encode,
};
use store::keys::Keyring;

use self::frame::{Group, SegmentHeader};
use self::patients::hash_of;
use self::segments::{End, Folder};
use crate::disk::{Disk, DiskFile};

/// What is sealed, in the additional data.
const SEALED: &[u8] = b"hearthgate audit 1";
/// How long an event may wait to be written.
///
/// Half of what is promised: the other half is for what is being written, and the disk.
const PAUSE: Duration = Duration::from_millis(50);
/// How long to wait before what the disk refused is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Bytes of events that wait while the disk refuses them.
const MOST_WAITING: usize = 32 << 20;
/// Bytes after which a new segment begins.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Bytes for which blocks of the disk are taken ahead, and how many of them may be used up before
/// more are taken: the rest is for what is under way when there are no more.
const ROOM: u64 = 4 << 20;
const USED: u64 = 2 << 20;
/// More than a group and its seal add to its events.
const FRAME: u64 = 512;
/// Microseconds after which a new segment begins, so that old ones can be removed.
const SEGMENT_LIFE: i64 = 7 * DAY;
const DAY: i64 = 24 * 3600 * 1_000_000;

/// How an audit log is kept.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// Days that an event is kept at least.
    pub keep_days: u32,
    /// The disk that it is on.
    pub disk: Disk,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self { keep_days: 2192, disk: Disk::default() }
    }
}

/// Why an audit log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenAuditError {
    /// The file system refuses.
    #[error("the audit log in {} cannot be opened", path.display())]
    Io {
        /// Its directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A tenant's audit log. Dropping it writes what waits.
pub struct AuditFiles {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    folder: Folder,
    tenant: TenantText,
    keys: Option<Arc<Keyring>>,
    keep_days: u32,
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Waiting,
    /// What was refused, and is written when there is room again.
    later: Waiting,
    /// Who waits for all that waits.
    told: Vec<Synced>,
    trouble: Option<NotKept>,
    /// In trouble, how many bytes of events can be written all the same.
    room: u64,
    stop: bool,
    /// The thread has written its last.
    has_ended: bool,
}

/// Of a log that takes no more.
fn stopping() -> NotKept {
    NotKept { reason: "the server is stopping".into(), waits: false }
}

impl State {
    /// Why an event of so many bytes is not certain to be written.
    fn refused(&self, bytes: usize) -> Option<NotKept> {
        let needed = (self.waiting.body.len() + bytes) as u64 + FRAME;
        self.trouble.clone().filter(|_| needed > self.room)
    }
}

/// Events that are not written yet, framed as a body.
#[derive(Default)]
struct Waiting {
    body: Vec<u8>,
    count: u32,
    begins: Option<Instant>,
    ends: Option<Instant>,
    /// Hashes of the patients that they name.
    patients: Vec<u64>,
}

impl Waiting {
    /// Puts what was taken out before in front again.
    fn put_back(&mut self, taken: Self) {
        let later = std::mem::replace(self, taken);
        self.body.extend_from_slice(&later.body);
        self.count += later.count;
        self.begins = self.begins.or(later.begins);
        self.ends = later.ends.or(self.ends);
        self.patients.extend_from_slice(&later.patients);
    }
}

/// The end of the log, where the thread writes.
struct Writer {
    file: DiskFile,
    header: SegmentHeader,
    offset: u64,
    hash: ChainHash,
    next: u64,
    /// Hashes of the patients that the segment names, where they are known.
    patients: Option<HashSet<u64>>,
    /// Up to where blocks of the disk are taken.
    reserved: u64,
}

impl Writer {
    /// Takes blocks ahead where there are not enough any more.
    fn make_room(&mut self) -> io::Result<()> {
        if self.room() >= ROOM - USED {
            return Ok(());
        }
        let to = self.offset + ROOM;
        self.file.reserve(self.offset, to)?;
        self.reserved = to;
        Ok(())
    }

    /// Bytes that can be written however full the disk is.
    fn room(&self) -> u64 {
        self.reserved.saturating_sub(self.offset)
    }

    /// Gives back what was taken and not needed.
    fn give_back(&self) {
        if let Err(error) = self.file.set_len(self.offset) {
            tracing::warn!(%error, "room for the audit log could not be given back");
        }
    }
}

impl AuditFiles {
    /// Opens a tenant's audit log, or begins it; what a process that was killed did not finish is
    /// cut off. What is damaged stays as it is, and is gone on after in a new segment.
    ///
    /// # Errors
    /// [`OpenAuditError`].
    pub fn open(
        directory: &Path,
        tenant: &TenantText,
        keys: Option<Arc<Keyring>>,
        now: Instant,
        options: AuditOptions,
    ) -> Result<Self, OpenAuditError> {
        let folder = Folder::of_tenant(directory, options.disk);
        let path = folder.path().to_owned();
        let failed = |source| OpenAuditError::Io { path: path.clone(), source };
        let shared = Arc::new(Shared {
            folder,
            tenant: tenant.clone(),
            keys,
            keep_days: options.keep_days,
            state: Mutex::default(),
            woken: Condvar::new(),
        });
        let writer = shared.end(now).map_err(failed)?;
        shared.forget_old(now);
        let own = Arc::clone(&shared);
        let thread = Builder::new().name("audit-log".to_owned()).spawn(move || own.run(writer));
        let thread = Mutex::new(Some(thread.map_err(failed)?));
        Ok(Self { shared, thread })
    }

    /// Writes what waits and ends.
    pub fn close(&self) {
        self.shared.state.lock().stop = true;
        self.shared.woken.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            // A panic of its own has been printed.
            drop(thread.join());
        }
    }
}

impl Drop for AuditFiles {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for AuditFiles {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("AuditFiles")
    }
}

impl AuditLog for AuditFiles {
    fn append(&self, event: &Event) -> Result<(), NotKept> {
        // Without the lock: most of what it takes.
        let mut bytes = Vec::with_capacity(256);
        encode(event, &mut bytes);
        let mut state = self.shared.state.lock();
        let refused = state.refused(bytes.len());
        if state.stop {
            return Err(stopping());
        }
        if state.waiting.body.len() + state.later.body.len() + bytes.len() > MOST_WAITING {
            return Err(refused.unwrap_or_else(|| NotKept {
                reason: "more waits for the disk than is kept in memory".into(),
                waits: false,
            }));
        }
        // What is promised is not written together with what may not fit.
        let waiting = if refused.is_some() { &mut state.later } else { &mut state.waiting };
        let is_first = waiting.body.is_empty();
        frame::put(&bytes, &mut waiting.body);
        waiting.patients.extend(event.patients.iter().map(|patient| hash_of(patient)));
        waiting.count += 1;
        waiting.begins = Some(waiting.begins.map_or(event.instant, |it| it.min(event.instant)));
        waiting.ends = Some(waiting.ends.map_or(event.instant, |it| it.max(event.instant)));
        drop(state);
        if is_first {
            self.shared.woken.notify_one();
        }
        refused.map_or(Ok(()), |refused| Err(NotKept { waits: true, ..refused }))
    }

    fn sync(&self, synced: Synced) {
        let mut state = self.shared.state.lock();
        if state.has_ended {
            drop(state);
            return synced(Err(stopping()));
        }
        state.told.push(synced);
        drop(state);
        self.shared.woken.notify_one();
    }

    fn trouble(&self) -> Option<NotKept> {
        let state = self.shared.state.lock();
        state.trouble.clone().or_else(|| state.stop.then(stopping))
    }

    fn read(&self, extent: &Extent, visit: &mut Visit<'_>) -> Result<Reached, Unreadable> {
        self.shared.read(extent, visit)
    }
}

impl Shared {
    /// Finds the end of the log, or begins it.
    fn end(&self, now: Instant) -> io::Result<Writer> {
        let mut numbers = self.folder.numbers()?;
        self.remove_left_behind(&mut numbers)?;
        let Some(&number) = numbers.last() else {
            self.folder.disk().create_directory(self.folder.path())?;
            return self.begin(1, 0, now, [0; 32]);
        };
        let Some(segment) = self.folder.load(number, &self.tenant)? else {
            tracing::error!(number, "the newest segment of the audit log is damaged at its head");
            return self.begin(number + 1, u64::from(u32::MAX) * (number + 1), now, [0; 32]);
        };
        let mut newest = segment.header.since;
        let walked = segment.walk(|group| newest = newest.max(group.ends));
        let since = newest.max(now);
        if walked.end == End::Damaged {
            let offset = walked.offset;
            tracing::error!(number, offset, "the audit log is damaged; it goes on behind that");
            return self.begin(number + 1, walked.next, since, walked.hash);
        }
        let file = self.folder.disk().open(&self.folder.segment(number))?;
        let offset = walked.offset as u64;
        if walked.end == End::Torn {
            file.set_len(offset)?;
            file.sync()?;
        }
        // What was said of it is true no more once something is added.
        self.forget_patients(number)?;
        let patients = self.patients_of(&segment);
        let header = segment.header;
        let (hash, next) = (walked.hash, walked.next);
        Ok(Writer { file, header, offset, hash, next, patients, reserved: 0 })
    }

    /// Removes the newest segment where it is one that was begun and given up, while the one before
    /// it was written on: it has no events, and continues that one from before its end.
    fn remove_left_behind(&self, numbers: &mut Vec<u64>) -> io::Result<()> {
        let [.., before, newest] = numbers[..] else { return Ok(()) };
        let load = |number| self.folder.load(number, &self.tenant);
        let (Some(before), Some(begun)) = (load(before)?, load(newest)?) else { return Ok(()) };
        let mut groups = 0;
        begun.walk(|_| groups += 1);
        let place = (begun.header.before, begun.header.first);
        let mut is_behind = false;
        before.walk(|group| is_behind |= (group.before, group.first) == place);
        if groups == 0 && is_behind {
            tracing::warn!(number = newest, "an audit segment that was given up is removed");
            self.folder.disk().remove(&self.folder.segment(newest))?;
            self.folder.disk().sync_directory(self.folder.path())?;
            numbers.pop();
        }
        Ok(())
    }

    /// Begins a segment.
    fn begin(
        &self,
        number: u64,
        first: u64,
        since: Instant,
        before: ChainHash,
    ) -> io::Result<Writer> {
        let key = self.keys.as_ref().map_or([0; 16], |keys| keys.name_of_derived());
        let tenant = self.tenant.clone();
        let header = SegmentHeader { number, first, since, before, key, tenant };
        let bytes = header.encode();
        let (path, disk) = (self.folder.segment(number), self.folder.disk());
        disk.write_whole(&path, &bytes)?;
        let file = disk.open(&path)?;
        let (offset, patients) = (bytes.len() as u64, Some(HashSet::new()));
        Ok(Writer { file, header, offset, hash: before, next: first, patients, reserved: 0 })
    }

    /// Goes on in the next segment, which has blocks of the disk of its own before those of this
    /// one are given back. While there are none for it this one is written on, which has some.
    fn go_on_in_next(
        &self,
        writer: &mut Writer,
        (begins, ends): (Instant, Instant),
    ) -> io::Result<()> {
        let number = writer.header.number + 1;
        let begun = self.begin(number, writer.next, begins, writer.hash);
        let begun = begun.and_then(|mut begun| begun.make_room().map(|()| begun));
        let begun = match begun {
            Ok(begun) => begun,
            Err(error) => {
                tracing::warn!(%error, "no other file of the audit log can be begun now");
                // Once this one is written on, that one would not continue it.
                return match self.folder.disk().remove(&self.folder.segment(number)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => self.folder.disk().sync_directory(self.folder.path()),
                };
            }
        };
        // Not before the next one is there: this one is never written on then.
        let closed = std::mem::replace(writer, begun);
        closed.give_back();
        if let Some(patients) = &closed.patients {
            self.close_patients(&closed.header, patients);
        }
        self.forget_old(ends);
        Ok(())
    }

    fn run(&self, mut writer: Writer) {
        self.said(writer.make_room(), &writer);
        loop {
            let mut state = self.state.lock();
            while state.waiting.body.is_empty() && state.told.is_empty() && !state.stop {
                match state.trouble {
                    None => self.woken.wait(&mut state),
                    Some(_) => {
                        // Whether there is room again nobody says who asks for nothing.
                        self.woken.wait_for(&mut state, RETRY);
                        drop(state);
                        self.said(writer.make_room(), &writer);
                        state = self.state.lock();
                    }
                }
            }
            if state.told.is_empty() && !state.stop {
                // What comes within this time is written together.
                let mut left = PAUSE;
                while state.told.is_empty() && !state.stop && !left.is_zero() {
                    let step = left.min(PAUSE / 4);
                    if self.woken.wait_for(&mut state, step).timed_out() {
                        left = left.saturating_sub(step);
                    }
                }
            }
            let (taken, told) =
                (std::mem::take(&mut state.waiting), std::mem::take(&mut state.told));
            let (stop, in_trouble) = (state.stop, state.trouble.is_some());
            state.room = state.room.saturating_sub(taken.body.len() as u64 + FRAME);
            drop(state);
            let written = match taken.count {
                0 => Ok(()),
                // Without room no other segment is begun.
                _ => self.write(&mut writer, &taken, in_trouble),
            };
            let result = written.map_err(|error| {
                let refused = NotKept { reason: error.to_string().into(), waits: false };
                let mut state = self.state.lock();
                if state.trouble.is_none() {
                    tracing::error!(%error, "the audit log cannot be written: what must be audited is refused");
                }
                state.waiting.put_back(taken);
                state.trouble = Some(refused.clone());
                state.room = 0;
                refused
            });
            let failed = result.is_err();
            if !failed {
                self.said(writer.make_room(), &writer);
            }
            told.into_iter().for_each(|tell| tell(result.clone()));
            if stop {
                self.write_last(&mut writer);
                let mut state = self.state.lock();
                state.has_ended = true;
                let told = std::mem::take(&mut state.told);
                drop(state);
                told.into_iter().for_each(|tell| tell(Err(stopping())));
                return;
            }
            if failed {
                let mut state = self.state.lock();
                self.woken.wait_for(&mut state, RETRY);
            }
        }
    }

    /// Tries to write what is left when nothing more comes.
    fn write_last(&self, writer: &mut Writer) {
        let mut state = self.state.lock();
        let left = [std::mem::take(&mut state.waiting), std::mem::take(&mut state.later)];
        drop(state);
        for left in left.iter().filter(|left| left.count > 0) {
            if let Err(error) = self.write(writer, left, true) {
                let events = left.count;
                tracing::error!(%error, events, "events are lost that the audit log had no room for");
            }
        }
        writer.give_back();
    }

    /// Notes whether there is room for more, where all that was to be written is.
    fn said(&self, room: io::Result<()>, writer: &Writer) {
        let mut state = self.state.lock();
        match room {
            Ok(()) => {
                let waiting = std::mem::take(&mut state.waiting);
                state.later.put_back(waiting);
                state.waiting = std::mem::take(&mut state.later);
                if state.trouble.take().is_some() {
                    tracing::info!("the audit log is written again");
                }
            }
            Err(error) => {
                if state.trouble.is_none() {
                    tracing::error!(%error, "there is no room for the audit log: what must be audited is refused");
                }
                let reason = error.to_string().into();
                state.trouble = Some(NotKept { reason, waits: false });
                state.room = writer.room();
            }
        }
    }

    /// Writes a group, durably.
    fn write(&self, writer: &mut Writer, waiting: &Waiting, in_trouble: bool) -> io::Result<()> {
        let begins = waiting.begins.unwrap_or(writer.header.since);
        let ends = waiting.ends.unwrap_or(begins);
        let age = ends.as_micros().saturating_sub(writer.header.since.as_micros());
        if !in_trouble && (writer.offset > SEGMENT_BYTES || age > SEGMENT_LIFE) {
            self.go_on_in_next(writer, (begins, ends))?;
        }
        let body = self.sealed(&writer.header, writer.next, &waiting.body)?;
        let (first, before) = (writer.next, writer.hash);
        let group = Group { count: waiting.count, first, begins, ends, before, body: &body };
        let (bytes, hash) = group.encode();
        let written =
            writer.file.write_all_at(&bytes, writer.offset).and_then(|()| writer.file.sync());
        if let Err(error) = written {
            // A part of it is cut off now or by the next start; the next try writes over it.
            drop(writer.file.set_len(writer.offset));
            // With it goes what was taken ahead.
            writer.reserved = writer.offset;
            return Err(error);
        }
        writer.offset += bytes.len() as u64;
        writer.hash = hash;
        writer.next += u64::from(waiting.count);
        if let Some(patients) = &mut writer.patients {
            patients.extend(&waiting.patients);
        }
        Ok(())
    }

    fn sealed(&self, header: &SegmentHeader, first: u64, body: &[u8]) -> io::Result<Vec<u8>> {
        self.sealed_with(header, &additional(header, first), body)
    }

    fn sealed_with(
        &self,
        header: &SegmentHeader,
        additional: &[u8],
        body: &[u8],
    ) -> io::Result<Vec<u8>> {
        match &self.keys {
            Some(keys) if header.is_sealed() => {
                let key = keys.of_derived(&header.key);
                keys.seal(key, additional, body).map_err(io::Error::other)
            }
            _ => Ok(body.to_vec()),
        }
    }

    /// Removes segments of which every event is older than must be kept. A failure is said in the
    /// log, and is nobody's but the room's on the disk.
    fn forget_old(&self, now: Instant) {
        let limit = now.as_micros().saturating_sub(i64::from(self.keep_days) * DAY);
        if let Err(error) = self.forget_before(Instant::from_micros(limit)) {
            tracing::warn!(%error, "old segments of the audit log could not be removed");
        }
    }

    fn forget_before(&self, limit: Instant) -> io::Result<()> {
        let numbers = self.folder.numbers()?;
        for pair in numbers.windows(2) {
            let next = self.folder.head(pair[1])?;
            // All that is in a segment came before the next one began.
            if next.is_none_or(|header| header.since >= limit) {
                break;
            }
            self.forget_patients(pair[0])?;
            self.folder.disk().remove(&self.folder.segment(pair[0]))?;
            self.folder.disk().sync_directory(self.folder.path())?;
        }
        Ok(())
    }
}

/// What a sealed group cannot be moved away from.
fn additional(header: &SegmentHeader, first: u64) -> Vec<u8> {
    let mut bytes = SEALED.to_vec();
    bytes.extend_from_slice(header.tenant.as_str().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&header.number.to_le_bytes());
    bytes.extend_from_slice(&first.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests;
