//! G4 and G5: what a snapshot shows, and that it shows what was answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use database::{
    Action, Author, Expect, HistoryOrder, Seen, SeenWithin, Snapshot, VersionEntry, Visibility,
    places,
};
use store::T;

use crate::support::{
    Clinic, at_once, block_on, commit, create, delete, everything, identified, json, key, patient,
    put, resource, said, version,
};

over_each_backend! {
    a_snapshot_stays_as_it_was_while_everything_changes
    snapshots_show_exactly_the_commits_up_to_their_position_while_others_commit
    whoever_got_an_answer_sees_it_in_every_later_read
    a_restricted_snapshot_shows_no_one_else
    a_version_is_shown_by_what_it_says_and_by_what_its_resource_says_now
    what_is_somebodys_on_record_is_their_own
    a_snapshot_of_types_shows_no_other_type
    what_is_kept_in_memory_is_what_lies_in_the_log
}

/// G4.
fn a_snapshot_stays_as_it_was_while_everything_changes(clinic: &mut Clinic) {
    clinic.write(put("Patient/1", &patient("a", &["x"]), Expect::Any));
    clinic.write(put("Patient/1", &patient("b", &["x"]), Expect::Any));
    clinic.write(put("Patient/2", &patient("a", &[]), Expect::Any));
    let snapshot = clinic.snapshot();
    clinic.write(delete("Patient/1", Expect::Any));
    clinic.write(put("Patient/2", &patient("b", &["x"]), Expect::Any));
    clinic.write(create("Patient/3", &patient("a", &["x"])));
    let (of, id) = resource("Patient/1");
    assert_eq!(snapshot.at(), T::new(3));
    let shown = |name: &str| block_on(json(&snapshot, name)).map(|json| said(&json));
    assert_eq!(shown("Patient/1").as_deref(), Some("b"));
    assert_eq!(shown("Patient/2").as_deref(), Some("a"));
    assert_eq!(shown("Patient/3"), None);
    assert_eq!(block_on(identified(&snapshot, "x")), ["1"]);
    let history = block_on(snapshot.history(&of, &id)).unwrap();
    assert_eq!(history.len(), 2);
    let deletion = block_on(snapshot.vread(&of, &id, version(3))).unwrap();
    assert!(deletion.is_none());
    let now = clinic.snapshot();
    assert_eq!(block_on(json(&now, "Patient/1")), None);
    assert_eq!(block_on(identified(&now, "x")), ["2", "3"]);
    assert_eq!(block_on(now.history(&of, &id)).unwrap().len(), 3);
}

/// What one snapshot showed: its position, and each resource's text and length of history.
type AsSeen = (T, Vec<Option<(String, usize)>>);

const NAMES: [&str; 4] = ["Patient/a", "Patient/b", "Patient/c", "Patient/d"];

async fn look(snapshot: &Snapshot) -> AsSeen {
    let mut seen = Vec::new();
    for name in NAMES {
        let (of, id) = resource(name);
        let history = snapshot.history(&of, &id).await.unwrap().len();
        let text = json(snapshot, name).await.map(|json| (said(&json), history));
        seen.push(text);
    }
    (snapshot.at(), seen)
}

