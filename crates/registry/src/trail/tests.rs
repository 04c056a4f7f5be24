//! The trail: what it holds, what is missed when it is changed, and what a full disk does.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};

use contract::Instant;

use super::chain::closed_name;
use super::line::{LONGEST_LINE, NOTHING_BEFORE, hash};
use super::*;
use crate::change::Actor;

/// A clock that stands at so many seconds.
#[derive(Default)]
pub(super) struct Standing(AtomicU64);

impl Clock for Standing {
    fn now(&self) -> Instant {
        Instant::from_micros(1_767_225_600_000_000)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

pub(super) const MOST: u32 = 1000;

fn try_open(dir: &Path) -> Result<Trail, OpenError> {
    Trail::open(dir, Before::Nothing, Arc::new(Standing::default()))
}

fn open(dir: &Path) -> Trail {
    try_open(dir).unwrap()
}

/// A trail whose files are closed after a line or two.
pub(super) fn open_short(dir: &Path) -> Result<Trail, OpenError> {
    Trail::open_with(dir, Before::Nothing, Arc::new(Standing::default()), 400)
}

pub(super) fn doing(object: &str) -> Doing {
    Doing {
        by: "operator anna".to_owned(),
        from: Some("127.0.0.1".to_owned()),
        how: How::Api,
        operation: "keys.create".to_owned(),
        object: object.to_owned(),
    }
}

/// A trail of one change that was done and two that were refused.
pub(super) fn written() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    let begun = trail.begin(doing("client app")).unwrap();
    trail.refused(&doing("client \"x\"\n"), Some(403), "takes the role operator", MOST).unwrap();
    trail.end(begun, Outcome::Done, Some(201), "").unwrap();
    trail.refused(&doing(""), None, "no", MOST).unwrap();
    let path = dir.path().join(TRAIL);
    let bytes = std::fs::read(&path).unwrap();
    (dir, path, bytes)
}

// GW-063
#[test]
fn a_change_is_written_down_before_it_is_done_and_when_it_has_ended() {
    let (dir, _, _) = written();
    let trail = open(dir.path());
    let lines = trail.lines(0, 10).unwrap();
    let told: Vec<_> =
        lines.iter().map(|line| (line.number, line.of, line.outcome, line.status)).collect();
    let expected = [
        (1, None, Outcome::Begun, None),
        (2, None, Outcome::Refused, Some(403)),
        (3, Some(1), Outcome::Done, Some(201)),
        (4, None, Outcome::Refused, None),
    ];
    assert_eq!(told, expected);
    assert_eq!(lines[1].object, "client \"x\"\n");
    assert_eq!(trail.lines(1, 2).unwrap(), lines[1..3]);
    assert_eq!(trail.lines(4, 2).unwrap(), []);
    assert_eq!(trail.lines(99, 2).unwrap(), []);
    let begun = trail.begin(doing("again")).unwrap();
    assert_eq!(begun.number, 5);
    trail.end(begun, Outcome::Refused, Some(409), "").unwrap();
    assert_eq!(verify_trail(dir.path(), |_| {}).unwrap().lines, 6);
}

// GW-063
#[test]
fn a_line_that_is_changed_taken_out_or_put_in_is_missed() {
    let (dir, path, bytes) = written();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    let report = verify_trail(dir.path(), |_| {}).unwrap();
    assert_eq!((report.lines, report.torn), (4, 0));
    let mut broken = vec![
        [lines[0], lines[2], lines[3]].concat(),
        [lines[1], lines[2], lines[3]].concat(),
        [lines[0], lines[2], lines[1], lines[3]].concat(),
        [lines[0], lines[0], lines[1], lines[2], lines[3]].concat(),
    ];
    // Every byte of every line; of the last one it is noted beside the trail.
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        broken.push(flipped);
    }
    for broken in broken {
        std::fs::write(&path, &broken).unwrap();
        let text = String::from_utf8_lossy(&broken).into_owned();
        let found = verify_trail(dir.path(), |_| {});
        let is_missed = matches!(
            found,
            Err(OpenError::TrailDamaged { .. } | OpenError::TrailCut { found: 3, known: 4, .. })
        );
        assert!(is_missed, "{found:?} {text}");
        assert!(try_open(dir.path()).is_err(), "{text}");
        assert_eq!(std::fs::read(&path).unwrap(), broken, "a damaged trail is left as it is");
    }
    // Lines that are missing at the end are missed by what is noted beside it.
    for kept in 0..4 {
        let cut = lines[..kept].concat();
        std::fs::write(&path, &cut).unwrap();
        let found = verify_trail(dir.path(), |_| {});
        let is_told = |error: &OpenError| matches!(error, OpenError::TrailCut { found, known: 4, .. } if *found == kept as u64);
        assert!(found.as_ref().is_err_and(is_told), "{found:?}");
        let error = try_open(dir.path()).unwrap_err();
        assert!(is_told(&error) && error.to_string().contains("begin-anew"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), cut, "a trail that was cut is left as it is");
    }
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(verify_trail(dir.path(), |_| {}).unwrap(), report);
}

