//! A tenant's FHIR packages: stored in its log like everything else it has, each as its archive
//! in a resource of a type that no version of FHIR has and no request reaches. What they define
//! is compiled whole before it takes effect.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::Ids;
use database::{
    Action, Body, Change, CommitError, CommitId, Database, Expect, HistoryOrder, Method, ReadError,
    Snapshot, T, Transaction, VersionEntry, Visibility, places,
};
use fhir_core::json::{Document, Replacements, write_string};
use fhir_core::{Instant, Resource, ResourceId, ResourceType};
use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{DefinitionSet, SchemaError};
use fhir_terminology::{Entry, Layer};
use ring::digest::SHA256;

use super::posted::{self, Posted, Tried};
use super::{Definitions, Validation};
use crate::internal::{self, PACKAGE};

/// Versions that are read from the log at a time.
const PAGE: usize = 100;

/// A package's archive, as somebody gives it.
#[derive(Debug, Clone)]
pub struct Archive {
    /// What it is called, for errors.
    pub file: String,
    /// The gzipped tar archive.
    pub bytes: Vec<u8>,
}

/// What was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedPackages {
    /// `NAME#VERSION` of each.
    pub packages: Vec<String>,
    /// Packages that those of the tenant depend on and it does not have, in words.
    pub unmet: Vec<String>,
    /// Search parameters of the tenant's packages that do not count, and why, in words.
    pub left_out: Vec<String>,
}

/// A package that a tenant has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPackage {
    /// Its name: `hl7.fhir.us.core`.
    pub name: String,
    /// Its version: `6.1.0`.
    pub version: String,
    /// Bytes of its archive.
    pub bytes: usize,
    /// When it was added.
    pub added: Instant,
}

impl ListedPackage {
    fn label(&self) -> String {
        format!("{}#{}", self.name, self.version)
    }
}