/// G4: the receipts say what each position made of each resource; every snapshot agrees, at once
/// and when it is asked again at the end.
fn snapshots_show_exactly_the_commits_up_to_their_position_while_others_commit(
    clinic: &mut Clinic,
) {
    let writing = Arc::new(AtomicBool::new(true));
    let readers = (0..3).map(|_| {
        let (database, writing) = (Arc::clone(clinic.database()), Arc::clone(&writing));
        async move {
            let mut kept = Vec::new();
            let mut last = T::ZERO;
            while writing.load(Ordering::SeqCst) {
                let snapshot = everything(&database);
                assert!(snapshot.at() >= last);
                last = snapshot.at();
                kept.push((look(&snapshot).await, snapshot));
                tokio::task::yield_now().await;
            }
            let mut seen = Vec::new();
            for (first, snapshot) in kept {
                assert_eq!(look(&snapshot).await, first);
                seen.push(first);
            }
            (Vec::new(), seen)
        }
    });
    let writer = |task: u64| {
        let database = Arc::clone(clinic.database());
        async move {
            let mut written = Vec::new();
            for step in 0..25 {
                let text = format!("{task}-{step}");
                let from = usize::try_from(task + step).unwrap() % 3;
                let names = &NAMES[from..from + 2];
                let changes = names.iter().map(|name| put(name, &patient(&text, &[]), Expect::Any));
                let receipt = commit(&database, changes.collect()).await.unwrap();
                written.push((receipt.t, names, text));
                tokio::task::yield_now().await;
            }
            written
        }
    };
    let writers: Vec<_> = (0..6).map(writer).collect();
    let writers = std::iter::once({
        let writing = Arc::clone(&writing);
        async move {
            let mut tasks: tokio::task::JoinSet<_> = writers.into_iter().collect();
            let mut written = Vec::new();
            while let Some(of_one) = tasks.join_next().await {
                written.extend(of_one.unwrap());
            }
            writing.store(false, Ordering::SeqCst);
            (written, Vec::new())
        }
    });
    type Part = (Vec<(T, &'static [&'static str], String)>, Vec<AsSeen>);
    type Task = std::pin::Pin<Box<dyn Future<Output = Part> + Send>>;
    let tasks = readers
        .map(|task| Box::pin(task) as Task)
        .chain(writers.map(|task| Box::pin(task) as Task));
    let (mut written, mut seen) = (BTreeMap::new(), Vec::new());
    for (of_writers, of_reader) in at_once(tasks) {
        seen.extend(of_reader);
        for (t, names, text) in of_writers {
            assert!(written.insert(t, (names, text)).is_none(), "{t} twice");
        }
    }
    assert_eq!(written.len(), 150);
    assert_eq!(written.keys().last(), Some(&T::new(150)));
    assert!(!seen.is_empty());
    for (at, shown) in seen {
        for (name, shown) in NAMES.iter().zip(shown) {
            let of_resource = written.range(..=at).filter(|(_, (names, _))| names.contains(name));
            let texts: Vec<_> = of_resource.map(|(_, (_, text))| text.clone()).collect();
            let expected = texts.last().map(|text| (text.clone(), texts.len()));
            assert_eq!(shown, expected, "{name} at {at}");
        }
    }
}

/// G5, and of G11 that nothing is answered before it is visible.
fn whoever_got_an_answer_sees_it_in_every_later_read(clinic: &mut Clinic) {
    let tasks = (0..32).map(|task| {
        let database = Arc::clone(clinic.database());
        async move {
            let name = format!("Patient/{task}");
            let (of, id) = resource(&name);
            for step in 0..15 {
                let value = format!("{task}-{step}");
                let change = put(&name, &patient(&value, &[&value]), Expect::Any);
                let receipt = commit(&database, vec![change]).await.unwrap();
                // Someone else, who was told.
                let other = Arc::clone(&database);
                let mut others = tokio::task::JoinSet::new();
                others.spawn(async move { everything(&other) });
                let of_other = others.join_next().await.unwrap().unwrap();
                for snapshot in [everything(&database), of_other] {
                    assert!(snapshot.at() >= receipt.t);
                    let found = snapshot.read(&of, &id).await.unwrap().unwrap();
                    assert_eq!(Some(found.entry.version), receipt.written[0].version);
                    assert_eq!(found.entry.instant, receipt.written[0].instant);
                    assert_eq!(identified(&snapshot, &value).await, [id.to_string()]);
                }
            }
        }
    });
    assert_eq!(at_once(tasks).len(), 32);
}

fn a_restricted_snapshot_shows_no_one_else(clinic: &mut Clinic) {
    for id in ["1", "2"] {
        clinic.write(create(&format!("Patient/{id}"), &patient("a", &["x"])));
    }
    let (of, one) = resource("Patient/1");
    let (_, two) = resource("Patient/2");
    let own = vec![Seen::within_patients([one.clone()])];
    let visibility = Visibility::of_parts([(of.clone(), own)].into());
    let snapshot = clinic.database().snapshot(visibility);
    let first = version(1);
    assert!(block_on(snapshot.read(&of, &one)).unwrap().is_some());
    assert!(block_on(snapshot.read(&of, &two)).unwrap().is_none());
    assert!(block_on(snapshot.newest(&of, &one)).unwrap().is_some());
    assert!(block_on(snapshot.newest(&of, &two)).unwrap().is_none());
    assert!(block_on(snapshot.vread(&of, &one, first)).unwrap().is_some());
    assert!(block_on(snapshot.vread(&of, &two, first)).unwrap().is_none());
    assert_eq!(block_on(snapshot.history(&of, &one)).unwrap().len(), 1);
    assert!(block_on(snapshot.history(&of, &two)).unwrap().is_empty());
    let found = block_on(snapshot.identified(&of, &key("x"))).unwrap();
    assert_eq!(found, [one]);
}

