//! What is appended is there, in order; what is taken out or changed is missed; a disk that
//! refuses loses nothing.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;

use fhir_core::Ids;
use store::audit::{Act, Kind, Outcome};
use store::keys::{FirstKeys, MemoryKeyStore, TenantKey};
use tempfile::TempDir;

use super::*;
use crate::disk::{Call, Watch};

fn tenant() -> TenantText {
    TenantText::new("clinic").unwrap()
}

fn event(number: i64) -> Event {
    Event {
        instant: Instant::from_micros(number),
        occurred: None,
        told_as: None,
        request_id: format!("request-{number}").into(),
        client: Some("app".into()),
        user: None,
        fhir_user: None,
        role: None,
        purpose: None,
        break_glass: None,
        act: Act {
            kind: Kind::of("read").unwrap(),
            name: None,
            resource_type: Some("Patient".into()),
            id: Some(format!("secret-{number}").into()),
            version: Some(1),
            status: 200,
        },
        entries: Vec::new(),
        shown: Vec::new(),
        patients: Vec::new(),
        query: None,
        outcome: Outcome::Done,
        restricted: false,
    }
}

fn open(path: &Path, options: AuditOptions) -> AuditFiles {
    AuditFiles::open(path, &tenant(), None, Instant::from_micros(0), options).unwrap()
}

fn plain(path: &Path) -> AuditFiles {
    open(path, AuditOptions::default())
}

fn synced(log: &AuditFiles) -> Result<(), NotKept> {
    let (tell, told) = channel();
    log.sync(Box::new(move |result| tell.send(result).unwrap()));
    told.recv().unwrap()
}

/// Appends these, each in a group of its own.
fn append(log: &AuditFiles, numbers: std::ops::Range<i64>) {
    for number in numbers {
        log.append(&event(number)).unwrap();
        synced(log).unwrap();
    }
}

fn all() -> Extent {
    let instants = Instant::MIN..Instant::from_micros(i64::MAX);
    Extent { instants, before: None, patient: None, most_bytes: u64::MAX }
}

fn read(log: &AuditFiles, extent: &Extent) -> Vec<(u64, i64)> {
    let mut found = Vec::new();
    let reached = log.read(extent, &mut |number, event| {
        found.push((number, event.instant.as_micros()));
        ControlFlow::Continue(())
    });
    assert_eq!(reached.unwrap(), Reached::Beginning);
    found
}

fn segment(path: &Path) -> std::path::PathBuf {
    path.join("audit/0000000000000001.log")
}

#[test]
fn what_is_appended_is_read_newest_first_also_after_a_reopen() {
    let folder = TempDir::new().unwrap();
    let log = plain(folder.path());
    append(&log, 0..3);
    drop(log);
    let log = plain(folder.path());
    append(&log, 3..5);
    assert_eq!(read(&log, &all()), [(4, 4), (3, 3), (2, 2), (1, 1), (0, 0)]);
    let between = Extent { instants: Instant::from_micros(1)..Instant::from_micros(4), ..all() };
    assert_eq!(read(&log, &between), [(3, 3), (2, 2), (1, 1)]);
    assert_eq!(read(&log, &Extent { before: Some(2), ..all() }), [(1, 1), (0, 0)]);
    let verified = verify_audit(folder.path(), &tenant()).unwrap();
    assert_eq!((verified.events, verified.groups, verified.flaws.len()), (5, 5, 0));
}

