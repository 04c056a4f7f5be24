//! `hearthgate backup`: copies the logs of a data directory, whether or not a process runs on it.
//!
//! A backup is a directory of pieces, each written once, and a manifest for each time it was
//! made. The first time copies everything; each later time into the same directory copies only
//! what came since. Nobody is asked: what stands in a log never changes, and the walk that finds
//! how far it is whole verifies it. What was acknowledged before the command is in the backup.
//!
//! The derived state is not copied (it is rebuilt), nor locks, sockets and what stands aside.

mod blobs;
mod files;
mod manifest;
mod pace;
mod restore;
mod verify;

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use contract::{Clock as _, Instant};
use ring::digest::{Context, SHA256};
use store::TenantText;
use store_sled::{Reached, VerifyError};

pub(crate) use self::blobs::remove as remove_blobs;
pub use self::restore::Restore;
pub use self::verify::Verify;
pub(crate) use self::verify::{whole_log, whole_with_state};

use self::files::{create, finish, lock, make_directory, private, unfinished, write_whole};
use self::manifest::{FORMAT, LastCommit, Manifest, Piece, Segment, Tenant, hexadecimal};
use self::pace::Pace;
use crate::doors::SystemClock;
use crate::key_copies::{self, Folder, KeyCopyError};
use crate::tenant_key::TenantKeyError;

/// What `backup` takes.
#[derive(Debug, Args)]
pub struct Backup {
    /// The data directory
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data: PathBuf,
    /// The backup's directory, best on another disk; made where there is none
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// A directory to copy the keys to, apart from the backup; made where there is none
    #[arg(long, value_name = "DIR")]
    keys_to: Option<PathBuf>,
    /// While a process runs on the data directory (one that was killed counts until the next
    /// start), work so much of the time; pause for the rest
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = SHARE,
        value_parser = clap::value_parser!(u8).range(1..=100)
    )]
    share: u8,
}

