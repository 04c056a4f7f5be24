//! A disk that fills up under a running server.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Output};

use integration_tests::binary;
use integration_tests::client::{Answer, Client, sent};
use integration_tests::private_disk::PrivateDisk;
use integration_tests::site::{Deployment, First, Site};

use crate::Method;
use crate::waiting::{SOON, until};

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for length in [1 << 20, 4096, 1] {
        while file.write_all(&vec![0; length]).is_ok() {}
    }
}

#[tokio::test]
async fn a_full_disk_is_503_loses_nothing_and_writing_goes_on_once_there_is_room() {
    let Some(disk) = PrivateDisk::mount("size=24m") else { return };
    let mut site = Site::prepare(Deployment::OneProcess);
    site.settle(&disk.place().join("data"), disk.launcher());
    site.launch(First::Gateway).await;
    let owner = site.owner();
    let text = "x".repeat(2000);
    let body = |id: usize| {
        format!(r#"{{"resourceType":"Patient","id":"p{id}","name":[{{"text":"{id}{text}"}}]}}"#)
    };
    let put = async |id: usize| owner.put(&format!("/Patient/p{id}"), body(id)).await;
    let mut written = Vec::new();
    for id in 0..20 {
        let _ = put(id).await.is(201);
        written.push(id);
    }
    let filler = disk.from_outside().join("filler");
    fill(&filler);
    let full = until("the disk is felt to be full", SOON, async || {
        let id = 1000 + written.len();
        let answer = put(id).await;
        if answer.status == 201 {
            written.push(id);
            return Err("written".to_owned());
        }
        Ok(answer)
    })
    .await;
    is_refused_for_now(&full);
    for id in 2000..2005 {
        is_refused_for_now(&put(id).await);
    }
    // Whichever log finds it out tells of it once, not at each refusal.
    let said = site.front().stderr();
    let told = ["the disk is full", "the audit log cannot be written"];
    let told = told.map(|text| said.matches(text).count());
    assert!(matches!(told, [1, 0] | [0, 1] | [1, 1]), "{said}");
    assert!(!said.contains("failed by our fault"), "{said}");
    // What was acknowledged is read while the disk is full, or refused for now where even what
    // reading needs found no room. It is never said to be absent.
    for id in &written {
        let answer = owner.get(&format!("/Patient/p{id}")).await;
        if answer.status != 200 {
            is_refused_for_now(&answer);
        }
    }

    fs::remove_file(&filler).unwrap();
    let mut next = 3000;
    until("ten writes in a row succeed", SOON, async || {
        for _ in 0..10 {
            next += 1;
            let answer = put(next).await;
            if answer.status != 201 {
                is_refused_for_now(&answer);
                return Err(answer.text().to_owned());
            }
            written.push(next);
        }
        Ok(())
    })
    .await;
    site.becomes_ready().await;
    let all_there = async |owner: &Client| {
        for id in &written {
            let answer = owner.get(&format!("/Patient/p{id}")).await;
            assert_eq!(answer.status, 200, "{id}: {}", answer.text());
        }
        for id in 2000..2005 {
            assert_eq!(owner.get(&format!("/Patient/p{id}")).await.status, 404, "{id}");
        }
    };
    all_there(&owner).await;
    // And after a crash.
    site.kill().await;
    site.launch(First::Gateway).await;
    all_there(&site.owner()).await;
}

/// Runs the program where the site's processes run.
fn run(site: &Site, disk: &PrivateDisk, arguments: &[&str]) -> Output {
    let launcher = disk.launcher();
    let (program, words) = launcher.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(words).arg(binary::hearthgate()).args(arguments);
    command.arg("--data").arg(site.data()).current_dir(site.folder()).output().unwrap()
}

/// A disk that others filled to the last byte takes a purge all the same, from the room that is
/// kept for it, which is taken again once there is some.
#[tokio::test]
async fn a_purge_completes_on_a_disk_without_a_byte_left() {
    let Some(disk) = PrivateDisk::mount("size=64m") else { return };
    let mut site = Site::prepare(Deployment::OneProcess);
    site.settle(&disk.place().join("data"), disk.launcher());
    site.launch(First::Gateway).await;
    let owner = site.owner();
    for id in ["gone", "kept"] {
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}","active":true}}"#);
        let _ = owner.put(&format!("/Patient/{id}"), body).await.is(201);
    }
    let reserve = disk.from_outside().join("data/tenants/default/reserve");
    // Its blocks are taken, not its length alone.
    let is_kept = || fs::metadata(&reserve).is_ok_and(|file| file.blocks() * 512 > 1_000_000);
    assert!(is_kept());
    // What was written is in the derived state before there is no room for it.
    site.stop().await;
    site.launch(First::Gateway).await;
    let owner = site.owner();
    let filler = disk.from_outside().join("filler");
    fill(&filler);
    let refused = owner.put("/Patient/new", r#"{"resourceType":"Patient","id":"new"}"#).await;
    is_refused_for_now(&refused);

    let purged = run(&site, &disk, &["purge", "Patient/gone", "--reason", "asked for"]);
    assert!(purged.status.success(), "{purged:?}\n{}", site.front().stderr());
    assert!(!reserve.exists(), "{}", site.front().stderr());
    // The purge left room, in which what waits for the audit log is written: then reads are answered.
    until("reads are answered again", SOON, async || {
        let gone = owner.get("/Patient/gone").await;
        if gone.status == 503 {
            is_refused_for_now(&gone);
            return Err(gone.text().to_owned());
        }
        assert_eq!(gone.status, 410);
        Ok(())
    })
    .await;
    let kept = owner.get("/Patient/kept").await;
    assert_eq!(kept.status, 200, "{}", kept.text());

    // It lasts, and the room is kept again.
    site.kill().await;
    fs::remove_file(&filler).unwrap();
    site.launch(First::Gateway).await;
    let owner = site.owner();
    assert_eq!(owner.get("/Patient/gone").await.status, 410);
    let _ = owner.get("/Patient/kept").await.is(200);
    assert!(is_kept());
}

// GW-063
#[tokio::test]
async fn on_a_full_disk_nobody_changes_clients_without_its_being_written_down() {
    let Some(disk) = PrivateDisk::mount("size=24m") else { return };
    let mut site = Site::prepare(Deployment::OneProcess);
    site.settle(&disk.place().join("data"), disk.launcher());
    site.launch(First::Gateway).await;
    let create = ["operators", "create", "anna", "--role", "operator", "--print-token"];
    let created = run(&site, &disk, &create);
    assert!(created.status.success(), "{created:?}");
    let token = binary::text(&created.stdout).trim_end().to_owned();
    let operator = |site: &Site| {
        Client::new(&format!("http://{}/admin/v1", site.admin_address()), Some(&token))
    };
    let anna = operator(&site);
    let make = async |anna: &Client, id: &str| {
        let body = format!(r#"{{"id": "{id}", "role": "reader"}}"#);
        let request = anna.request(Method::POST, "/clients").body(body);
        sent(request.header("content-type", "application/json")).await
    };
    let filler = disk.from_outside().join("filler");
    fill(&filler);
    // The files' last blocks have room for some lines.
    let (mut made, mut refused) = (vec!["owner".to_owned()], Vec::new());
    for number in 0..200 {
        let id = format!("client-{number}");
        let answer = make(&anna, &id).await;
        match (answer.status, answer.text().contains("it is done")) {
            (201, _) | (503, true) => made.push(id),
            (503, false) => refused.push(answer),
            (other, _) => panic!("{other} {}", answer.text()),
        }
        if refused.len() == 10 {
            break;
        }
    }
    let last = refused.last().expect("the disk is full").text();
    assert!(last.contains("trail of changes cannot be written; free space"), "{last}");
    assert!(last.contains("nothing is changed"), "{last}");
    let by_command = run(&site, &disk, &["keys", "create", "--client", "owner", "--print-key"]);
    let told = binary::failure(&by_command, 1);
    assert!(told.contains("trail of changes cannot be written"), "{told}");
    made.sort();
    let clients = async |anna: &Client| {
        let listed = anna.get("/clients").await.is(200).json();
        let ids = listed["items"].as_array().unwrap().iter();
        ids.map(|client| client["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(clients(&anna).await, made);
    let keys = anna.get("/keys").await.is(200).json();
    assert_eq!(keys["items"].as_array().unwrap().len(), 1, "{keys}");

    fs::remove_file(&filler).unwrap();
    let _ = make(&anna, "after").await.is(201);
    made.push("after".to_owned());
    made.sort();
    site.kill().await;
    site.launch(First::Gateway).await;
    assert_eq!(clients(&operator(&site)).await, made);
    let verified = run(&site, &disk, &["changes", "verify"]);
    assert!(binary::text(&verified.stdout).starts_with("The trail is whole"), "{verified:?}");
}

/// 503, and worth to ask again.
#[track_caller]
fn is_refused_for_now(answer: &Answer) {
    answer.is_outcome(503, "transient");
    assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
}