/// By its own content, and by the present one of its resource.
fn a_version_is_shown_by_what_it_says_and_by_what_its_resource_says_now(clinic: &mut Clinic) {
    // LEAK-07, LEAK-08
    let of_patient = |id: &str| {
        format!("{{\"resourceType\":\"Basic\",\"subject\":{{\"reference\":\"Patient/{id}\"}}}}")
    };
    for (name, patient) in [
        ("moved", "1"),
        ("moved", "2"),
        ("back", "1"),
        ("back", "2"),
        ("back", "1"),
        ("gone", "1"),
        ("lost", "2"),
    ] {
        clinic.write(put(&format!("Basic/{name}"), &of_patient(patient), Expect::Any));
    }
    for name in ["Basic/gone", "Basic/lost"] {
        clinic.write(delete(name, Expect::Any));
    }
    let (basic, _) = resource("Basic/1");
    let seen = |patient: &str| {
        let own = vec![Seen::within_patients([patient.parse().unwrap()])];
        clinic.database().snapshot(Visibility::of_parts([(basic.clone(), own)].into()))
    };
    let versions = |patient: &str, name: &str| -> Vec<u64> {
        let snapshot = seen(patient);
        let (of, id) = resource(&format!("Basic/{name}"));
        let history = block_on(snapshot.history(&of, &id)).unwrap();
        let shown: Vec<u64> = history.iter().map(|entry| entry.version.get()).collect();
        for number in 1..4 {
            let read = block_on(snapshot.vread(&of, &id, version(number))).unwrap();
            assert_eq!(read.is_some(), shown.contains(&number), "{patient} {name} {number}");
        }
        let newest = block_on(snapshot.read(&of, &id)).unwrap();
        assert_eq!(newest.is_some(), !shown.is_empty(), "{patient} {name}");
        shown
    };
    assert_eq!(versions("1", "moved"), [0; 0]);
    assert_eq!(versions("2", "moved"), [2]);
    assert_eq!(versions("1", "back"), [3, 1]);
    assert_eq!(versions("2", "back"), [0; 0]);
    assert_eq!(versions("1", "gone"), [2, 1]);
    assert_eq!(versions("1", "lost"), [0; 0]);
    let snapshot = seen("1");
    let range = places(T::ZERO, snapshot.at());
    let log = |order, most| -> Vec<String> {
        let found = block_on(snapshot.log(None, range.clone(), order, most)).unwrap();
        found.iter().map(|it| format!("{}/{}", it.entry.id, it.entry.version)).collect()
    };
    let all = ["back/1", "back/3", "gone/1", "gone/2"];
    assert_eq!(log(HistoryOrder::OldestFirst, 9), all);
    assert_eq!(log(HistoryOrder::OldestFirst, 3), all[..3]);
    assert_eq!(log(HistoryOrder::NewestFirst, 1), all[3..]);
    assert_eq!(block_on(snapshot.count_log(Some(&basic), range)).unwrap(), 4);
}

/// Whose a version is, is on record, also after the store is opened again.
fn what_is_somebodys_on_record_is_their_own(clinic: &mut Clinic) {
    let [ada, bob] = ["ada", "bob"].map(|user| Author::of("app", Some(user)));
    let write = |clinic: &mut Clinic, name: &str, author: Option<Author>| {
        let mut change = put(name, "{\"resourceType\":\"Basic\"}", Expect::Any);
        if let (Some(author), Action::Write { body, .. }) = (author, &mut change.action) {
            **body = body.as_ref().clone().written_by(author);
        }
        clinic.write(change);
    };
    write(clinic, "Basic/1", Some(ada));
    write(clinic, "Basic/2", Some(ada));
    write(clinic, "Basic/2", Some(bob));
    write(clinic, "Basic/3", None);
    for _ in 0..2 {
        let own = |author: Author| -> Vec<String> {
            let about = [author.as_compartment()].into();
            let within = SeenWithin::Compartments(about);
            let (of, _) = resource("Basic/1");
            let own = vec![Seen { within, filter: None }];
            let visibility = Visibility::of_parts([(of.clone(), own)].into());
            let snapshot = clinic.database().snapshot(visibility);
            let read = |id: &&str| block_on(snapshot.read(&of, &id.parse().unwrap()));
            let ids = ["1", "2", "3"].into_iter().filter(|id| read(id).unwrap().is_some());
            ids.map(str::to_owned).collect()
        };
        assert_eq!(own(ada), ["1"]);
        assert_eq!(own(bob), ["2"]);
        clinic.reopen();
    }
}