#[test]
fn a_line_that_a_crash_left_unfinished_is_cut_off_and_kept_beside() {
    let (dir, path, bytes) = written();
    let last = bytes.len()
        - bytes[..bytes.len() - 1].rsplit(|&byte| byte == b'\n').next().unwrap().len()
        - 1;
    for cut in last + 1..bytes.len() {
        // What was noted was whole: a crash comes before the next note.
        std::fs::remove_file(Head::path(dir.path())).unwrap();
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert_eq!(verify_trail(dir.path(), |_| {}).unwrap().torn, (cut - last) as u64);
        let trail = open(dir.path());
        assert_eq!(trail.lines(0, 10).unwrap().len(), 3);
        let torn = dir.path().join(format!("{TRAIL}.cut-{last}"));
        assert_eq!(std::fs::read(&torn).unwrap(), &bytes[last..cut]);
        std::fs::remove_file(torn).unwrap();
        trail.refused(&doing("after"), None, "", MOST).unwrap();
        assert_eq!(verify_trail(dir.path(), |_| {}).unwrap().lines, 4);
    }
}

#[test]
fn what_cannot_be_written_down_is_said_and_leaves_no_part_of_a_line() {
    let (dir, path, bytes) = written();
    let trail = open(dir.path());
    trail.state.lock().writer.file = File::open(&path).unwrap();
    // A file that is not open for writing refuses both the line and its removal.
    assert!(matches!(trail.begin(doing("x")), Err(TrailError::Io(_))));
    assert!(matches!(trail.begin(doing("x")), Err(TrailError::Broken)));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

// GW-063
#[test]
fn a_trail_that_somebody_took_away_or_wrote_into_takes_no_more() {
    let (dir, path, bytes) = written();
    let trail = open(dir.path());
    let aside = dir.path().join("aside");
    let refused = |what: &str| {
        let error = trail.begin(doing("x")).expect_err(what);
        assert!(matches!(&error, TrailError::Replaced(at) if *at == path), "{what}: {error}");
    };
    std::fs::rename(&path, &aside).unwrap();
    refused("removed");
    std::fs::copy(&aside, &path).unwrap();
    refused("a copy");
    std::fs::rename(&aside, &path).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(bytes.len() as u64 - 1).unwrap();
    refused("cut");
    file.write_all_at(&bytes, 0).unwrap();
    file.write_all_at(b"{}\n", bytes.len() as u64).unwrap();
    refused("longer");
    // It was not touched, and goes on once it is as it was.
    file.set_len(bytes.len() as u64).unwrap();
    drop(trail.begin(doing("x")).unwrap());
    assert_eq!(verify_trail(dir.path(), |_| {}).unwrap().lines, 5);
}

#[test]
fn what_an_asker_chose_is_shortened() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    trail.refused(&doing(&"ü".repeat(5000)), None, &"y".repeat(300), MOST).unwrap();
    let line = &trail.lines(0, 1).unwrap()[0];
    assert_eq!(line.object.chars().count(), 301);
    assert_eq!(line.why.chars().count(), 300);
}

