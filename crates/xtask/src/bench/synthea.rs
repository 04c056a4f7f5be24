//! What a version takes on disk: Synthea's resources, sealed, in transactions as an import sends
//! them, and each in a commit of its own. Of the half that no dictionary was trained on.

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
/// Resources in a transaction: fewer than most of Synthea's Bundles have.
const TOGETHER: usize = 100;

pub(super) fn run() -> Result<(), Failure> {
    let Some(data) = folder() else {
        return Ok(print("\nbytes on disk: not measured without the test data\n")?);
    };
    let samples = Arc::new(read(&data).map_err(|error| error.to_string())?.measured);
    commit(&samples, TOGETHER, Some(WANTED))?;
    commit(&samples, 1, None)
}

/// Commits them, so many in each, and says what they take.
fn commit(
    samples: &Arc<Vec<Sample>>,
    together: usize,
    wanted: Option<(f64, f64)>,
) -> Result<(), Failure> {
    let directory = Directory::new("synthea")?;
    let database = Arc::new(open(directory.path())?);
    let ids = Arc::new(SystemIds::open()?);
    runtime()?.block_on(async {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (database, samples, ids) =
                (Arc::clone(&database), Arc::clone(samples), Arc::clone(&ids));
            clients.spawn(async move {
                for samples in samples.chunks(together).skip(client).step_by(CLIENTS) {
                    database.commit(create(&database, samples, &ids)?).await?;
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
        "\nbytes on disk of {versions} of Synthea's resources of {json:.0} bytes, sealed, {together} a \
         transaction\n"
    ))?;
    let Some((most_log, most_state)) = wanted else {
        return Ok(print(&format!("  log {log:.0}, state/ {state:.0} bytes a version\n"))?);
    };
    for (what, found, most) in
        [("log, bytes a version", log, most_log), ("state/, bytes a version", state, most_state)]
    {
        print(&verdict(what, found, found <= most, &format!("<= {most}")))?;
    }
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

fn create(
    database: &Database,
    samples: &[Sample],
    ids: &SystemIds,
) -> Result<Transaction, Failure> {
    let change = |sample: &Sample| -> Result<Change, Failure> {
        let document = Document::parse(&sample.json)?;
        let resource = Resource::new(document.root())?;
        let id = ResourceId::from_uuid(ids.next());
        let body = Body::of(&resource, &id, &Replacements::default(), Schema::r4());
        let resource_type = resource.resource_type().clone();
        let action = Action::Write { body: Box::new(body), method: Method::Post };
        Ok(Change { resource_type, id, action, expect: Expect::New })
    };
    Ok(Transaction {
        id: CommitId(ids.next()),
        prepared_at: database.snapshot(Visibility::everything()).at(),
        changes: samples.iter().map(change).collect::<Result<_, _>>()?,
        conditions: Vec::new(),
    })
}