fn a_snapshot_of_types_shows_no_other_type(clinic: &mut Clinic) {
    for name in ["Patient/1", "Basic/1", "Patient/2", "Group/1", "Patient/1"] {
        let json = patient("a", &["x"]).replace("Patient", name.split('/').next().unwrap());
        clinic.write(put(name, &json, Expect::Any));
    }
    let types = ["Patient", "Basic", "Device"].map(|of| of.parse().unwrap());
    let snapshot = clinic.database().snapshot(Visibility::of_types(types.into()));
    let is_read = |name: &str| {
        let (of, id) = resource(name);
        block_on(snapshot.read(&of, &id)).unwrap().is_some()
    };
    assert!(is_read("Patient/1") && is_read("Basic/1") && !is_read("Group/1"));
    let log = |of: Option<&str>, order, most| -> Vec<String> {
        let of = of.map(|of| of.parse().unwrap());
        let range = places(T::ZERO, snapshot.at());
        let found = block_on(snapshot.log(of.as_ref(), range.clone(), order, most)).unwrap();
        if most > 10 {
            let count = block_on(snapshot.count_log(of.as_ref(), range)).unwrap();
            assert_eq!(count, found.len() as u64);
        }
        let name = |entry: &VersionEntry| format!("{}/{}", entry.resource_type, entry.id);
        found.iter().map(|version| name(&version.entry)).collect()
    };
    let (oldest, newest) = (HistoryOrder::OldestFirst, HistoryOrder::NewestFirst);
    assert_eq!(log(None, oldest, 99), ["Patient/1", "Basic/1", "Patient/2", "Patient/1"]);
    assert_eq!(log(None, newest, 3), ["Patient/1", "Patient/2", "Basic/1"]);
    assert_eq!(log(None, oldest, 2), ["Patient/1", "Basic/1"]);
    assert_eq!(log(Some("Basic"), newest, 99), ["Basic/1"]);
    assert_eq!(log(Some("Group"), oldest, 99), [""; 0]);
}

/// Read from memory, from the log once nothing is in memory, and from memory again.
fn what_is_kept_in_memory_is_what_lies_in_the_log(clinic: &mut Clinic) {
    let names: Vec<_> = (0..12).map(|id| format!("Patient/{id}")).collect();
    // Small and large transactions, updates, and a deletion among the changes.
    for (text, count) in [("a", 12), ("b", 3), ("c", 12), ("d", 1)] {
        let put = |name: &String| put(name, &patient(text, &[]), Expect::Any);
        let mut changes: Vec<_> = names[..count].iter().map(put).collect();
        changes.insert(0, delete("Patient/never", Expect::Any));
        clinic.commit(changes).unwrap();
    }
    let read = |clinic: &Clinic| -> Vec<_> {
        let mut all = Vec::new();
        let snapshot = clinic.snapshot();
        for name in &names {
            let (of, id) = resource(name);
            for entry in block_on(snapshot.history(&of, &id)).unwrap() {
                let version = block_on(snapshot.vread(&of, &id, entry.version)).unwrap().unwrap();
                assert_eq!(version.entry, entry);
                all.push((entry, version.json.unwrap()));
            }
        }
        all
    };
    let first = read(clinic);
    assert_eq!(first.len(), 28);
    assert_eq!(read(clinic), first);
    clinic.reopen();
    assert_eq!(read(clinic), first);
    assert_eq!(read(clinic), first);
    clinic.reopen_with(database::Options { kept_bytes: 0, ..database::Options::default() });
    assert_eq!(read(clinic), first);
}