// GW-063
#[test]
fn a_key_that_somebody_put_where_an_id_belongs_is_kept_without_its_secret() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    let secret = "Zz9_-".repeat(9)[..43].to_owned();
    let key = format!("hg_0123456789abcdef_{secret}");
    let token = format!("hgo_fedcba9876543210_{secret}");
    let object = format!("client {key}, key {token}");
    trail.refused(&doing(&object), None, &format!("there is no key {key}"), MOST).unwrap();
    let line = &trail.lines(0, 1).unwrap()[0];
    let told = "client hg_0123456789abcdef_[redacted], key hgo_fedcba9876543210_[redacted]";
    assert_eq!(line.object, told);
    assert_eq!(line.why, "there is no key hg_0123456789abcdef_[redacted]");
    let bytes = std::fs::read(dir.path().join(TRAIL)).unwrap();
    assert!(!String::from_utf8(bytes).unwrap().contains(&secret));
    // What is shorter than an id, or names no key, stays.
    for text in ["hg_", "hg_0123", "hgo_0123456789abcdef", "client hg", "ähg_ü"] {
        trail.refused(&doing(text), None, "", MOST).unwrap();
        let lines = trail.lines(0, 100).unwrap();
        assert_eq!(lines.last().unwrap().object, text);
    }
}

// GW-063
#[test]
fn a_registry_from_before_there_were_trails_has_one_whose_first_line_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Trail::open(dir.path(), Before::Changes, Arc::new(Standing::default())).unwrap();
    for _ in 0..2 {
        let lines = open().lines(0, 10).unwrap();
        let told: Vec<_> = lines.iter().map(|it| (it.operation.as_str(), it.outcome)).collect();
        assert_eq!(told, [("changes.begin", Outcome::Done)]);
        assert!(lines[0].object.contains("changes before"), "{}", lines[0].object);
    }
    // From then on it is missed.
    std::fs::remove_file(dir.path().join(TRAIL)).unwrap();
    let again = Trail::open(dir.path(), Before::Changes, Arc::new(Standing::default()));
    assert!(matches!(again, Err(OpenError::TrailMissing { .. })));
}

// GW-063
#[test]
fn a_trail_that_is_missing_is_missed_and_begun_anew_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let clock = || Arc::new(Standing::default());
    let missing = || Trail::open(dir.path(), Before::Changes, clock());
    drop(open(dir.path()));
    drop(missing().unwrap());
    let trail = open(dir.path());
    drop(trail.begin(doing("client app")).unwrap());
    drop(trail);
    let path = dir.path().join(TRAIL);
    std::fs::remove_file(&path).unwrap();
    for before in [Before::Nothing, Before::Changes] {
        let error = Trail::open(dir.path(), before, clock()).unwrap_err();
        assert!(matches!(error, OpenError::TrailMissing { .. }), "{error}");
        assert!(error.to_string().contains("changes begin-anew"), "{error}");
    }
    assert!(matches!(verify_trail(dir.path(), |_| {}), Err(OpenError::TrailMissing { .. })));
    assert!(!path.exists());

    let by = Actor::local_user(1000);
    let begun = begin_trail_anew(dir.path(), &by, clock()).unwrap();
    assert_eq!(begun.lines, Some(1));
    let aside = begun.aside.unwrap();
    let line = missing().unwrap().lines(0, 10).unwrap().remove(0);
    assert_eq!((line.operation.as_str(), line.outcome), ("changes.begin-anew", Outcome::Done));
    assert_eq!(line.by, by.as_str());
    assert!(line.object.starts_with("one of 1 lines, whose last hash was "), "{}", line.object);
    // Once more, of a trail that is there but damaged.
    std::fs::write(&path, "{}\n").unwrap();
    assert!(missing().is_err());
    let again = begin_trail_anew(dir.path(), &by, clock()).unwrap();
    let second = again.aside.unwrap();
    assert_ne!(second, aside);
    assert_eq!(std::fs::read(second.join(TRAIL)).unwrap(), b"{}\n");
    assert_eq!(missing().unwrap().lines(0, 10).unwrap().len(), 1);
}