/// Why a backup was not made, restored or verified.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to back up.
    #[error("{} holds no tenant; name the data directory with --data", .0.display())]
    NoTenant(PathBuf),
    /// What was backed up before is not there any more.
    #[error(
        "{0} is in the backup and not in the data directory any more; look for it, or begin a backup in another directory"
    )]
    Gone(String),
    /// The registry is not the one backed up before.
    #[error("{} is not the registry that was backed up before; begin a backup in another directory", .0.display())]
    OtherRegistry(PathBuf),
    /// Others may write to the backup.
    #[error("other accounts may write to {}; take that right from them: chmod go-w", .0.display())]
    WritableByOthers(PathBuf),
    /// A manifest names a file that is none of the backup's.
    #[error("the backup's manifest names {0}, which is no file of the backup")]
    Elsewhere(String),
    /// The derived state was not whole.
    #[error(
        "the derived state of tenant {tenant} was not whole and has been rebuilt from the log: {reason}; verify again, and look at the disk"
    )]
    Rebuilt {
        /// Whose.
        tenant: String,
        /// Why.
        reason: String,
    },
    /// A directory under `tenants/` has no tenant's name.
    #[error("{} is no tenant's name; move it out of the data directory", .0.display())]
    TenantName(PathBuf),
    /// A log is not whole, or not the one backed up before.
    #[error("the log of tenant {tenant} was not taken")]
    Log {
        /// Whose.
        tenant: String,
        /// What is wrong.
        #[source]
        source: Box<VerifyError>,
    },
    /// A blob that the log names is not there, or not as it was written.
    #[error("{resource}, written by commit {t} of tenant {tenant}, is lost")]
    Blob {
        /// Whose.
        tenant: String,
        /// Type and id.
        resource: String,
        /// The position of the commit.
        t: u64,
        /// What is wrong.
        #[source]
        source: Box<store::ReadError>,
    },
    /// The registry is not whole.
    #[error(transparent)]
    Registry(#[from] registry::OpenError),
    /// Keys were not copied.
    #[error(transparent)]
    KeyCopy(#[from] KeyCopyError),
    /// The tenant's keys.
    #[error(transparent)]
    Keys(#[from] TenantKeyError),
    /// Keys beside what they open.
    #[error(
        "{} is in the backup, and whoever has keys and backup can read it; name another directory with --keys-to",
        .0.display()
    )]
    KeysInBackup(PathBuf),
    /// Somebody else writes there.
    #[error("another process is writing to the backup {}; wait for it", .0.display())]
    InUse(PathBuf),
    /// There is no backup.
    #[error("{} holds no backup; name the directory that `hearthgate backup --to` was given", .0.display())]
    NoBackup(PathBuf),
    /// There is none of that number.
    #[error("there is no backup {number} in {}; its numbers are {known}", backup.display())]
    NoSuchNumber {
        /// Where.
        backup: PathBuf,
        /// Which.
        number: u64,
        /// Which there are.
        known: String,
    },
    /// A manifest is none that this release reads.
    #[error("{} is no manifest that this release reads: {reason}; a newer release may", path.display())]
    Manifest {
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A piece is not what its manifest says.
    #[error("{} is not what the backup's manifest says: {found} instead of {expected}; restore another backup, and look at the disk", path.display())]
    Piece {
        /// Which.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What must be there.
        expected: String,
    },
    /// The restored log ends elsewhere.
    #[error(
        "the log of tenant {tenant} as restored ends at commit {found}, not at {expected}; restore another backup"
    )]
    OtherHead {
        /// Whose.
        tenant: String,
        /// Where it ends.
        found: u64,
        /// Where it should.
        expected: u64,
    },
    /// The place for the data is taken.
    #[error("{} is there already; name a directory that is not, with --data", .0.display())]
    Occupied(PathBuf),
    /// An earlier restore did not come to its end.
    #[error("{} is what an earlier restore left; look at it, remove it, and restore again", .0.display())]
    Unfinished(PathBuf),
    /// The instant is none.
    #[error("{0} is no instant; write it like 2026-11-23T14:30:00Z")]
    Instant(String),
    /// The instant is after the backup.
    #[error("the backup ends at {last}; name no later instant, or leave --at out")]
    BeyondBackup {
        /// The last instant of it.
        last: String,
    },
    /// What verifying found in PostgreSQL.
    #[error("the data of tenant {tenant} in PostgreSQL is not whole, or cannot be read")]
    NotWholeInPostgres {
        /// Whose.
        tenant: String,
        /// What is wrong.
        #[source]
        source: Box<store_postgres::VerifyError>,
    },
    /// PostgreSQL cannot be reached as configured.
    #[error(transparent)]
    Storage(#[from] crate::storage::StorageError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// What verifying found.
    #[error("the data of tenant {tenant} is not whole")]
    NotWhole {
        /// Whose.
        tenant: String,
        /// What is wrong.
        #[source]
        source: Box<VerifyError>,
    },
    /// A store does not open.
    #[error(transparent)]
    Store(Box<store_sled::OpenError>),
    /// A store does not close.
    #[error(transparent)]
    Close(#[from] store::CloseError),
    /// Restored keys could not be suspended.
    #[error(transparent)]
    Change(#[from] registry::ChangeError),
    /// The definitions that the resources are of.
    #[error(transparent)]
    Definitions(#[from] crate::definitions::DefinitionsError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] crate::doors::NoRandomness),
    /// A lock could not be tried.
    #[error(transparent)]
    Lock(#[from] crate::lock::LockError),
    /// The file system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |source| BackupError::Io { doing, path, source }
}

/// Lets whatever else runs go before what this thread does from now on: a backup has time, and
/// those who write have not.
pub fn behind_all_others() {
    // Where the system refuses it the backup is made all the same.
    let _ = rustix::process::nice(LEAST);
}

/// The least that a thread can ask for of the processors.
const LEAST: i32 = 19;
/// Of a hundred parts of the time a backup works in so many beside a running process.
const SHARE: u8 = 25;
/// What is copied is synced after so many bytes: the disk would be busy for long with all of it at
/// once, while others wait for theirs.
const SYNCED_AT_ONCE: u64 = 4 << 20;

impl Backup {
    /// Makes the backup. Returns what to print.
    ///
    /// # Errors
    /// [`BackupError`]; the backups made before are then as they were.
    pub fn run(&self) -> Result<String, BackupError> {
        let tenants = tenants(&self.data)?;
        private(&self.to)?;
        make_directory(&self.to)?;
        let keys_to = self.keys_to.as_deref().map(|to| self.place_of_keys(to)).transpose()?;
        let _lock = lock(&self.to)?;
        let last = match manifest::list(&self.to).map_err(failed("read", &self.to))?.pop() {
            Some((_, path)) => Some(read_manifest(&path)?),
            None => None,
        };
        let number = last.as_ref().map_or(1, |last| last.number + 1);
        if let Some(gone) = last
            .iter()
            .flat_map(|last| last.tenants.keys())
            .find(|known| tenants.iter().all(|tenant| tenant.as_str() != known.as_str()))
        {
            return Err(BackupError::Gone(format!("tenant {gone}")));
        }
        let clock = SystemClock::start();
        let pace = Pace::beside(&self.data, self.share, &clock);
        let mut target = Target { backup: &self.to, number, copied: 0, pace };
        // The registry first: a key made while the logs are copied is missing, no commit is.
        let registry = target.registry(&self.data.join("registry"), last.as_ref())?;
        let mut manifest = Manifest {
            format: FORMAT,
            number,
            made: clock.now(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            tenants: std::collections::BTreeMap::new(),
            registry,
        };
        for tenant in &tenants {
            let before = last.as_ref().and_then(|last| last.tenants.get(tenant.as_str()));
            let directory = self.data.join("tenants").join(tenant.as_str());
            let copied = target.tenant(tenant, &directory, before)?;
            manifest.tenants.insert(tenant.as_str().to_owned(), copied);
        }
        let copied = target.copied;
        let json = serde_json::to_vec_pretty(&manifest).map_err(io::Error::from);
        let path = self.to.join(Manifest::file_name(number));
        json.and_then(|json| write_whole(&path, &json)).map_err(failed("write", &path))?;
        let mut text = report(&manifest, copied, &self.to);
        for tenant in &tenants {
            text.push_str(&self.keys(tenant, keys_to.as_deref(), manifest.made)?);
        }
        for tenant in &in_postgres(&self.data)? {
            text.push_str(&format!(
                "Tenant {tenant} is in PostgreSQL and not in this backup: back that database up \
                 too\n"
            ));
            text.push_str(&self.keys(tenant, keys_to.as_deref(), manifest.made)?);
        }
        Ok(text)
    }

    /// The directory for the keys, made and by its whole name.
    fn place_of_keys(&self, to: &Path) -> Result<PathBuf, BackupError> {
        private(to)?;
        make_directory(to)?;
        let whole = |path: &Path| fs::canonicalize(path).map_err(failed("find", path));
        let (keys, backup) = (whole(to)?, whole(&self.to)?);
        if keys.starts_with(&backup) || backup.starts_with(&keys) {
            return Err(BackupError::KeysInBackup(to.to_owned()));
        }
        Ok(keys)
    }

    /// Copies a tenant's keys where the operator wants them, and says so.
    fn keys(
        &self,
        tenant: &TenantText,
        to: Option<&Path>,
        made: Instant,
    ) -> Result<String, BackupError> {
        let directory = self.data.join("tenants").join(tenant.as_str());
        let keys = Folder::of_tenant(&directory);
        let Some(to) = to else {
            return Ok(match keys.has_keys() {
                true => format!(
                    "The keys of tenant {tenant} are not in it: --keys-to DIR copies them, apart\n"
                ),
                false => String::new(),
            });
        };
        if !keys.has_keys() {
            return Ok(format!("Tenant {tenant} has no keys: nothing of it is sealed\n"));
        }
        key_copies::copy(&keys, to, tenant, made)?;
        Ok(format!(
            "Keys of tenant {tenant} in {}, good with the tenant's own key, which is not in it: \
             keep that apart too\n",
            to.display()
        ))
    }
}

fn report(manifest: &Manifest, copied: u64, backup: &Path) -> String {
    let mut text = format!("Backup {} in {}\n", manifest.number, backup.display());
    for (name, tenant) in &manifest.tenants {
        text.push_str(&format!(
            "  tenant {name}: up to commit {} of {}, {} bytes\n",
            tenant.head.t,
            tenant.head.instant,
            tenant.length()
        ));
    }
    let registry = match &manifest.registry {
        Some(piece) => format!("{} bytes", piece.length),
        None => "none in this data directory; back up the gateway's".to_owned(),
    };
    text.push_str(&format!("  registry: {registry}\n  copied now: {copied} bytes\n"));
    text
}

/// The backup being written.
struct Target<'a> {
    backup: &'a Path,
    number: u64,
    copied: u64,
    pace: Pace<'a>,
}

impl Target<'_> {
    fn tenant(
        &mut self,
        name: &TenantText,
        directory: &Path,
        before: Option<&Tenant>,
    ) -> Result<Tenant, BackupError> {
        let reached = before.and_then(|before| {
            let segment = before.segments.last()?.number;
            Some(Reached { head: before.head.head()?, segment })
        });
        // In this order: what is done when the ledger is read stands in the log by then, or in
        // none.
        let purged = blobs::done_in(&Folder::of_tenant(directory))?;
        let taken = blobs::walk(name, directory, reached.as_ref(), &mut || self.pace.step())?;
        let known = before.map_or_else(Default::default, |before| before.blobs.clone());
        let (taken, blobs) = self.blobs(name, directory, taken, (purged, known))?;
        let format = directory.join("format");
        let store_format = fs::read_to_string(&format).map_err(failed("read", &format))?;
        let mut segments = before.map_or(Vec::new(), |before| before.segments.clone());
        for segment in &taken.segments {
            let mut known = match segments.last() {
                Some(last) if last.number == segment.number => segments.pop().unwrap_or_default(),
                _ => Segment { number: segment.number, pieces: Vec::new() },
            };
            let from = known.length();
            if segment.length > from {
                let file = format!(
                    "tenants/{}/log/{:016}/{from:012}-{:012}",
                    name.as_str(),
                    segment.number,
                    segment.length
                );
                known.pieces.push(self.copy(&segment.path, from..segment.length, file)?);
            }
            segments.push(known);
        }
        let definitions = self.definitions(name, directory, before)?;
        let head = LastCommit::of(&taken.head);
        Ok(Tenant { head, store_format, definitions, segments, blobs })
    }

    /// The definitions of the FHIR version that the tenant began with; none where that is R4. They
    /// never change.
    fn definitions(
        &mut self,
        name: &TenantText,
        directory: &Path,
        before: Option<&Tenant>,
    ) -> Result<Option<Piece>, BackupError> {
        if let Some(known) = before.and_then(|before| before.definitions.clone()) {
            return Ok(Some(known));
        }
        let path = directory.join(crate::definitions::FILE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(failed("read", &path))?,
        };
        let file = format!("tenants/{}/definitions", name.as_str());
        let place = self.place(&file)?;
        write_whole(&place, &bytes).map_err(failed("write", &place))?;
        let length = bytes.len() as u64;
        self.copied += length;
        Ok(Some(Piece { file, length, sha256: digest(&bytes) }))
    }

    fn registry(
        &mut self,
        directory: &Path,
        last: Option<&Manifest>,
    ) -> Result<Option<Piece>, BackupError> {
        let known = last.and_then(|last| last.registry.as_ref());
        if !directory.join("format").exists() {
            return known.map_or(Ok(None), |_| Err(BackupError::Gone("the registry".to_owned())));
        }
        let changes = registry::whole_changes(directory)?;
        let sha256 = digest(&changes);
        if let Some(piece) = known {
            if piece.sha256 == sha256 {
                return Ok(Some(piece.clone()));
            }
            // Changes are only ever added.
            let before = usize::try_from(piece.length).ok().and_then(|end| changes.get(..end));
            if before.is_none_or(|before| digest(before) != piece.sha256) {
                return Err(BackupError::OtherRegistry(directory.to_owned()));
            }
        }
        let file = format!("registry/changes-{:06}", self.number);
        let path = self.place(&file)?;
        write_whole(&path, &changes).map_err(failed("write", &path))?;
        self.copied += changes.len() as u64;
        Ok(Some(Piece { file, length: changes.len() as u64, sha256 }))
    }

    /// Copies a part of a file that holds it for good.
    fn copy(
        &mut self,
        from: &Path,
        range: std::ops::Range<u64>,
        file: String,
    ) -> Result<Piece, BackupError> {
        let path = self.place(&file)?;
        let mut source = File::open(from).map_err(failed("open", from))?;
        source.seek(SeekFrom::Start(range.start)).map_err(failed("read", from))?;
        let length = range.end - range.start;
        let mut source = source.take(length);
        let unfinished = unfinished(&path);
        let mut target = create(&unfinished).map_err(failed("create", &unfinished))?;
        let mut hash = Context::new(&SHA256);
        let mut buffer = vec![0; 1 << 20];
        let (mut copied, mut unsynced) = (0, 0);
        loop {
            let read = source.read(&mut buffer).map_err(failed("read", from))?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            target.write_all(&buffer[..read]).map_err(failed("write", &unfinished))?;
            copied += read as u64;
            unsynced += read as u64;
            if unsynced >= SYNCED_AT_ONCE {
                target.sync_data().map_err(failed("sync", &unfinished))?;
                unsynced = 0;
            }
            self.pace.step();
        }
        if copied != length {
            return Err(failed("read", from)(io::ErrorKind::UnexpectedEof.into()));
        }
        target.sync_all().map_err(failed("sync", &unfinished))?;
        finish(&unfinished, &path).map_err(failed("name", &path))?;
        self.copied += length;
        Ok(Piece { file, length, sha256: hexadecimal(hash.finish().as_ref()) })
    }

    /// Where a file of the backup goes; its directory is there then.
    fn place(&self, file: &str) -> Result<PathBuf, BackupError> {
        let path = self.backup.join(file);
        make_directory(path.parent().unwrap_or(self.backup))?;
        Ok(path)
    }
}

impl Default for Segment {
    fn default() -> Self {
        Self { number: 1, pieces: Vec::new() }
    }
}

/// The tenants that are in PostgreSQL and have their keys here, by name.
pub(crate) fn in_postgres(data: &Path) -> Result<Vec<TenantText>, BackupError> {
    let names = crate::storage::in_postgres(data).map_err(failed("read", data))?;
    let named =
        |name: String| TenantText::new(&name).map_err(|_| BackupError::TenantName(data.join(name)));
    names.into_iter().map(named).collect()
}

/// The tenants whose logs are in a data directory, by name.
pub(crate) fn tenants(data: &Path) -> Result<Vec<TenantText>, BackupError> {
    let directory = data.join("tenants");
    let entries = match fs::read_dir(&directory) {
        // A gateway's own directory has a registry alone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let elsewhere = || in_postgres(data).is_ok_and(|tenants| !tenants.is_empty());
            return match data.join("registry/format").exists() || elsewhere() {
                true => Ok(Vec::new()),
                false => Err(BackupError::NoTenant(data.to_owned())),
            };
        }
        entries => entries.map_err(failed("read", &directory))?,
    };
    let mut tenants = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed("read", &directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let tenant = name.and_then(|name| TenantText::new(name).ok());
        tenants.push(tenant.ok_or(BackupError::TenantName(path))?);
    }
    let elsewhere = in_postgres(data)?;
    tenants.retain(|tenant| !elsewhere.contains(tenant));
    tenants.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    Ok(tenants)
}

fn read_manifest(path: &Path) -> Result<Manifest, BackupError> {
    let bytes = fs::read(path).map_err(failed("read", path))?;
    let unreadable = |reason: String| BackupError::Manifest { path: path.to_owned(), reason };
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if manifest.format != FORMAT {
        return Err(unreadable(format!("it is of format {}, not {FORMAT}", manifest.format)));
    }
    Ok(manifest)
}

/// The manifest of this number, or the newest.
fn find_manifest(backup: &Path, number: Option<u64>) -> Result<Manifest, BackupError> {
    let mut found = manifest::list(backup).map_err(failed("read", backup))?;
    let Some(number) = number else {
        let (_, path) = found.pop().ok_or_else(|| BackupError::NoBackup(backup.to_owned()))?;
        return read_manifest(&path);
    };
    match found.iter().find(|(known, _)| *known == number) {
        Some((_, path)) => read_manifest(path),
        None if found.is_empty() => Err(BackupError::NoBackup(backup.to_owned())),
        None => {
            let known: Vec<String> = found.iter().map(|(known, _)| known.to_string()).collect();
            let (backup, known) = (backup.to_owned(), known.join(", "));
            Err(BackupError::NoSuchNumber { backup, number, known })
        }
    }
}

/// Hands the bytes of a piece on, having compared all of them with what the manifest says.
fn read_piece(
    backup: &Path,
    piece: &Piece,
    mut take: impl FnMut(&[u8]) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let named = Path::new(&piece.file);
    let inside = named.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let path = backup.join(named);
    let plain = fs::symlink_metadata(&path).map_err(failed("open", &path))?.is_file();
    if !inside || !plain {
        return Err(BackupError::Elsewhere(piece.file.clone()));
    }
    let file = File::open(&path).map_err(failed("open", &path))?;
    // One more than there may be, to notice that there is more.
    let mut file = file.take(piece.length.saturating_add(1));
    let (mut hash, mut length) = (Context::new(&SHA256), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(failed("read", &path))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        length += read as u64;
        take(&buffer[..read])?;
    }
    let found = hexadecimal(hash.finish().as_ref());
    if (length, &found) == (piece.length, &piece.sha256) {
        return Ok(());
    }
    Err(BackupError::Piece {
        path,
        found: format!("{length} bytes of SHA-256 {found}"),
        expected: format!("{} of {}", piece.length, piece.sha256),
    })
}

fn digest(bytes: &[u8]) -> String {
    hexadecimal(ring::digest::digest(&SHA256, bytes).as_ref())
}
