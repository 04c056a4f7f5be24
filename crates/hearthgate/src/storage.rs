//! Which backend holds a tenant, and how it is opened: the one place that picks one.
//!
//! A tenant in PostgreSQL leaves a marker in the data directory, so that a start without its
//! configuration is refused and does not begin an empty log. Its keys are in the data directory as
//! everybody's are: whoever has the database alone, or a dump of it, has none.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, Ids};
use database::{Database, DeriveFromBody, FhirVersion, InvalidTenant, Sealing, Store, TenantText};
use fhir_core::Redacted;
use fhir_schema::Schema;
use store::keys::FirstKeys;
use store_postgres::{
    Condition, Failure, InvalidConnection, Opens, PostgresOptions, PostgresStore, Transport,
    Verified, VerifyError,
};
use store_sled::{SledStore, SledStoreOptions};

use crate::config::{Config, Storage, WithoutTls};
use crate::definitions::{self, DefinitionsError};
use crate::doors::SystemClock;
use crate::tenant_key::{OpenKeys, TenantKeyError, TenantKeys};

/// The bits of a file's mode by which other accounts read it.
const OTHERS: u32 = 0o007;

/// Why a tenant's store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The embedded store does not open.
    #[error(transparent)]
    Embedded(Box<store_sled::OpenError>),
    /// The store in PostgreSQL does not open.
    #[error(transparent)]
    Postgres(Box<store_postgres::OpenError>),
    /// The keys that bodies are sealed with.
    #[error(transparent)]
    Keys(Box<TenantKeyError>),
    /// The beginning of the log cannot be read.
    #[error(transparent)]
    Log(Box<store_sled::VerifyError>),
    /// What the resources are of.
    #[error(transparent)]
    Definitions(#[from] DefinitionsError),
    /// The name of the tenant is none that a log can hold.
    #[error(transparent)]
    Tenant(#[from] InvalidTenant),
    /// PostgreSQL cannot be reached as configured.
    #[error("PostgreSQL cannot be reached as `storage` says")]
    Connection(#[from] InvalidConnection),
    /// A file that the configuration names.
    #[error("cannot read {} (`{key}`)", path.display())]
    Unreadable {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others may read the password.
    #[error("other accounts may read {}; take that right from them: chmod o=", .0.display())]
    PasswordReadable(PathBuf),
    /// The configuration names no PostgreSQL, and the tenant is there.
    #[error(
        "{} says that the tenant is in PostgreSQL, and `storage.postgres` names none: name it, or remove that file to begin an empty tenant here",
        .0.display()
    )]
    Elsewhere(PathBuf),
    /// The configuration names PostgreSQL, and the tenant is here.
    #[error(
        "{} holds the tenant's data, and `storage.postgres` names another place: leave it out, or move that directory away to begin there",
        .0.display()
    )]
    Here(PathBuf),
    /// PostgreSQL does not say what is sealed.
    #[error("it cannot be told whether anything in PostgreSQL is sealed")]
    Sealed(#[source] Failure),
    /// Keys of other data.
    #[error(
        "the keys in {} do not open what is sealed in PostgreSQL: put the keys back that the data was sealed with, from the data directory that it was used with or from a copy of its keys",
        place.display()
    )]
    OtherKeys {
        /// Where the keys are.
        place: PathBuf,
        /// How a body was refused.
        #[source]
        source: store::DeriveError,
    },
    /// The data directory.
    #[error("cannot {doing} {}", path.display())]
    Directory {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl StorageError {
    /// How long whoever holds the tenant in PostgreSQL has it unless it is renewed; `None` when
    /// that is not the reason.
    pub(crate) fn held(&self) -> Option<(Duration, &Self)> {
        match self {
            Self::Postgres(error) => match **error {
                store_postgres::OpenError::Held { left, .. } => Some((left, self)),
                _ => None,
            },
            _ => None,
        }
    }
}

impl From<store_sled::OpenError> for StorageError {
    fn from(error: store_sled::OpenError) -> Self {
        Self::Embedded(Box::new(error))
    }
}

impl From<store_postgres::OpenError> for StorageError {
    fn from(error: store_postgres::OpenError) -> Self {
        Self::Postgres(Box::new(error))
    }
}

impl From<TenantKeyError> for StorageError {
    fn from(error: TenantKeyError) -> Self {
        Self::Keys(Box::new(error))
    }
}

/// A tenant's store, and the keys its bodies are sealed with.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) backend: Backend,
    pub(crate) keys: OpenKeys,
    pub(crate) sealing: Sealing,
    /// What the resources are of.
    pub(crate) schema: &'static Schema,
}

