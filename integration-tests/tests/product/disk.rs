//! A disk that fills up under a running server.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

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
    full.is_outcome(503, "transient");
    assert!(full.text().contains("disk is full"), "{}", full.text());
    assert!(full.header("retry-after").is_some(), "{:?}", full.headers);
    for id in 2000..2005 {
        assert_eq!(put(id).await.status, 503, "{id}");
    }
    // What was acknowledged is read while the disk is full.
    for id in &written {
        assert_eq!(owner.get(&format!("/Patient/p{id}")).await.status, 200, "{id}");
    }

    fs::remove_file(&filler).unwrap();
    until("writing goes on", SOON, async || match put(3000).await.status {
        200 | 201 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    written.push(3000);
    site.becomes_ready().await;
    for id in 3001..3010 {
        assert_eq!(put(id).await.status, 201, "{id}");
        written.push(id);
    }
    // And after a crash everything acknowledged is there, and nothing that was refused.
    site.kill().await;
    site.launch(First::Gateway).await;
    let owner = site.owner();
    for id in written {
        assert_eq!(owner.get(&format!("/Patient/p{id}")).await.status, 200, "{id}");
    }
    for id in 2000..2005 {
        assert_eq!(owner.get(&format!("/Patient/p{id}")).await.status, 404, "{id}");
    }
}
