//! A disk that fills up under a running server.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use integration_tests::client::{Answer, Client};
use integration_tests::private_disk::PrivateDisk;
use integration_tests::site::{Deployment, First, Site};

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
    // The log tells of it once, not at each refusal.
    let said = site.front().stderr();
    assert_eq!(said.matches("the disk is full").count(), 1, "{said}");
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

/// 503, and worth to ask again.
#[track_caller]
fn is_refused_for_now(answer: &Answer) {
    answer.is_outcome(503, "transient");
    assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
}
