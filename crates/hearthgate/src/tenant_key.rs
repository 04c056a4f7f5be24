//! Where the tenant's key comes from, and the tenant's keys opened with it.
//!
//! The key is in a file, in the environment or in a systemd credential. A file is made at the first
//! start; the others are the operator's. Where `serve` took it from is noted in the tenant's
//! folder, so that `verify` and `purge` find it too. How a source is written is in `source`, how a
//! key's file is read and made in `file`.

mod argument;
mod file;
mod source;

pub(crate) use self::argument::TenantKeyArgument;
pub use self::source::{InvalidKeySource, KeySource};

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::Ids;
use store::TenantText;
use store::keys::{FirstKeys, InvalidTenantKey, Keyring, KeysError, TenantKey};
use store_sled::{KeyFolder, VerifyError, holds_sealed};

use self::file::{read_file, write_key};
pub(crate) use self::source::environment;
use self::source::note;
use crate::doors::NoRandomness;

/// Why the tenant's keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TenantKeyError {
    /// The key is not where it should be.
    #[error(
        "the key of tenant {tenant} is not in {place}, and without it nothing stored can be read; put it back from its copy, or say where it is with `tenant_key`"
    )]
    Missing {
        /// Whose.
        tenant: String,
        /// Where it should be.
        place: String,
    },
    /// There is none yet, and it is the operator's to make.
    #[error(
        "the key of tenant {tenant} is not in {place}; make one (`openssl rand -hex 32`), put it there, and keep a copy apart"
    )]
    NotMade {
        /// Whose.
        tenant: String,
        /// Where it should be.
        place: String,
    },
    /// What is there is none.
    #[error("what is in {place} is no key: {source}; put the key back from its copy")]
    Invalid {
        /// Where.
        place: String,
        /// What a key is.
        #[source]
        source: InvalidTenantKey,
    },
    /// Others may read it.
    #[error(
        "other accounts may read the tenant's key in {}; take that right from them: chmod o=",
        .0.display()
    )]
    ReadableByOthers(PathBuf),
    /// The log cannot be looked at.
    #[error("it cannot be told whether anything in the log is sealed")]
    Log(#[source] Box<VerifyError>),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// A file cannot be read or written.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The keys that it wraps.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The tenant's directory.
    #[error(transparent)]
    Store(#[from] Box<store_sled::OpenError>),
}

/// A tenant's keys, open.
#[derive(Debug)]
pub struct OpenKeys {
    /// The keys.
    pub keyring: Arc<Keyring>,
    /// The file that was made for the tenant's key, when it was made now.
    pub made: Option<PathBuf>,
}

/// Which tenant, and where its key is.
#[derive(Debug, Clone)]
pub struct TenantKeys<'a> {
    /// The data directory.
    pub data: &'a Path,
    /// The tenant.
    pub tenant: &'a TenantText,
    /// Where its key comes from.
    pub source: &'a KeySource,
}

/// Where a tenant's key is kept, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeptKey {
    /// In a file in the data directory.
    BesideTheData(String),
    /// In a file elsewhere.
    Apart(String),
    /// In what another process was given.
    Elsewhere(String),
}

