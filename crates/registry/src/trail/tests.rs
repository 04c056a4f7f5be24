//! The trail: what it holds, what is missed when it is changed, and what a full disk does.

use std::sync::Arc;
use std::time::Duration;

use super::*;

struct Standing;

impl Clock for Standing {
    fn now(&self) -> Instant {
        Instant::from_micros(1_767_225_600_000_000)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

fn open(dir: &Path) -> Trail {
    Trail::open(dir, Arc::new(Standing)).unwrap()
}

fn doing(object: &str) -> Doing {
    Doing {
        by: "operator anna".to_owned(),
        from: Some("127.0.0.1".to_owned()),
        how: How::Api,
        operation: "keys.create".to_owned(),
        object: object.to_owned(),
    }
}

/// A trail of one change that was done and two that were refused.
fn written() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let trail = open(dir.path());
    let begun = trail.begin(doing("client app")).unwrap();
    trail.refused(&doing("client \"x\"\n"), Some(403), "takes the role operator").unwrap();
    trail.end(begun, Outcome::Done, Some(201), "").unwrap();
    trail.refused(&doing(""), None, "no").unwrap();
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
    // Every byte of every line but the last one, whose hash nothing names yet.
    for at in 0..bytes.len() - lines[3].len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        broken.push(flipped);
    }
    for broken in broken {
        std::fs::write(&path, &broken).unwrap();
        let text = String::from_utf8_lossy(&broken).into_owned();
        let found = verify_trail(dir.path(), |_| {});
        assert!(matches!(found, Err(OpenError::Damaged { .. })), "{found:?} {text}");
        assert!(Trail::open(dir.path(), Arc::new(Standing)).is_err(), "{text}");
        assert_eq!(std::fs::read(&path).unwrap(), broken, "a damaged trail is left as it is");
    }
    // The end cut off is seen by the hash that was noted, and by nothing else.
    std::fs::write(&path, [lines[0], lines[1], lines[2]].concat()).unwrap();
    assert_ne!(verify_trail(dir.path(), |_| {}).unwrap().last, report.last);
}

#[test]
fn a_line_that_a_crash_left_unfinished_is_cut_off_and_kept_beside() {
    let (dir, path, bytes) = written();
    let last = bytes.len()
        - bytes[..bytes.len() - 1].rsplit(|&byte| byte == b'\n').next().unwrap().len()
        - 1;
    for cut in last + 1..bytes.len() {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert_eq!(verify_trail(dir.path(), |_| {}).unwrap().torn, (cut - last) as u64);
        let trail = open(dir.path());
        assert_eq!(trail.lines(0, 10).unwrap().len(), 3);
        let torn = dir.path().join(format!("{TRAIL}.cut-{last}"));
        assert_eq!(std::fs::read(&torn).unwrap(), &bytes[last..cut]);
        std::fs::remove_file(torn).unwrap();
        trail.refused(&doing("after"), None, "").unwrap();
        assert_eq!(verify_trail(dir.path(), |_| {}).unwrap().lines, 4);
    }
}

#[test]
fn what_cannot_be_written_down_is_said_and_leaves_no_part_of_a_line() {
    let (dir, path, bytes) = written();
    let trail = open(dir.path());
    trail.end.lock().file = File::open(&path).unwrap();
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
    trail.refused(&doing(&"ü".repeat(5000)), None, &"y".repeat(300)).unwrap();
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
    trail.refused(&doing(&object), None, &format!("there is no key {key}")).unwrap();
    let line = &trail.lines(0, 1).unwrap()[0];
    let told = "client hg_0123456789abcdef_[redacted], key hgo_fedcba9876543210_[redacted]";
    assert_eq!(line.object, told);
    assert_eq!(line.why, "there is no key hg_0123456789abcdef_[redacted]");
    let bytes = std::fs::read(dir.path().join(TRAIL)).unwrap();
    assert!(!String::from_utf8(bytes).unwrap().contains(&secret));
    // What is shorter than an id, or names no key, stays.
    for text in ["hg_", "hg_0123", "hgo_0123456789abcdef", "client hg", "ähg_ü"] {
        trail.refused(&doing(text), None, "").unwrap();
        let lines = trail.lines(0, 100).unwrap();
        assert_eq!(lines.last().unwrap().object, text);
    }
}
