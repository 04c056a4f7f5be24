//! A purge where no server runs: this process opens the tenant and does it. What it does then is
//! the same as a server's.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::Clock as _;
use database::{Database, PurgeError, Sealing};
use fhir_schema::Schema;
use server::record_command;
use store::TenantText;
use store_sled::{SledStore, SledStoreOptions};

use super::{Certificate, PurgeCommandError, PurgeRequest, Tenant, by, carry_out, refusal};
use crate::audit;
use crate::command_socket::own_uid;
use crate::config::Config;
use crate::definitions;
use crate::doors::{SystemClock, SystemIds};
use crate::key_copies::Folder;
use crate::lock::Lock;
use crate::storage::{self, Backend, marker};
use crate::tenant_key::TenantKeys;
use crate::traces::STATE_LEFT;

/// Opens the tenant, purges, and lets its derived state go.
pub(super) async fn without_a_server(
    config: Config,
    name: TenantText,
    directory: PathBuf,
    request: PurgeRequest,
    _lock: Lock,
) -> Result<Certificate, PurgeCommandError> {
    let system = |doing| move |source| PurgeCommandError::System { doing, source };
    if config.storage.postgres.is_none() && marker(&config.data, name.as_str()).exists() {
        return Err(PurgeCommandError::InPostgres(name.to_string()));
    }
    let ids = Arc::new(SystemIds::open()?);
    let by = by(own_uid().map_err(system("ask for this account"))?);
    let opening = move || {
        let tenant = open(&config, name, directory, ids)?;
        let (now, keys) = (SystemClock::start().now(), tenant.sealing.keys().cloned());
        // Its ledger has the purge, where there is no room for more.
        let audit = audit::open(&config, &tenant.directory, &tenant.name, keys, now);
        let audit = audit.map_err(|error| tracing::error!(%error, "no audit of the purge")).ok();
        Ok::<_, PurgeCommandError>((tenant, audit))
    };
    let opened = tokio::task::spawn_blocking(opening).await;
    let (tenant, audit) = opened.map_err(io::Error::other).map_err(system("open the data"))??;
    let patient = request.patient.clone();
    let purged = carry_out(&tenant, request, by.clone()).await;
    if let (Some(audit), true) = (audit, purged.is_ok()) {
        let (clock, what) = (SystemClock::start(), ("purge", None));
        let kept = record_command(&*audit, &clock, what, Some(&patient), &by).await;
        if let Err(error) = kept {
            tracing::error!(%error, "the purge is not in the audit log");
        }
    }
    let closing = Arc::clone(&tenant.database);
    let closed = tokio::task::spawn_blocking(move || closing.close()).await;
    drop(closed);
    let mut certificate = purged.map_err(PurgeCommandError::Refused)?;
    // Nobody uses the derived state now: it is let go at once.
    drop(tenant.database);
    if matches!(tenant.backend, Backend::Embedded)
        && SledStore::forget_state(&tenant.directory).is_ok()
    {
        certificate.left.retain(|line| line != STATE_LEFT);
    }
    Ok(certificate)
}

/// Opens a tenant that has keys, wherever it is. Blocks.
fn open(
    config: &Config,
    name: TenantText,
    directory: PathBuf,
    ids: Arc<SystemIds>,
) -> Result<Tenant, PurgeCommandError> {
    let not_sealed = || PurgeCommandError::Refused(refusal(&PurgeError::NotSealed));
    let clock = Arc::new(SystemClock::start());
    let (store, backend, sealing, schema): (Arc<dyn store::Store>, _, _, _) =
        if config.storage.postgres.is_some() {
            if !Folder::of_tenant(&directory).has_keys() {
                return Err(not_sealed());
            }
            let opened = storage::open(config, clock.clone(), ids.clone())?;
            (opened.store, opened.backend, opened.sealing, opened.schema)
        } else {
            let (data, source) = (&config.data, &config.tenant_key);
            let keys = TenantKeys { data, tenant: &name, source }.open(ids.clone())?;
            let sealing = Sealing::with(name.clone(), keys.ok_or_else(not_sealed)?);
            let schema = definitions::of(&directory, storage::of_log(&directory, &name)?)?;
            let store = embedded(&name, &directory, schema, sealing.clone())?;
            (store, Backend::Embedded, sealing, schema)
        };
    let options = database::Options::default();
    let database =
        Database::open_sealed(store, name.clone(), schema, clock, options, sealing.clone());
    let database = database
        .map_err(|source| PurgeCommandError::System { doing: "start the writer", source })?;
    // What is kept of the index goes as well.
    let database = Arc::new(backend.with_kept_index(database, &directory));
    let turn = Arc::default();
    Ok(Tenant { name, directory, backend, sealing, database, ids, turn })
}

/// Opens the embedded store.
pub(super) fn embedded(
    name: &TenantText,
    directory: &Path,
    schema: &'static Schema,
    sealing: Sealing,
) -> Result<Arc<SledStore>, PurgeCommandError> {
    let derive = Arc::new(database::DeriveFromBody::sealed(schema, sealing));
    let options = SledStoreOptions::default();
    Ok(Arc::new(SledStore::open(directory, name.as_str(), derive, options)?))
}
