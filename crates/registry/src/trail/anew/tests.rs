//! Beginning anew, which may end after each of its steps.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::super::chain::closed_name;
use super::super::tests::{MOST, Standing, doing, open_short, written};
use super::super::{Before, Trail};
use super::*;

/// A trail, what happened to it, and how many lines are known of it afterwards.
type Case<'a> = (&'a dyn Fn() -> tempfile::TempDir, &'a [&'a dyn Fn(&Path)], Option<u64>);

/// Copies the files of a directory that has no others in it, but for those set aside.
fn copied(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

// GW-063
#[test]
fn wherever_beginning_anew_ends_no_start_goes_on_with_a_trail_that_does_not_say_it() {
    let (by, clock) = (Actor::local_user(1000), || Arc::new(Standing::default()));
    let of_files = || {
        let dir = tempfile::tempdir().unwrap();
        let trail = open_short(dir.path()).unwrap();
        for number in 0..5 {
            trail.refused(&doing(&format!("client {number}")), None, "no", MOST).unwrap();
        }
        drop(trail);
        assert!(dir.path().join(closed_name(1)).exists());
        dir
    };
    let damage = |dir: &Path| {
        let file = OpenOptions::new().write(true).open(dir.join(TRAIL)).unwrap();
        file.write_all_at(b"x", 1).unwrap();
    };
    let cut = |dir: &Path| std::fs::write(dir.join(TRAIL), "").unwrap();
    let unnoted = |dir: &Path| std::fs::remove_file(Head::path(dir)).unwrap();
    let no_closed = |dir: &Path| std::fs::remove_file(dir.join(closed_name(1))).unwrap();
    let lost = |dir: &Path| std::fs::remove_file(dir.join(TRAIL)).unwrap();
    let whole = |_: &Path| {};
    let (one, short) = (|| written().0, of_files);
    let cases: [Case<'_>; 9] = [
        (&one, &[&whole], Some(4)),
        (&one, &[&damage], Some(4)),
        (&one, &[&cut], Some(4)),
        (&one, &[&lost], Some(4)),
        (&one, &[&damage, &unnoted], None),
        (&short, &[&whole], Some(5)),
        (&short, &[&no_closed], Some(5)),
        (&short, &[&damage], Some(5)),
        (&short, &[&damage, &unnoted], None),
    ];
    for (case, (make, happens, lines)) in cases.into_iter().enumerate() {
        for steps in 0.. {
            let dir = make();
            happens.iter().for_each(|happens| happens(dir.path()));
            let (mut left, mut is_over) = (steps, true);
            let mut go_on = || match left {
                0 => {
                    is_over = false;
                    Err(TrailError::Io(io::ErrorKind::StorageFull.into()))
                }
                _ => {
                    left -= 1;
                    Ok(())
                }
            };
            let begun = begin_in_steps(dir.path(), &by, clock().as_ref(), &mut go_on);
            assert_eq!(begun.is_ok(), is_over);
            let known = match begun {
                Ok(begun) => begun.lines,
                Err(_) => {
                    for before in [Before::Nothing, Before::Changes] {
                        let copy = copied(dir.path());
                        if let Ok(trail) = Trail::open(copy.path(), before, clock()) {
                            let lines = trail.lines(0, 10).unwrap();
                            // It was not begun anew yet, or says that it was.
                            let says = lines.first().map(|line| line.operation.as_str());
                            let as_before = lines.len() as u64 == lines_of(case) && says.is_some();
                            let is_told = says == Some("changes.begin-anew");
                            assert!(as_before || is_told, "{case}, {steps}: {lines:?}");
                        }
                    }
                    begin_trail_anew(dir.path(), &by, clock()).unwrap().lines
                }
            };
            // Where nothing is noted, the new line counts as a trail as soon as it stands alone.
            let stood = lines.is_none() && known == Some(1) && !is_over;
            assert!(known == lines || stood, "{case}, after {steps} steps: {known:?}");
            let found = Trail::open(dir.path(), Before::Changes, clock()).unwrap();
            let found = found.lines(0, 10).unwrap();
            assert_eq!((found.len(), found[0].operation.as_str()), (1, "changes.begin-anew"));
            if is_over {
                assert!(steps > 1, "{case}");
                break;
            }
        }
    }
}

/// How many lines the trail of a case has that is whole; 0 where it is not.
fn lines_of(case: usize) -> u64 {
    match case {
        0 => 4,
        5 => 5,
        _ => 0,
    }
}