/// What a store is beyond the port.
#[derive(Clone)]
pub(crate) enum Backend {
    /// Files in the tenant's directory.
    Embedded,
    /// A database of PostgreSQL.
    Postgres(Arc<PostgresStore>),
}

impl Backend {
    /// Lets a database keep its search index in the tenant's directory, where all else of it is.
    /// In PostgreSQL none is kept: whoever holds the lease next has another directory.
    pub(crate) fn with_kept_index(&self, database: Database, directory: &Path) -> Database {
        match self {
            Self::Embedded => database.keeping_index_in(directory.join("index")),
            Self::Postgres(_) => database,
        }
    }
}

/// The file that says that a tenant is in PostgreSQL.
pub(crate) fn marker(data: &Path, tenant: &str) -> PathBuf {
    data.join(format!("postgres-{tenant}"))
}

/// The tenants that the markers in a data directory name.
pub(crate) fn in_postgres(data: &Path) -> io::Result<Vec<String>> {
    let mut tenants = Vec::new();
    for entry in fs::read_dir(data)? {
        let name = entry?.file_name();
        tenants.extend(
            name.to_str().and_then(|name| name.strip_prefix("postgres-")).map(str::to_owned),
        );
    }
    tenants.sort();
    Ok(tenants)
}

/// Opens the store of the tenant wherever it is, and its keys. Blocks.
pub(crate) fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
) -> Result<Opened, StorageError> {
    let tenant = config.tenant.as_str();
    let directory = config.data.join("tenants").join(tenant);
    let marker = marker(&config.data, tenant);
    match postgres_options(&config.storage)? {
        Some(options) => {
            if !SledStore::holds_nothing(&directory)? {
                return Err(StorageError::Here(directory));
            }
            let store = PostgresStore::open(tenant, options, Arc::clone(&clock))?;
            let store = Arc::new(store);
            let opened = mark(&marker, tenant).and_then(|()| {
                let of_log = condition(config, clock.as_ref())?.and_then(|it| it.fhir_version);
                let package = config.fhir_package.as_deref();
                let schema = definitions::at_start(&directory, package, of_log)?;
                with_keys(config, &store, schema, ids)
            });
            if opened.is_err()
                && let Err(error) = store.close()
            {
                tracing::warn!(%error, "the next start waits until the lease has expired");
            }
            opened
        }
        None if marker.exists() => Err(StorageError::Elsewhere(marker)),
        None => {
            let tenant = TenantText::new(tenant)?;
            let package = config.fhir_package.as_deref();
            let schema = definitions::at_start(&directory, package, of_log(&directory, &tenant)?)?;
            let source = &config.tenant_key;
            let keys = TenantKeys { data: &config.data, tenant: &tenant, source };
            let keys = keys.open_or_make(ids)?;
            let sealing = Sealing::with(tenant.clone(), Arc::clone(&keys.keyring));
            let store = embedded(&directory, &tenant, schema, sealing.clone())?;
            Ok(Opened { store, backend: Backend::Embedded, keys, sealing, schema })
        }
    }
}

/// Of which FHIR version the resources in a tenant's log are; `None` where it has none.
pub(crate) fn of_log(
    directory: &Path,
    tenant: &TenantText,
) -> Result<Option<FhirVersion>, StorageError> {
    if SledStore::holds_nothing(directory)? {
        return Ok(None);
    }
    let version = store_sled::fhir_version(directory, tenant);
    version.map_err(|error| StorageError::Log(Box::new(error)))
}