// GW-063
#[test]
fn refusals_beyond_a_number_are_counted_and_told_in_one_line_to_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Standing::default());
    let trail = Trail::open(dir.path(), Before::Nothing, clock.clone()).unwrap();
    let refuse = |by: &str, from: &str, count: u32| {
        let from = Some(from.to_owned());
        let doing = Doing { by: by.to_owned(), from, ..doing("x") };
        for _ in 0..count {
            trail.refused(&doing, Some(403), "no", 3).unwrap();
        }
    };
    let told = || {
        let lines = trail.lines(0, 1000).unwrap();
        let told = lines.iter().map(|line| format!("{} {:?}", line.by, line.more));
        told.collect::<Vec<_>>()
    };
    refuse("operator eve", "127.0.0.1", 243);
    let mut expected = vec!["operator eve None".to_owned(); 3];
    assert_eq!(told(), expected);
    assert_eq!(trail.waits("operator eve", 3), Some(Duration::from_secs(60)));
    // Nobody else is counted with her, and what is done is written down.
    refuse("operator bob", "127.0.0.1", 2);
    let begun = trail.begin(Doing { by: "operator eve".to_owned(), ..doing("y") }).unwrap();
    trail.end(begun, Outcome::Done, Some(200), "").unwrap();
    expected.extend(["operator bob None"; 2].map(str::to_owned));
    expected.extend(["operator eve None"; 2].map(str::to_owned));
    assert_eq!((told(), trail.waits("operator bob", 3)), (expected.clone(), None));
    clock.0.store(59, Ordering::Relaxed);
    refuse("operator eve", "127.0.0.1", 7);
    trail.tell_refused().unwrap();
    assert_eq!(told(), expected);
    // The minute has passed: 243 - 3 and 7.
    clock.0.store(60, Ordering::Relaxed);
    trail.tell_refused().unwrap();
    expected.push("operator eve Some(247)".to_owned());
    assert_eq!(told(), expected);
    let line = trail.lines(7, 1).unwrap().remove(0);
    assert_eq!((line.from.as_deref(), line.outcome), (Some("127.0.0.1"), Outcome::Refused));
    trail.tell_refused().unwrap();
    assert_eq!((told(), trail.waits("operator eve", 3)), (expected.clone(), None));
    // A minute that begins anew, from several addresses; the next line of anybody tells of it.
    refuse("operator eve", "127.0.0.1", 4);
    refuse("operator eve", "127.0.0.2", 1);
    clock.0.store(120, Ordering::Relaxed);
    refuse("operator bob", "127.0.0.1", 1);
    expected.extend(["operator eve None"; 3].map(str::to_owned));
    expected.extend(["operator eve Some(2)", "operator bob None"].map(str::to_owned));
    assert_eq!(told(), expected);
    assert_eq!(trail.lines(11, 1).unwrap()[0].from, None);
    // What a change was refused for counts too, and the end of the process tells the rest.
    for _ in 0..3 {
        let begun = trail.begin(doing("z")).unwrap();
        trail.end(begun, Outcome::Refused, Some(404), "none").unwrap();
    }
    refuse("operator anna", "127.0.0.1", 5);
    drop(trail);
    let mut last = None;
    assert_eq!(verify_trail(dir.path(), |line| last = Some(line)).unwrap().lines, 20);
    let last = last.unwrap();
    assert_eq!((last.by.as_str(), last.more), ("operator anna", Some(5)));
}

