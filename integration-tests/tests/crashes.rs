//! The embedded store on a disk that forgets, at each kind of its calls (`cargo xtask soak store`
//! does it for as many seeds as one likes).

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use integration_tests::crash_points::Hits;
use integration_tests::crashes::{crash, kill, run_to_a_kill};

/// A file whose presence in the working directory makes this test binary the process that kills
/// itself: the folder of the store, the seed, the call, and the file that takes what it is told.
const ORDERS: &str = "run-to-a-kill";

/// G1, G2, G11: nothing acknowledged or seen is lost, and no group is there in part, whichever of
/// its calls a crash comes at and whatever of the rest the disk kept.
#[test]
fn a_crash_at_any_call_leaves_everything_acknowledged_and_no_group_in_part() {
    let mut hits = Hits::default();
    for seed in 0..50 {
        hits.add(&crash(seed, 4).unwrap_or_else(|found| panic!("{found}")));
    }
    for point in [
        "log/segment.write",
        "log/segment.write-zeros",
        "log/segment.sync",
        "log/segment.set-length",
        "log/new-segment.write",
        "log/new-segment.sync",
        "log/new-segment.rename",
        "log.sync-directory",
        "keys/file.rename",
        "keys/file.write-zeros",
        "blobs/unfinished.write",
        "blobs/unfinished.rename",
        "blobs.sync-directory",
        "blobs/blob.remove",
        "reserve.allocate",
        "reserve.remove",
        "keys.sync-directory",
        "format.rename",
        "history/run.write",
        "open: blobs/unfinished.remove",
        "open: log/cut.write",
        "open: log/segment.set-length",
        "open: log/segment.write",
        "open: log/segment.sync",
    ] {
        assert!(hits.has(point), "no crash came at {point}:\n{}", hits.table());
    }
}

/// A long soak that never came to one of the calls that a store makes has not shown what it says.
#[test]
fn a_soak_of_200_runs_without_a_crash_at_each_listed_call_fails() {
    let hits = crash(0, 0).unwrap();
    hits.check_all(199).unwrap();
    let missing = hits.check_all(200).unwrap_err();
    assert!(missing.starts_with("no crash came at ") && missing.contains("open: "), "{missing}");
}

/// The process that kills itself; without its orders, which no usual run of the tests has, it has
/// nothing to do.
#[test]
fn child_runs_to_its_kill() {
    let Ok(orders) = fs::read_to_string(ORDERS) else {
        return;
    };
    let orders: Vec<&str> = orders.lines().collect();
    let [folder, seed, call, told] = orders[..] else {
        panic!("{orders:?}");
    };
    let told = File::create(told).unwrap();
    let (seed, call) = (seed.parse().unwrap(), call.parse().unwrap());
    run_to_a_kill(Path::new(folder), seed, call, Box::new(told)).unwrap();
}

/// G1, G2, G11: a process killed before or after any of its calls to the disk.
#[test]
fn a_process_killed_at_any_call_leaves_everything_acknowledged_and_no_group_in_part() {
    let mut hits = Hits::default();
    for seed in 0..20 {
        let process = |folder: &Path, call: usize| -> io::Result<String> {
            let orders = tempfile::tempdir()?;
            let told = orders.path().join("told");
            let text = format!("{}\n{seed}\n{call}\n{}\n", folder.display(), told.display());
            fs::write(orders.path().join(ORDERS), text)?;
            Command::new(std::env::current_exe()?)
                .args(["--exact", "child_runs_to_its_kill"])
                .current_dir(orders.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            fs::read_to_string(told)
        };
        hits.add(&kill(seed, process).unwrap_or_else(|found| panic!("{found}")));
    }
    assert!(hits.kinds() > 5, "{}", hits.table());
}
