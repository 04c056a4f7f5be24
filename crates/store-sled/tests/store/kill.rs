//! A process that commits is killed at any moment: what it acknowledged is there, and nothing is
//! there in part (G1, G2).

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Folder, open_at, options};
use store::suite::block_on;
use store::suite::fixture::{append, commit, content, put_identified};
use store::{Commit, Store, T};

const ROUNDS: u64 = 10;
/// A file whose presence in the working directory makes this test binary the process that is
/// killed. It names the store's folder.
const ORDERS: &str = "commit-until-killed";
const ACKNOWLEDGED: &str = "acknowledged ";

/// Commit `t`: a few resources that say so, in numbers and sizes that vary.
fn numbered(t: u64) -> Commit {
    let versions = (0..=t % 5).map(|n| {
        let text = format!("{t} {}", "x".repeat(usize::try_from(t * 37 % 3000).unwrap()));
        let value = t.to_string();
        put_identified(&format!("Patient/{t}-{n}"), 1, &[("urn:n", &value)], &text)
    });
    commit(t, versions.collect())
}

/// The process that is killed; without its orders, which no usual run of the tests has, it has
/// nothing to do.
#[test]
fn child_commits_until_killed() {
    let Ok(folder) = fs::read_to_string(ORDERS) else {
        return;
    };
    let store = open_at(Path::new(&folder), options()).unwrap();
    let mut t = store.head().t.get();
    let mut output = std::io::stdout();
    loop {
        let group: Vec<_> = (t + 1..=t + 1 + t % 7).map(numbered).collect();
        append(&store, &group);
        t = group.last().unwrap().t.get();
        // One write, so that what the parent reads is a whole line.
        output.write_all(format!("\n{ACKNOWLEDGED}{t}\n").as_bytes()).unwrap();
    }
}

/// Lets a child commit, kills it after some acknowledgements, and returns the last it made.
fn last_acknowledged(folder: &Path, after: u64) -> u64 {
    let orders = tempfile::tempdir().unwrap();
    fs::write(orders.path().join(ORDERS), folder.to_str().unwrap()).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_commits_until_killed", "--nocapture"])
        .current_dir(orders.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = 0;
    let mut count = 0;
    for line in lines.map_while(Result::ok) {
        let Some(number) = line.strip_prefix(ACKNOWLEDGED) else {
            continue;
        };
        last = number.parse().unwrap();
        count += 1;
        if count == after {
            // What it still acknowledges before it is gone is read as well.
            child.kill().unwrap();
        }
    }
    assert!(count >= after, "the child ended by itself");
    child.wait().unwrap();
    last
}

#[test]
fn a_killed_process_leaves_every_acknowledged_commit_and_no_part_of_another() {
    let folder = Folder::new();
    let mut before = 0;
    for round in 0..ROUNDS {
        let after = 1 + (round * 2_654_435_761) % 97;
        let acknowledged = last_acknowledged(&folder.path(), after);
        assert!(acknowledged > before, "round {round}");
        let store = folder.open_with(options()).unwrap();
        let head = store.head().t;
        assert!(head >= T::new(acknowledged), "round {round}: {head} of {acknowledged}");
        for t in before + 1..=head.get() {
            for version in numbered(t).versions {
                let name = format!("{}/{}", version.resource_type, version.id);
                let found = block_on(content(&store, &name, head.get()));
                let expected = std::str::from_utf8(&version.body).unwrap();
                let (_, expected) = expected.split_once('\n').unwrap();
                assert_eq!(found.as_deref(), Some(expected), "round {round}: {name}");
            }
        }
        let beyond = format!("Patient/{}-0", head.get() + 1);
        assert_eq!(block_on(content(&store, &beyond, u64::MAX)), None);
        store.verify().unwrap();
        before = head.get();
    }
}