/// Why packages could not be loaded or changed.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    /// An archive cannot be used.
    #[error("{file} is no package that can be used")]
    Archive {
        /// What it is called.
        file: String,
        /// What is wrong with it.
        #[source]
        source: Box<SchemaError>,
    },
    /// The packages do not go together.
    #[error("the tenant's packages cannot be used together")]
    Together(#[source] Box<SchemaError>),
    /// Packages say what is validated.
    #[error(
        "the tenant holds resources of FHIR {0}, of which there is no validator; packages are for R4"
    )]
    NoValidator(String),
    /// It is FHIR's own, which no package brings.
    #[error(
        "{package} holds FHIR's own definitions; those of this tenant are {built_in} and built in, \
         so leave it out"
    )]
    Core {
        /// `NAME#VERSION` of what was given.
        package: String,
        /// The same of what is built in.
        built_in: String,
    },
    /// Nothing was given.
    #[error("no package is given")]
    Nothing,
    /// It is there already.
    #[error("the tenant has {0}, of the same content, already; remove it first to replace it")]
    Present(String),
    /// Another is there under its name and version.
    #[error(
        "the tenant has {package} already, and of other content: the archive there has SHA-256 \
         {stored}, the one given {given}; remove it first to replace it"
    )]
    Differs {
        /// `NAME#VERSION`.
        package: String,
        /// Of the archive that the tenant has, in hexadecimal.
        stored: String,
        /// Of the one that was given.
        given: String,
    },
    /// It is not there.
    #[error("the tenant has no package {0}; `hearthgate packages list` shows those it has")]
    Absent(String),
    /// The others do not go without it.
    #[error("without {0} the tenant's other packages cannot be used; remove those first")]
    Needed(String, #[source] Box<SchemaError>),
    /// What is stored is no package.
    #[error("the stored package {0} cannot be read")]
    Stored(ResourceId),
    /// The log cannot be read.
    #[error("the tenant's packages cannot be read")]
    Read(#[from] ReadError),
    /// The log cannot be written.
    #[error("the tenant's packages cannot be written")]
    Commit(#[from] CommitError),
    /// The work ended by a panic.
    #[error("the work on the packages ended before its time; the log says why")]
    Interrupted,
}

/// A package as it is stored.
#[derive(Debug, Clone)]
struct StoredPackage {
    id: ResourceId,
    listed: ListedPackage,
    archive: Vec<u8>,
}

impl Validation {
    /// Loads the packages that the tenant has.
    ///
    /// # Errors
    /// [`PackagesError`] when they cannot be read or do not go together.
    pub async fn load(&self, database: &Database) -> Result<(), PackagesError> {
        if self.current.is_none() {
            // It can have none.
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        let stored = stored(database).await?;
        let archives = stored.into_iter().map(archive_of).collect();
        let definitions = compiled(archives).await?;
        for search_parameter in &definitions.left_out {
            tracing::warn!(search_parameter, "a search parameter of a package does not count");
        }
        let posted = posted::stored(database).await?;
        self.put(with_posted(definitions, posted, Tried::All).await?);
        Ok(())
    }

    /// Adds packages: all of them or, when one cannot be used, none. From when this answers on,
    /// they count.
    ///
    /// # Errors
    /// [`PackagesError`]: nothing was added.
    pub async fn add(
        &self,
        database: &Database,
        ids: &dyn Ids,
        archives: Vec<Archive>,
    ) -> Result<AddedPackages, PackagesError> {
        if self.current.is_none() {
            let version = database.schema().fhir_version().to_owned();
            return Err(PackagesError::NoValidator(version));
        }
        if archives.is_empty() {
            return Err(PackagesError::Nothing);
        }
        let _turn = self.turn.lock().await;
        let stored = stored(database).await?;
        let there: BTreeMap<String, Digest> =
            stored.iter().map(|it| (it.listed.label(), digest(&it.archive))).collect();
        let new = archives.len();
        let all: Vec<Archive> =
            archives.into_iter().chain(stored.into_iter().map(archive_of)).collect();
        let bytes: Vec<Vec<u8>> = all[..new].iter().map(|archive| archive.bytes.clone()).collect();
        let named = names(all[..new].to_vec()).await?;
        let added: Vec<String> =
            named.iter().map(|(name, version)| format!("{name}#{version}")).collect();
        if let Some(core) = named.iter().position(|(name, _)| is_core(name)) {
            let built_in = DefinitionSet::r4().packages().next().map(ToString::to_string);
            let built_in = built_in.unwrap_or_default();
            return Err(PackagesError::Core { package: added[core].clone(), built_in });
        }
        for (label, bytes) in added.iter().zip(&bytes) {
            let Some(stored) = there.get(label) else { continue };
            let (package, given) = (label.clone(), digest(bytes));
            if given == *stored {
                return Err(PackagesError::Present(package));
            }
            let (stored, given) = (hexadecimal(stored), hexadecimal(&given));
            return Err(PackagesError::Differs { package, stored, given });
        }
        let definitions = compiled(all).await?;
        let changes = named.iter().zip(&bytes).map(|((name, version), bytes)| {
            let id = ResourceId::from_uuid(ids.next());
            let json = written(name, version, bytes);
            let document = Document::parse(&json).expect("it was just written");
            let resource = Resource::new(document.root()).expect("it was just written");
            let body = Body::of(&resource, &id, &Replacements::default(), database.schema());
            Change {
                resource_type: internal::of(PACKAGE),
                id,
                action: Action::Write { body: Box::new(body), method: Method::Post },
                expect: Expect::New,
            }
        });
        let definitions = self.with_own_search_parameters(definitions).await?;
        commit(database, ids, changes.collect()).await?;
        let (unmet, left_out) = (definitions.unmet.clone(), definitions.left_out.clone());
        index_with(database, &definitions);
        self.put(definitions);
        Ok(AddedPackages { packages: added, unmet, left_out })
    }

    /// Takes a package, `NAME#VERSION`, out again. What it defines counts no more.
    ///
    /// # Errors
    /// [`PackagesError`]: nothing was taken out.
    pub async fn remove(
        &self,
        database: &Database,
        ids: &dyn Ids,
        label: &str,
    ) -> Result<(), PackagesError> {
        let _turn = self.turn.lock().await;
        let all = stored(database).await?;
        let (removed, left): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|package| package.listed.label() == label);
        let Some(removed) = removed.into_iter().next() else {
            return Err(PackagesError::Absent(label.to_owned()));
        };
        let archives: Vec<Archive> = left.into_iter().map(archive_of).collect();
        let definitions = match compiled(archives.clone()).await {
            Ok(definitions) => Some(definitions),
            Err(PackagesError::Together(error)) => {
                let whole = archives.into_iter().chain([archive_of(removed.clone())]).collect();
                if compiled(whole).await.is_ok() {
                    return Err(PackagesError::Needed(label.to_owned(), error));
                }
                // They did not go together before either: it is a step towards mending that.
                None
            }
            // One of the others is at fault, and stays so.
            Err(PackagesError::Archive { .. }) => None,
            Err(error) => return Err(error),
        };
        let change = Change {
            resource_type: internal::of(PACKAGE),
            id: removed.id,
            action: Action::Delete,
            expect: Expect::Exists,
        };
        let definitions = match definitions {
            Some(definitions) => Some(self.with_own_search_parameters(definitions).await?),
            None => None,
        };
        commit(database, ids, vec![change]).await?;
        if let Some(definitions) = definitions {
            index_with(database, &definitions);
            self.put(definitions);
        }
        Ok(())
    }
}

impl Validation {
    /// Packages with the search parameters on top that the tenant has now.
    async fn with_own_search_parameters(
        &self,
        definitions: Arc<Definitions>,
    ) -> Result<Arc<Definitions>, PackagesError> {
        let posted = self.current().map(|current| Posted::clone(&current.posted));
        with_posted(definitions, posted.unwrap_or_default(), Tried::All).await
    }
}

/// Packages with a tenant's own search parameters on top; says in the log which do not count.
async fn with_posted(
    definitions: Arc<Definitions>,
    posted: Posted,
    tried: Tried,
) -> Result<Arc<Definitions>, PackagesError> {
    if posted.is_empty() {
        return Ok(definitions);
    }
    let (definitions, faults) = aside(move || Ok(definitions.with_posted(posted, &tried))).await?;
    faults.iter().for_each(|(_, issue)| posted::warn(issue));
    Ok(Arc::new(definitions))
}

/// Lets the search index be one by these definitions; without one, searches look at the resources.
pub(super) fn index_with(database: &Database, definitions: &Definitions) {
    if let Err(error) = database.index_with(&definitions.extractor) {
        tracing::error!(%error, "there is no thread for the search index");
    }
}

/// The packages that a tenant has, by name and version.
///
/// # Errors
/// [`PackagesError`] when the log cannot be read.
pub async fn list(database: &Database) -> Result<Vec<ListedPackage>, PackagesError> {
    let stored = stored(database).await?;
    let mut listed: Vec<_> = stored.into_iter().map(|package| package.listed).collect();
    listed.sort_by_key(ListedPackage::label);
    Ok(listed)
}

async fn commit(
    database: &Database,
    ids: &dyn Ids,
    changes: Vec<Change>,
) -> Result<(), PackagesError> {
    let transaction = Transaction {
        id: CommitId(ids.next()),
        prepared_at: database.snapshot(Visibility::everything()).at(),
        changes,
        conditions: Vec::new(),
    };
    database.commit(transaction).await?;
    Ok(())
}

fn archive_of(package: StoredPackage) -> Archive {
    Archive { file: package.listed.label(), bytes: package.archive }
}

/// A package as the resource it is stored as.
fn written(name: &str, version: &str, archive: &[u8]) -> Vec<u8> {
    let mut json = Vec::with_capacity(archive.len() / 3 * 4 + 200);
    json.extend_from_slice(b"{\"resourceType\":");
    write_string(PACKAGE, &mut json);
    for (member, text) in
        [("name", name), ("version", version), ("data", &STANDARD.encode(archive))]
    {
        json.extend_from_slice(format!(",\"{member}\":").as_bytes());
        write_string(text, &mut json);
    }
    json.push(b'}');
    json
}

/// The packages in the log, the oldest first.
async fn stored(database: &Database) -> Result<Vec<StoredPackage>, PackagesError> {
    let snapshot = database.snapshot(Visibility::everything());
    let mut stored = Vec::new();
    for entry in newest(&snapshot, &internal::of(PACKAGE)).await? {
        let (id, added) = (entry.id.clone(), entry.instant);
        let unreadable = || PackagesError::Stored(id.clone());
        let json = snapshot.load(entry).await?.json.ok_or_else(unreadable)?;
        let document = Document::parse(&json).map_err(|_| unreadable())?;
        let text = |name: &str| document.root().get_str(name).ok_or_else(unreadable);
        let (name, version) = (text("name")?.into_owned(), text("version")?.into_owned());
        let archive = STANDARD.decode(text("data")?.as_bytes()).map_err(|_| unreadable())?;
        let listed = ListedPackage { name, version, bytes: archive.len(), added };
        stored.push(StoredPackage { id, listed, archive });
    }
    Ok(stored)
}

/// The newest version of each resource of a type that was not removed.
pub(super) async fn newest(
    snapshot: &Snapshot,
    of: &ResourceType,
) -> Result<Vec<VersionEntry>, ReadError> {
    let mut range = places(T::ZERO, snapshot.at());
    let mut found: Vec<VersionEntry> = Vec::new();
    loop {
        let page = snapshot.log(Some(of), range.clone(), HistoryOrder::OldestFirst, PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        range.start = last.place.next();
        for version in page {
            found.retain(|other| other.id != version.entry.id);
            if !version.entry.flags.is_deleted() {
                found.push(version.entry);
            }
        }
    }
}

/// Whether a package of this name holds the definitions of a FHIR version itself.
fn is_core(name: &str) -> bool {
    fhir_schema::version::core_release(name).is_some()
}

/// Does work that uses a processor for long where no request waits for it.
pub(super) async fn aside<D: Send + 'static>(
    work: impl FnOnce() -> Result<D, PackagesError> + Send + 'static,
) -> Result<D, PackagesError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| PackagesError::Interrupted)?
}