#[test]
fn what_nobody_waits_for_is_written_by_itself() {
    let folder = TempDir::new().unwrap();
    let log = plain(folder.path());
    log.append(&event(1)).unwrap();
    for _ in 0..200 {
        if verify_audit(folder.path(), &tenant()).unwrap().events == 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the event was not written in four seconds");
}

#[test]
fn a_log_that_is_closed_says_so_to_whoever_asks_and_lets_nobody_wait() {
    let folder = TempDir::new().unwrap();
    let log = plain(folder.path());
    assert!(log.trouble().is_none());
    log.append(&event(1)).unwrap();
    log.close();
    assert!(log.trouble().unwrap().reason.contains("stopping"), "so that nothing is committed");
    assert!(log.append(&event(2)).is_err());
    let (tell, told) = channel();
    log.sync(Box::new(move |result| tell.send(result).unwrap()));
    assert!(told.recv_timeout(Duration::from_secs(20)).unwrap().is_err());
    assert_eq!(read(&plain(folder.path()), &all()), [(0, 1)]);
}

#[test]
fn what_was_not_finished_is_cut_off_and_nothing_before_it() {
    let folder = TempDir::new().unwrap();
    append(&plain(folder.path()), 0..3);
    let whole = std::fs::read(segment(folder.path())).unwrap();
    let two = {
        let shorter = TempDir::new().unwrap();
        append(&plain(shorter.path()), 0..2);
        std::fs::read(segment(shorter.path())).unwrap().len()
    };
    for length in two..whole.len() {
        std::fs::write(segment(folder.path()), &whole[..length]).unwrap();
        let log = plain(folder.path());
        assert_eq!(read(&log, &all()), [(1, 1), (0, 0)], "{length}");
    }
    append(&plain(folder.path()), 7..8);
    assert_eq!(read(&plain(folder.path()), &all()), [(2, 7), (1, 1), (0, 0)]);
    assert!(verify_audit(folder.path(), &tenant()).unwrap().flaws.is_empty());
}

#[test]
fn a_segment_that_was_given_up_and_could_not_be_removed_is_in_nobodys_way() {
    let folder = TempDir::new().unwrap();
    append(&plain(folder.path()), 0..2);
    // As it was begun when there were two events, and left when a third was written to the first.
    let (hash, second) = {
        let verified = verify_audit(folder.path(), &tenant()).unwrap();
        (verified.hash, segment(folder.path()).with_file_name("0000000000000002.log"))
    };
    append(&plain(folder.path()), 2..3);
    let begun = |first, before| {
        let (since, key) = (Instant::from_micros(1), [0; 16]);
        SegmentHeader { number: 2, first, since, before, key, tenant: tenant() }.encode()
    };
    std::fs::write(&second, begun(2, hash)).unwrap();
    append(&plain(folder.path()), 3..4);
    assert!(!second.exists());
    assert_eq!(read(&plain(folder.path()), &all()), [(3, 3), (2, 2), (1, 1), (0, 0)]);
    assert!(verify_audit(folder.path(), &tenant()).unwrap().flaws.is_empty());
    // One that begins behind all that there is tells that something was taken out.
    std::fs::write(&second, begun(5, hash)).unwrap();
    drop(plain(folder.path()));
    assert_eq!(verify_audit(folder.path(), &tenant()).unwrap().flaws.len(), 1);
}

/// AUD: a removed middle, a changed byte, a removed segment.
#[test]
fn what_is_taken_out_or_changed_is_missed() {
    let folder = TempDir::new().unwrap();
    append(&plain(folder.path()), 0..3);
    let path = segment(folder.path());
    let whole = std::fs::read(&path).unwrap();
    let verified = || verify_audit(folder.path(), &tenant()).unwrap();
    let starts: Vec<usize> =
        (0..whole.len()).filter(|at| whole[*at..].starts_with(b"HGA1")).collect();
    let [_, second, third] = starts[..] else { panic!("three groups: {starts:?}") };
    let without_middle = [&whole[..second], &whole[third..]].concat();
    std::fs::write(&path, without_middle).unwrap();
    assert_eq!(verified().flaws.len(), 1, "{:?}", verified().flaws);
    let mut changed = whole.clone();
    changed[second + 90] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    assert_eq!(verified().flaws.len(), 1, "{:?}", verified().flaws);
    // What is damaged stays for who looks into it, and the log goes on.
    append(&plain(folder.path()), 9..10);
    assert_eq!(std::fs::read(&path).unwrap(), changed);
    assert_eq!(read(&plain(folder.path()), &all()).first(), Some(&(1, 9)));
    std::fs::write(&path, &whole).unwrap();
    std::fs::rename(
        folder.path().join("audit/0000000000000002.log"),
        folder.path().join("audit/0000000000000003.log"),
    )
    .unwrap();
    assert!(!verified().flaws.is_empty());
}

#[test]
fn segments_go_once_all_in_them_is_older_than_must_be_kept() {
    let folder = TempDir::new().unwrap();
    let options = AuditOptions { keep_days: 30, ..AuditOptions::default() };
    let log = open(folder.path(), options);
    append(&log, 0..1);
    for week in 1..8 {
        log.append(&event(week * 8 * DAY)).unwrap();
        synced(&log).unwrap();
    }
    let kept: Vec<i64> = read(&log, &all()).iter().map(|(_, at)| at / DAY).collect();
    assert_eq!(kept, [56, 48, 40, 32, 24]);
    let verified = verify_audit(folder.path(), &tenant()).unwrap();
    assert_eq!((verified.first.unwrap().0, verified.flaws.len()), (3, 0), "{:?}", verified.flaws);
}

#[test]
fn segments_that_name_others_alone_are_not_read_for_a_patient() {
    let folder = TempDir::new().unwrap();
    let about =
        |day: i64, patient: &str| Event { patients: vec![patient.into()], ..event(day * DAY) };
    let (week, rare) = (|at: i64| at * 8, "rare");
    let log = plain(folder.path());
    for at in 0..4 {
        log.append(&about(week(at), if at == 1 { rare } else { "others" })).unwrap();
        synced(&log).unwrap();
    }
    drop(log);
    // What is open is known again after a start.
    let log = plain(folder.path());
    log.append(&about(week(4), "others")).unwrap();
    synced(&log).unwrap();
    let shown = |log: &AuditFiles, patient: &str| -> Vec<u64> {
        let extent = Extent { patient: Some(patient.into()), ..all() };
        read(log, &extent).into_iter().map(|(number, _)| number).collect()
    };
    // The newest is open, and always read.
    assert_eq!(shown(&log, rare), [4, 1]);
    assert_eq!(shown(&log, "others"), [4, 3, 2, 0]);
    assert_eq!(shown(&log, "nobody"), [4]);
    let patients = |number: u64| log.shared.folder.patients(number);
    // What is harmed, or missing, says nothing of its segment.
    std::fs::write(patients(1), b"HGAUDPT1harm").unwrap();
    std::fs::remove_file(patients(3)).unwrap();
    assert_eq!(shown(&log, rare), [4, 2, 1, 0]);
    drop(log);
    // A segment that is the last again is written on.
    std::fs::remove_file(segment(folder.path()).with_file_name("0000000000000005.log")).unwrap();
    let log = plain(folder.path());
    log.append(&about(week(3), rare)).unwrap();
    synced(&log).unwrap();
    assert_eq!(shown(&log, rare).first(), Some(&4));
}

/// Chance that counts.
struct Counting(AtomicU64);

impl Ids for Counting {
    fn next(&self) -> u128 {
        self.0.fetch_add(1, Ordering::SeqCst).into()
    }

    fn fill(&self, bytes: &mut [u8]) {
        let number = (self.next() + 1).to_le_bytes();
        bytes.iter_mut().zip(number.iter().cycle()).for_each(|(byte, of)| *byte = *of);
    }
}

#[test]
fn with_keys_no_id_is_readable_on_the_disk_and_without_them_nothing_is_read() {
    let folder = TempDir::new().unwrap();
    let key = TenantKey::parse(&"11".repeat(32)).unwrap();
    let (ids, disk) = (Arc::new(Counting(1.into())), Box::new(MemoryKeyStore::default()));
    let keys = Keyring::open(disk, &tenant(), key, ids, FirstKeys::MayBeMade).unwrap();
    let (now, options) = (Instant::from_micros(0), AuditOptions::default());
    let keys = Some(Arc::new(keys));
    let log = AuditFiles::open(folder.path(), &tenant(), keys, now, options).unwrap();
    append(&log, 0..2);
    assert_eq!(read(&log, &all()), [(1, 1), (0, 0)]);
    drop(log);
    let bytes = std::fs::read(segment(folder.path())).unwrap();
    assert!(!bytes.windows(6).any(|part| part == b"secret"));
    let without = plain(folder.path());
    assert!(without.read(&all(), &mut |_, _| ControlFlow::Continue(())).is_err());
}

/// A disk that is full while it is told to be.
struct Full(Arc<AtomicBool>);

impl Watch for Full {
    fn make(&self, call: &Call<'_>, make: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        match call {
            Call::Write(..) if self.0.load(Ordering::SeqCst) => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => make(),
        }
    }
}