/// Opens the keys of a tenant in PostgreSQL. They are made where nothing is sealed yet, and must
/// open what is.
fn with_keys(
    config: &Config,
    store: &Arc<PostgresStore>,
    schema: &'static Schema,
    ids: Arc<dyn Ids>,
) -> Result<Opened, StorageError> {
    let tenant = TenantText::new(config.tenant.as_str())?;
    let sealed = store.newest_sealed().map_err(StorageError::Sealed)?;
    let first = if sealed.is_some() { FirstKeys::MustBeThere } else { FirstKeys::MayBeMade };
    let keys = TenantKeys { data: &config.data, tenant: &tenant, source: &config.tenant_key };
    let keys = keys.open_or_make_where(first, ids)?;
    let sealing = Sealing::with(tenant.clone(), Arc::clone(&keys.keyring));
    if let Some(sealed) = sealed {
        let derive = DeriveFromBody::sealed(schema, sealing.clone());
        let opens = sealed.is_read_by(&derive).map_err(|source| {
            let place = config.data.join("tenants").join(tenant.as_str()).join("keys");
            StorageError::OtherKeys { place, source }
        })?;
        if let Opens::NotKnown(flaw) = opens {
            tracing::warn!(
                %flaw,
                "whether the keys open what is sealed in PostgreSQL is not known: only large \
                 bodies are, and the newest of them is lost"
            );
        }
    }
    let backend = Backend::Postgres(Arc::clone(store));
    Ok(Opened { store: Arc::clone(store) as Arc<dyn Store>, backend, keys, sealing, schema })
}

fn embedded(
    directory: &Path,
    tenant: &TenantText,
    schema: &'static Schema,
    sealing: Sealing,
) -> Result<Arc<dyn Store>, StorageError> {
    let derive = Arc::new(DeriveFromBody::sealed(schema, sealing));
    let store = SledStore::open(directory, tenant.as_str(), derive, SledStoreOptions::default())?;
    let report = store.report();
    if let Some(cut) = &report.cut {
        tracing::warn!(?cut, "the log ended in a group that was never acknowledged, now cut off");
    }
    if let Some(rebuilt) = &report.rebuilt {
        tracing::warn!(?rebuilt, "the derived state was rebuilt from the log");
    }
    Ok(Arc::new(store))
}

fn mark(marker: &Path, tenant: &str) -> Result<(), StorageError> {
    if marker.exists() {
        return Ok(());
    }
    let text = format!(
        "The data of tenant {tenant} is in PostgreSQL: `storage.postgres` in the configuration \
         names it. While this file is here, no start begins an empty tenant in this directory.\n"
    );
    let written = fs::write(marker, text).and_then(|()| fs::File::open(marker)?.sync_all());
    written.map_err(|source| StorageError::Directory {
        doing: "write",
        path: marker.to_owned(),
        source,
    })
}

/// How PostgreSQL is reached; `None` where the data directory holds the tenant.
fn postgres_options(storage: &Storage) -> Result<Option<PostgresOptions>, StorageError> {
    let Some(connection) = &storage.postgres else { return Ok(None) };
    let password = |path| password("storage.postgres_password_file", path);
    let password = storage.password_file.as_deref().map(password).transpose()?;
    let transport = match (&storage.authority_file, storage.without_tls) {
        (Some(path), _) => {
            Transport::verified_by(&authority("storage.postgres_authority_file", path)?)?
        }
        (None, WithoutTls::Local) => Transport::Local,
        (None, WithoutTls::InsecureAnywhere) => Transport::InsecurePlain,
    };
    Ok(Some(PostgresOptions::new(connection.as_str(), password, transport, holder())?))
}

/// The certificates in the file that `key` names.
pub(crate) fn authority(key: &'static str, path: &Path) -> Result<Vec<u8>, StorageError> {
    fs::read(path).map_err(unreadable(key, path))
}

/// The password in the file that `key` names, which others may not read.
pub(crate) fn password(key: &'static str, path: &Path) -> Result<Redacted<String>, StorageError> {
    let metadata = fs::metadata(path).map_err(unreadable(key, path))?;
    if metadata.mode() & OTHERS != 0 {
        return Err(StorageError::PasswordReadable(path.to_owned()));
    }
    let text = fs::read_to_string(path).map_err(unreadable(key, path))?;
    Ok(Redacted::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

fn unreadable(key: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    move |source| StorageError::Unreadable { key, path: path.to_owned(), source }
}

/// Who this server is, for the one that is refused because of it.
fn holder() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "a host without a name" } else { host.trim() };
    format!("{host}, process {}", std::process::id())
}

/// How the tenant stands in PostgreSQL; `None` where the data directory holds it. Blocks.
pub(crate) fn condition(
    config: &Config,
    clock: &dyn Clock,
) -> Result<Option<Condition>, StorageError> {
    let Some(options) = postgres_options(&config.storage)? else { return Ok(None) };
    Ok(Some(Condition::of(config.tenant.as_str(), &options, clock)?))
}