fn read(archive: &Archive) -> Result<Package, PackagesError> {
    let read = Package::read(archive.bytes.as_slice(), PackageLimits::default());
    let package = read.map_err(|source| PackagesError::Archive {
        file: archive.file.clone(),
        source: Box::new(source),
    })?;
    Ok(Package { digest: Some(digest(&archive.bytes)), ..package })
}

/// SHA-256.
type Digest = [u8; 32];

fn digest(archive: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(ring::digest::digest(&SHA256, archive).as_ref());
    digest
}

fn hexadecimal(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Name and version of each archive's package.
async fn names(archives: Vec<Archive>) -> Result<Vec<(String, String)>, PackagesError> {
    aside(move || {
        let named = archives.iter().map(|archive| {
            let manifest = read(archive)?.manifest;
            Ok((manifest.name.into(), manifest.version.into()))
        });
        named.collect()
    })
    .await
}

/// The definitions of R4 and these packages.
async fn compiled(archives: Vec<Archive>) -> Result<Arc<Definitions>, PackagesError> {
    if archives.is_empty() {
        return Ok(Definitions::r4());
    }
    aside(move || {
        let packages: Vec<Package> = archives.iter().map(read).collect::<Result<_, _>>()?;
        drop(archives);
        definitions(packages).map(Arc::new)
    })
    .await
}

fn definitions(packages: Vec<Package>) -> Result<Definitions, PackagesError> {
    let mut layer = Layer::new();
    let mut guides = Vec::new();
    for resource in packages.iter().flat_map(|package| &package.resources) {
        let url =
            resource.url.as_deref().filter(|_| &*resource.resource_type == "ImplementationGuide");
        if let Some(url) = url {
            let version = resource.version.as_deref().map(|version| format!("|{version}"));
            guides.push(format!("{url}{}", version.unwrap_or_default()));
        }
        // What is none of terminology's is not there for it.
        let document = Document::parse(&resource.json).ok();
        if let Some(Ok(entry)) = document.as_ref().map(|it| Entry::new(it.root())) {
            layer.add(Arc::new(entry));
        }
    }
    guides.sort();
    let set = DefinitionSet::r4()
        .with_packages(packages)
        .map_err(|error| PackagesError::Together(Box::new(error)))?;
    let unmet = set.unmet_dependencies().iter();
    let unmet = unmet
        .map(|unmet| format!("{}#{}, which {} depends on", unmet.name, unmet.wanted, unmet.package))
        .collect();
    let definitions = Definitions { guides, unmet, ..Definitions::of(set, Arc::new(layer)) };
    Ok(definitions.without_those_of_version())
}