impl TenantKeys<'_> {
    /// Opens the tenant's keys; at a first start makes them, and the file of the tenant's key
    /// before them.
    ///
    /// # Errors
    /// [`TenantKeyError`]; nothing is made where something is stored already.
    pub fn open_or_make(&self, ids: Arc<dyn Ids>) -> Result<OpenKeys, TenantKeyError> {
        let first = self.first_keys()?;
        self.open_or_make_where(first, ids)
    }

    /// The same where it is known from elsewhere whether keys may be made.
    ///
    /// # Errors
    /// [`TenantKeyError`].
    pub(crate) fn open_or_make_where(
        &self,
        first: FirstKeys,
        ids: Arc<dyn Ids>,
    ) -> Result<OpenKeys, TenantKeyError> {
        let path = self.source.path(self.data, self.tenant);
        let may_make = first == FirstKeys::MayBeMade && !self.folder().has_keys();
        let mut made = None;
        let key = match (self.read()?, &self.source, path) {
            (Some(key), ..) => key,
            (None, KeySource::DataDirectory | KeySource::File(_), Some(path)) if may_make => {
                let key = TenantKey::draw(ids.as_ref());
                let written = write_key(&path, &key);
                written.map_err(|source| io_error("write", &path)(source))?;
                made = Some(path);
                key
            }
            (None, ..) => return Err(self.missing(may_make)),
        };
        let keyring = Keyring::open(Box::new(self.folder()), self.tenant, key, ids, first)?;
        let note = note(self.data, self.tenant);
        let source = match self.source {
            KeySource::File(path) => {
                KeySource::File(std::path::absolute(path).map_err(io_error("find", path))?)
            }
            other => other.clone(),
        };
        let text = format!("{source}\n");
        if fs::read_to_string(&note).ok().as_deref() != Some(&text) {
            fs::write(&note, text).map_err(io_error("write", &note))?;
        }
        Ok(OpenKeys { keyring: Arc::new(keyring), made })
    }

    /// Opens the keys of a tenant that has some; `None` when nothing of it was ever sealed.
    ///
    /// # Errors
    /// [`TenantKeyError`].
    pub fn open(&self, ids: Arc<dyn Ids>) -> Result<Option<Arc<Keyring>>, TenantKeyError> {
        if !self.folder().has_keys() && self.first_keys()? == FirstKeys::MayBeMade {
            return Ok(None);
        }
        let key = self.read()?.ok_or_else(|| self.missing(false))?;
        let first = FirstKeys::MustBeThere;
        let keyring = Keyring::open(Box::new(self.folder()), self.tenant, key, ids, first)?;
        Ok(Some(Arc::new(keyring)))
    }

    /// Where keys are missing, what is sealed is lost without them. A directory that says it may
    /// hold sealed bodies need not hold any.
    fn first_keys(&self) -> Result<FirstKeys, TenantKeyError> {
        let directory = self.directory();
        let first = KeyFolder::first_keys(&directory).map_err(Box::new)?;
        if first == FirstKeys::MayBeMade || self.folder().has_keys() {
            return Ok(first);
        }
        let sealed = holds_sealed(&directory, self.tenant);
        match sealed.map_err(|error| TenantKeyError::Log(Box::new(error)))? {
            true => Ok(FirstKeys::MustBeThere),
            false => Ok(FirstKeys::MayBeMade),
        }
    }

    fn directory(&self) -> PathBuf {
        directory(self.data, self.tenant)
    }

    fn folder(&self) -> KeyFolder {
        KeyFolder::of_tenant(&self.directory())
    }

    fn missing(&self, may_make: bool) -> TenantKeyError {
        let (tenant, place) = (self.tenant.to_string(), self.source.place(self.data, self.tenant));
        match may_make {
            true => TenantKeyError::NotMade { tenant, place },
            false => TenantKeyError::Missing { tenant, place },
        }
    }

    /// What is to be said of the key where it is: whether it is one, and how it is kept.
    ///
    /// # Errors
    /// [`TenantKeyError`] when it is not there or cannot be used; nothing is made.
    pub(crate) fn look(&self) -> Result<KeptKey, TenantKeyError> {
        let place = self.source.place(self.data, self.tenant);
        let path = match self.source {
            KeySource::DataDirectory | KeySource::File(_) => {
                self.source.path(self.data, self.tenant)
            }
            // Another process has another environment.
            KeySource::Environment(_) | KeySource::Credential(_) => None,
        };
        let Some(path) = path else { return Ok(KeptKey::Elsewhere(place)) };
        self.read()?.ok_or_else(|| self.missing(false))?;
        let whole = |path: &Path| fs::canonicalize(path).map_err(io_error("find", path));
        Ok(match whole(&path)?.starts_with(whole(self.data)?) {
            true => KeptKey::BesideTheData(place),
            false => KeptKey::Apart(place),
        })
    }

    fn read(&self) -> Result<Option<TenantKey>, TenantKeyError> {
        let text = match &self.source {
            KeySource::Environment(name) => environment(name),
            _ => match self.source.path(self.data, self.tenant) {
                Some(path) => read_file(&path)?,
                None => None,
            },
        };
        let invalid = |source| TenantKeyError::Invalid {
            place: self.source.place(self.data, self.tenant),
            source,
        };
        text.map(|text| TenantKey::parse(&text).map_err(invalid)).transpose()
    }
}