/// Verifies the tenant in PostgreSQL, beside a server too; without `sealing` hashes alone. `None`
/// where the data directory holds it. Blocks.
pub(crate) fn verify(
    config: &Config,
    sealing: Option<Sealing>,
) -> Result<Option<Result<Verified, VerifyError>>, StorageError> {
    let Some(options) = postgres_options(&config.storage)? else { return Ok(None) };
    let of_log = condition(config, &SystemClock::start())?.and_then(|it| it.fhir_version);
    let directory = config.data.join("tenants").join(config.tenant.as_str());
    let schema = definitions::of(&directory, of_log)?;
    let derive = sealing.map(|sealing| -> Arc<dyn store::Derive> {
        Arc::new(DeriveFromBody::sealed(schema, sealing))
    });
    Ok(Some(store_postgres::verify(config.tenant.as_str(), &options, derive)))
}

/// Whether there is a tenant with data, which no registry may begin empty beside. PostgreSQL is
/// asked only where the registry could be one that begins. Blocks.
pub(crate) fn beside(config: &Config, clock: &dyn Clock) -> Result<registry::Beside, StorageError> {
    let here = crate::config::beside(&config.data).map_err(|source| StorageError::Directory {
        doing: "read",
        path: config.data.clone(),
        source,
    })?;
    let registry = config.data.join("registry");
    let begun = registry.join("format").exists() || registry::is_in_postgres(&registry);
    if here == registry::Beside::ExistingTenant || begun {
        return Ok(here);
    }
    let empty = condition(config, clock)?.is_none_or(|condition| condition.is_empty());
    Ok(if empty { registry::Beside::NoTenant } else { registry::Beside::ExistingTenant })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doors::{SystemClock, SystemIds};
    use std::os::unix::fs::PermissionsExt as _;

    fn config(data: &Path, storage: &str) -> Config {
        let file = data.join("hearthgate.toml");
        fs::write(&file, storage).unwrap();
        let flags = crate::config::Flags {
            config: Some(file),
            data: Some(data.to_owned()),
            ..Default::default()
        };
        Config::resolve(&flags).unwrap()
    }

    fn opened(config: &Config) -> Result<Opened, String> {
        let (clock, ids) = (SystemClock::start(), SystemIds::open().unwrap());
        open(config, Arc::new(clock), Arc::new(ids)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_tenant_that_is_elsewhere_is_never_begun_empty() {
        let data = tempfile::tempdir().unwrap();
        let here = config(data.path(), "");
        mark(&marker(data.path(), "default"), "default").unwrap();
        assert_eq!(in_postgres(data.path()).unwrap(), ["default"]);
        let Err(refused) = opened(&here) else { panic!("it was opened") };
        assert!(refused.contains("`storage.postgres` names none"), "{refused}");
        assert!(!data.path().join("tenants").exists());
    }

    #[test]
    fn a_tenant_with_data_here_is_not_looked_for_elsewhere() {
        let data = tempfile::tempdir().unwrap();
        let log = data.path().join("tenants/default/log");
        fs::create_dir_all(&log).unwrap();
        fs::write(log.join("0000000000000001.log"), [1; 4096]).unwrap();
        let elsewhere = config(data.path(), "storage.postgres = \"host=/nowhere\"");
        let Err(refused) = opened(&elsewhere) else { panic!("it was opened") };
        assert!(refused.contains("holds the tenant's data"), "{refused}");
    }

    #[test]
    fn a_password_that_others_may_read_is_refused() {
        let data = tempfile::tempdir().unwrap();
        const KEY: &str = "storage.postgres_password_file";
        let file = data.path().join("password");
        fs::write(&file, "planted\n").unwrap();
        let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o604);
        let refused = password(KEY, &file).unwrap_err().to_string();
        assert!(refused.contains("chmod o=") && !refused.contains("planted"), "{refused}");
        mode(0o600);
        assert_eq!(password(KEY, &file).unwrap().expose(), "planted");
        let missing = password(KEY, &data.path().join("absent")).unwrap_err().to_string();
        assert!(missing.contains("storage.postgres_password_file"), "{missing}");
    }
}
