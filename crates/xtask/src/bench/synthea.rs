//! What a version takes on disk: Synthea's resources, sealed, each in a commit of its own, as
//! clients that send them one by one leave them. Of the half that no dictionary was trained on.

use std::path::Path;
use std::sync::Arc;

use database::{Action, Body, Change, CommitId, Database, Expect, Method, Transaction, Visibility};
use fhir_core::json::{Document, Replacements};
use fhir_core::{Ids as _, Resource, ResourceId};
use fhir_schema::Schema;
use hearthgate::doors::SystemIds;
use integration_tests::test_data::folder;
use tokio::task::JoinSet;

use super::directory::Directory;
use super::figures::{print, verdict};
use super::product::open;
use super::store::bytes_in;
use super::{Failure, runtime};
use crate::dictionaries::samples::{Sample, read};

/// The most bytes of a version wanted: of the log, of the derived state.
const WANTED: (f64, f64) = (330.0, 260.0);
/// Clients.
const CLIENTS: usize = 16;

pub(super) fn run() -> Result<(), Failure> {
    let Some(data) = folder() else {
        return Ok(print("\nbytes on disk: not measured without the test data\n")?);
    };
    let samples = read(&data).map_err(|error| error.to_string())?.measured;
    let directory = Directory::new("synthea")?;
    let database = Arc::new(open(directory.path())?);
    let (samples, ids) = (Arc::new(samples), Arc::new(SystemIds::open()?));
    runtime()?.block_on(async {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (database, samples, ids) =
                (Arc::clone(&database), Arc::clone(&samples), Arc::clone(&ids));
            clients.spawn(async move {
                for sample in samples.iter().skip(client).step_by(CLIENTS) {
                    database.commit(create(&database, sample, &ids)?).await?;
                }
                Ok::<_, Failure>(())
            });
        }
        while let Some(done) = clients.join_next().await {
            done??;
        }
        Ok::<_, Failure>(())
    })?;
    database.close()?;
    drop(database);
    let path = directory.path().join("tenants/default");
    let versions = samples.len() as f64;
    let log = whole_log(&path.join("log"))? / versions;
    let state = bytes_in(&path.join("state"))? / versions;
    let json = samples.iter().map(|sample| sample.json.len()).sum::<usize>() as f64 / versions;
    print(&format!(
        "\nbytes on disk of {versions} of Synthea's resources of {json:.0} bytes, sealed, sent one by one\n"
    ))?;
    print(&verdict("log, bytes a version", log, log <= WANTED.0, &format!("<= {}", WANTED.0)))?;
    print(&verdict(
        "state/, bytes a version",
        state,
        state <= WANTED.1,
        &format!("<= {}", WANTED.1),
    ))?;
    Ok(())
}

/// The length of a closed log: without the zeros that are written ahead while it is open.
fn whole_log(directory: &Path) -> Result<f64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes as f64)
}

fn create(database: &Database, sample: &Sample, ids: &SystemIds) -> Result<Transaction, Failure> {
    let document = Document::parse(&sample.json)?;
    let resource = Resource::new(document.root())?;
    let id = ResourceId::from_uuid(ids.next());
    let body = Body::of(&resource, &id, &Replacements::default(), Schema::r4());
    let resource_type = resource.resource_type().clone();
    let action = Action::Write { body, method: Method::Post };
    Ok(Transaction {
        id: CommitId(ids.next()),
        prepared_at: database.snapshot(Visibility::everything()).at(),
        changes: vec![Change { resource_type, id, action, expect: Expect::New }],
        conditions: Vec::new(),
    })
}