// GW-063
#[test]
fn lines_are_told_newest_first_too() {
    let (dir, _, _) = written();
    let trail = open(dir.path());
    let numbers = |before, after, limit| {
        let lines = trail.lines_before(before, after, limit).unwrap();
        lines.iter().map(|line| line.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(u64::MAX, 0, 2), [4, 3]);
    assert_eq!(numbers(3, 0, 10), [2, 1]);
    assert_eq!(numbers(99, 1, 10), [4, 3, 2]);
    for (before, after, limit) in [(1, 0, 10), (0, 0, 10), (4, 3, 10), (2, 9, 10), (4, 0, 0)] {
        assert_eq!(numbers(before, after, limit), [0; 0], "{before} {after} {limit}");
    }
}

/// The files of a trail of six lines, by their names.
fn in_files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let trail = open_short(dir).unwrap();
    for object in 0..6 {
        drop(trail.begin(doing(&object.to_string())).unwrap());
    }
    let numbers: Vec<_> = trail.lines(0, 10).unwrap().iter().map(|line| line.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert_eq!(trail.lines(3, 2).unwrap()[1].object, "4");
    assert_eq!(trail.lines_before(6, 0, 4).unwrap()[3].number, 2);
    let files = Files::find(dir).unwrap();
    let paths = files.closed.into_values().chain([dir.join(TRAIL)]);
    paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

// GW-063
#[test]
fn a_long_trail_is_in_several_files_and_none_of_them_is_taken_out_unseen() {
    let dir = tempfile::tempdir().unwrap();
    let files = in_files(dir.path());
    let names: Vec<_> =
        files.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap()).collect();
    let expected = [closed_name(1), closed_name(3), TRAIL.to_owned()];
    assert_eq!(names, expected);
    let report = verify_trail(dir.path(), |_| {}).unwrap();
    assert_eq!((report.first, report.lines, report.torn), (1, 6, 0));
    for (path, bytes) in &files {
        // Taken out, cut by a line, cut within a line, and with another line.
        let line = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        let other = String::from_utf8(bytes.clone()).unwrap().replacen("anna", "enna", 1);
        for harm in [None, Some(&bytes[..line]), Some(&bytes[..9]), Some(other.as_bytes())] {
            match harm {
                None => std::fs::remove_file(path).unwrap(),
                Some(harm) => std::fs::write(path, harm).unwrap(),
            }
            let found = verify_trail(dir.path(), |_| {});
            assert!(found.is_err(), "{} {:?}", path.display(), harm.map(<[u8]>::len));
            assert!(open_short(dir.path()).is_err());
        }
        std::fs::write(path, bytes).unwrap();
        assert_eq!(verify_trail(dir.path(), |_| {}).unwrap(), report);
    }
    // And it goes on, also in files of another length.
    let trail = open(dir.path());
    drop(trail.begin(doing("7")).unwrap());
    assert_eq!(verify_trail(dir.path(), |_| {}).unwrap().lines, 7);
    assert_eq!(trail.lines(0, 10).unwrap().len(), 7);
}

// GW-063
#[test]
fn a_crash_while_a_file_is_closed_loses_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let trail = open_short(dir.path()).unwrap();
    drop(trail.begin(doing("1")).unwrap());
    drop(trail.begin(doing("2")).unwrap());
    drop(trail);
    let path = dir.path().join(TRAIL);
    std::fs::rename(&path, dir.path().join(closed_name(1))).unwrap();
    assert_eq!(verify_trail(dir.path(), |_| {}).unwrap().lines, 2);
    let trail = open_short(dir.path()).unwrap();
    drop(trail.begin(doing("3")).unwrap());
    assert_eq!(trail.lines(0, 10).unwrap().len(), 3);
    assert_eq!(verify_trail(dir.path(), |_| {}).unwrap().lines, 3);
}

/// Writes a trail of `count` lines of almost 4 KiB into `dir`, without its head.
fn write_long(dir: &Path, count: u64) {
    let mut file = BufWriter::new(File::create(dir.join(TRAIL)).unwrap());
    let mut previous = NOTHING_BEFORE.to_owned();
    for number in 1..=count {
        let line = TrailLine {
            number,
            at: "2026-01-01T00:00:00.000000Z".to_owned(),
            of: None,
            by: "🔥".repeat(300),
            from: None,
            how: How::Api,
            operation: "🔥".repeat(300),
            object: "🔥".repeat(300),
            outcome: Outcome::Begun,
            status: None,
            why: String::new(),
            more: None,
            previous,
        };
        let mut bytes = serde_json::to_vec(&line).unwrap();
        bytes.push(b'\n');
        previous = hash(&bytes);
        file.write_all(&bytes).unwrap();
    }
    file.flush().unwrap();
}

/// The most memory that this process ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

// GW-063
#[test]
fn a_long_trail_is_opened_listed_and_verified_without_being_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    write_long(dir.path(), 20_000);
    let length = std::fs::metadata(dir.path().join(TRAIL)).unwrap().len() / 1024;
    let before = peak();
    assert_eq!(verify_trail(dir.path(), |_| {}).unwrap().lines, 20_000);
    let trail = open(dir.path());
    assert_eq!(trail.lines(17_499, 3).unwrap()[2].number, 17_502);
    assert_eq!(trail.lines_before(u64::MAX, 0, 3).unwrap()[2].number, 19_998);
    let grown = peak() - before;
    assert!(grown < length / 3, "{grown} KiB more for a trail of {length} KiB");
}

#[test]
fn what_is_longer_than_any_line_is_damage_and_is_not_read() {
    for end in ["", "\n"] {
        let (dir, path, bytes) = written();
        let long = format!("{}{end}", "x".repeat(LONGEST_LINE));
        std::fs::write(&path, [&bytes[..], long.as_bytes(), &[b'x'; 9]].concat()).unwrap();
        for error in [verify_trail(dir.path(), |_| {}).err(), try_open(dir.path()).err()] {
            let error = error.unwrap();
            let is_there = matches!(error, OpenError::TrailDamaged { offset, after: 4, .. } if offset == bytes.len() as u64);
            assert!(is_there, "{error}");
        }
    }
}