impl TenantKeyError {
    /// Whether it is the key, or the keys, that are not there; nothing is wrong with them.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Keys(KeysError::Missing { .. }))
    }
}

/// The advice that goes with a key that was made.
pub fn advice(path: &Path) -> String {
    format!(
        "The tenant's key was made: {}. Without it nothing that is stored can be read: keep a copy \
         of it apart from the data and from the data's backups.",
        path.display()
    )
}

fn directory(data: &Path, tenant: &TenantText) -> PathBuf {
    data.join("tenants").join(tenant.as_str())
}

fn io_error(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> TenantKeyError + use<> {
    let path = path.to_owned();
    move |source| TenantKeyError::Io { doing, path: path.clone(), source }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    use database::Sealing;

    use crate::doors::SystemIds;
    use crate::failure::one_line;

    pub(crate) struct Place(tempfile::TempDir);

    impl Place {
        pub(crate) fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        pub(crate) fn data(&self) -> PathBuf {
            self.0.path().join("data")
        }

        pub(crate) fn open(&self, source: &KeySource) -> Result<OpenKeys, TenantKeyError> {
            let tenant = TenantText::new("default").unwrap();
            let data = self.data();
            let keys = TenantKeys { data: &data, tenant: &tenant, source };
            keys.open_or_make(Arc::new(SystemIds::open().unwrap()))
        }
    }

    #[test]
    fn a_first_start_makes_the_key_for_this_account_alone_and_says_where_once() {
        let place = Place::new();
        let path = place.data().join("tenant-keys/default");
        let source = KeySource::DataDirectory;
        assert_eq!(place.open(&source).unwrap().made.as_ref(), Some(&path));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(advice(&path).contains("keep a copy"));
        assert_eq!(place.open(&source).unwrap().made, None);
    }

    #[test]
    fn a_lost_key_is_an_error_and_never_made_anew() {
        let place = Place::new();
        let elsewhere = place.0.path().join("apart/key");
        for source in [KeySource::DataDirectory, KeySource::File(elsewhere)] {
            let place = Place::new();
            let made = place.open(&source).unwrap().made.unwrap();
            let key = fs::read(&made).unwrap();
            fs::remove_file(&made).unwrap();
            let line = one_line(&place.open(&source).unwrap_err());
            assert!(line.contains(made.to_str().unwrap()) && line.contains("copy"), "{line}");
            assert!(!made.exists());
            let put = |text: &[u8]| {
                fs::write(&made, text).unwrap();
                fs::set_permissions(&made, fs::Permissions::from_mode(0o600)).unwrap();
            };
            put(b"nothing like a key\n");
            let line = one_line(&place.open(&source).unwrap_err());
            assert!(line.contains("64 hexadecimal digits"), "{line}");
            put(format!("{}\n", "ab".repeat(32)).as_bytes());
            let line = one_line(&place.open(&source).unwrap_err());
            assert!(line.contains("not the one it was wrapped with"), "{line}");
            put(&key);
            fs::set_permissions(&made, fs::Permissions::from_mode(0o604)).unwrap();
            let line = one_line(&place.open(&source).unwrap_err());
            assert!(line.contains("chmod o="), "{line}");
            put(&key);
            assert!(place.open(&source).is_ok());
        }
    }

    #[test]
    fn a_key_that_is_the_operators_is_asked_for_and_not_made() {
        let place = Place::new();
        for source in ["env:NO_SUCH_VARIABLE", "credential:no-such"] {
            let line = one_line(&place.open(&source.parse().unwrap()).unwrap_err());
            assert!(line.contains("make one") && line.contains("openssl"), "{line}");
        }
        // One that is there in every process, and no key.
        let line = one_line(&place.open(&"env:PATH".parse().unwrap()).unwrap_err());
        assert!(line.contains("the environment's PATH is no key"), "{line}");
        assert!(!line.contains("/bin"), "what it holds is not shown: {line}");
    }

    /// Writes one resource of the tenant, which bears its id as identifier.
    pub(crate) fn write(place: &Place, name: &str, sealing: Sealing) {
        use database::{Action, Body, Change, Expect, Method, Transaction};
        let tenant = TenantText::new("default").unwrap();
        let schema = fhir_schema::Schema::r4();
        let derive = Arc::new(database::DeriveFromBody::sealed(schema, sealing.clone()));
        let options = store_sled::SledStoreOptions::default();
        let directory = directory(&place.data(), &tenant);
        let store = store_sled::SledStore::open(&directory, "default", derive, options).unwrap();
        let (store, clock) = (Arc::new(store), Arc::new(crate::doors::SystemClock::start()));
        let options = database::Options::default();
        let database =
            database::Database::open_sealed(store, tenant, schema, clock, options, sealing);
        let database = database.unwrap();
        let (of, id) = name.split_once('/').unwrap();
        let json = format!(
            "{{\"resourceType\":\"{of}\",\"id\":\"{id}\",\"identifier\":[{{\"value\":\"nr-{id}\"}}]}}"
        );
        let document = fhir_core::json::Document::parse(json.as_bytes()).unwrap();
        let resource = fhir_core::Resource::new(document.root()).unwrap();
        let id: fhir_core::ResourceId = id.parse().unwrap();
        let body = Body::of(&resource, &id, &fhir_core::json::Replacements::default(), schema);
        let change = Change {
            resource_type: of.parse().unwrap(),
            id,
            action: Action::Write { body: Box::new(body), method: Method::Put },
            expect: Expect::New,
        };
        let transaction = Transaction {
            id: database::CommitId(SystemIds::open().unwrap().next()),
            prepared_at: store::T::ZERO,
            changes: vec![change],
            conditions: Vec::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(database.commit(transaction)).unwrap();
        database.close().unwrap();
    }

    #[test]
    fn data_of_before_there_were_keys_gets_keys_and_sealed_data_never_new_ones() {
        let (place, source) = (Place::new(), KeySource::DataDirectory);
        let tenant = TenantText::new("default").unwrap();
        let keys = place.data().join("tenants/default/keys");
        write(&place, "Basic/before", Sealing::none());
        let opened = place.open(&source).unwrap();
        assert!(opened.made.is_some());
        // Nothing was sealed with them yet, so that others do as well.
        fs::remove_dir_all(&keys).unwrap();
        let opened = place.open(&source).unwrap();
        write(&place, "Basic/since", Sealing::with(tenant, opened.keyring));
        fs::remove_dir_all(&keys).unwrap();
        let line = one_line(&place.open(&source).unwrap_err());
        assert!(line.contains("missing from") && line.contains("restore"), "{line}");
        assert!(!keys.exists());
    }

    #[test]
    fn where_the_key_came_from_is_noted_for_other_commands() {
        let place = Place::new();
        let tenant = TenantText::new("default").unwrap();
        assert_eq!(KeySource::noted(&place.data(), &tenant), KeySource::DataDirectory);
        let source = KeySource::File(place.0.path().join("key"));
        place.open(&source).unwrap();
        assert_eq!(KeySource::noted(&place.data(), &tenant), source);
    }
}