#[test]
fn a_full_disk_is_said_and_what_was_taken_is_there_once_it_is_not() {
    let folder = TempDir::new().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let disk = Disk::watched(Arc::new(Full(Arc::clone(&full))));
    let log = open(folder.path(), AuditOptions { disk, ..AuditOptions::default() });
    append(&log, 0..1);
    full.store(true, Ordering::SeqCst);
    log.append(&event(1)).unwrap();
    assert!(synced(&log).is_err());
    assert!(log.trouble().is_some());
    // Whoever asks now is told, and what is told is not lost for that.
    assert!(log.append(&event(2)).is_err());
    full.store(false, Ordering::SeqCst);
    synced(&log).unwrap();
    assert!(log.trouble().is_none());
    append(&log, 3..4);
    assert_eq!(read(&log, &all()), [(3, 3), (2, 2), (1, 1), (0, 0)]);
    assert!(verify_audit(folder.path(), &tenant()).unwrap().flaws.is_empty());
}

/// A disk that has no more blocks while it is told so: what was taken before can be written to.
#[derive(Default)]
struct NoMore {
    is_full: AtomicBool,
    reserved: AtomicU64,
}

impl Watch for NoMore {
    fn make(&self, call: &Call<'_>, make: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        let is_full = self.is_full.load(Ordering::SeqCst);
        let reserved = self.reserved.load(Ordering::SeqCst);
        match call {
            Call::Reserve(..) | Call::Create(..) if is_full => {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Call::Write(_, _, offset, bytes) if is_full => {
                assert!(
                    offset + bytes.len() as u64 <= reserved,
                    "it is written where there is room"
                );
            }
            Call::Reserve(_, _, _, to) => self.reserved.store(*to, Ordering::SeqCst),
            _ => {}
        }
        make()
    }
}

#[test]
fn when_the_disk_has_no_more_that_is_said_while_there_is_room_for_what_is_under_way() {
    let folder = TempDir::new().unwrap();
    let no_more = Arc::new(NoMore::default());
    let disk = Disk::watched(Arc::clone(&no_more) as _);
    let log = open(folder.path(), AuditOptions { disk, ..AuditOptions::default() });
    append(&log, 0..1);
    no_more.is_full.store(true, Ordering::SeqCst);
    let large = |number| Event { query: Some("x".repeat(60_000).into()), ..event(number) };
    let mut number = 1;
    while log.trouble().is_none() {
        log.append(&large(number)).unwrap();
        synced(&log).unwrap();
        number += 1;
    }
    // It is known before the room is used up: who has begun is answered, and it is on the disk.
    for _ in 0..10 {
        log.append(&large(number)).unwrap();
        synced(&log).unwrap();
        number += 1;
    }
    assert!(log.trouble().is_some());
    // And no more is promised than there is.
    let refused = (0..1_000).find(|_| {
        number += 1;
        log.append(&large(number)).is_err()
    });
    assert!(refused.is_some());
    assert!(synced(&log).is_ok(), "all that was promised fits");
}

/// A disk with blocks for no other file while it is told so. Nothing is written to the log beyond
/// the blocks that were taken for it.
#[derive(Default)]
struct Blocks {
    are_none: AtomicBool,
    taken: Mutex<HashMap<PathBuf, u64>>,
}

impl Watch for Blocks {
    fn make(&self, call: &Call<'_>, make: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        match call {
            Call::Reserve(..) if self.are_none.load(Ordering::SeqCst) => {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Call::Reserve(path, _, _, to) => {
                self.taken.lock().insert(path.to_path_buf(), *to);
            }
            Call::Write(path, _, offset, bytes)
                if path.extension().is_some_and(|of| of == "log") =>
            {
                let taken = self.taken.lock().get(*path).copied().unwrap_or_default();
                assert!(offset + bytes.len() as u64 <= taken, "{path:?} {offset} {taken}");
            }
            _ => {}
        }
        make()
    }
}

#[test]
fn each_segment_has_its_blocks_before_it_is_written_to_and_without_them_the_last_goes_on() {
    let folder = TempDir::new().unwrap();
    let blocks = Arc::new(Blocks::default());
    let disk = Disk::watched(Arc::clone(&blocks) as _);
    let log = open(folder.path(), AuditOptions { disk, ..AuditOptions::default() });
    let each_in_its_own = |days: std::ops::Range<i64>| {
        for at in days {
            log.append(&event(at * 8 * DAY)).unwrap();
            synced(&log).unwrap();
        }
    };
    let segments = || log.shared.folder.numbers().unwrap().len();
    each_in_its_own(0..3);
    assert_eq!(segments(), 3);
    blocks.are_none.store(true, Ordering::SeqCst);
    each_in_its_own(3..5);
    assert_eq!(segments(), 3, "what was begun without blocks is gone");
    assert!(log.trouble().is_none(), "there is room in the last one");
    blocks.are_none.store(false, Ordering::SeqCst);
    each_in_its_own(5..6);
    assert_eq!(segments(), 4);
    let days: Vec<i64> = read(&log, &all()).iter().map(|(_, at)| at / DAY).collect();
    assert_eq!(days, [40, 32, 24, 16, 8, 0]);
    assert!(verify_audit(folder.path(), &tenant()).unwrap().flaws.is_empty());
}
