//! Copies of a tenant's keys: made by `backup --keys-to`, listed beside the keys, and told of
//! every purge, so that a key that was destroyed here is destroyed there.
//!
//! A copy is the wrapped tree and the purge ledger, without the tenant's key. It is listed before
//! it is made, and made again until the keys stayed as they were meanwhile: a purge at the same
//! time either comes before it, or finds it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use contract::{Ids, Instant};
use store::TenantText;
use store::keys::{
    KeyFile, KeyStore as _, LedgerEntry, LedgerError, PurgeState, decode_ledger, encode_ledger,
};
use store_sled::KeyFolder;

use crate::doors::{NoRandomness, SystemIds};

/// The file that says whose keys these are: a number drawn once, in every copy.
const NUMBER: &str = "number";

/// A copy that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// When it was last made.
    pub made: String,
    /// The directory that `--keys-to` named.
    pub place: PathBuf,
}

/// Why keys were not copied, or not restored.
#[derive(Debug, thiserror::Error)]
pub enum KeyCopyError {
    /// There are no keys.
    #[error("{} has no keys; name the directory that `hearthgate backup --keys-to` was given", .0.display())]
    NoKeys(PathBuf),
    /// Other keys are there.
    #[error("{} holds the keys of other data; name another directory", .0.display())]
    OtherKeys(PathBuf),
    /// A purge is known there and not here.
    #[error(
        "{} says that Patient/{patient} was purged and the data directory does not; restore with those keys, or name another directory",
        place.display()
    )]
    UnknownPurge {
        /// Where.
        place: PathBuf,
        /// Whose.
        patient: String,
    },
    /// A ledger is damaged.
    #[error("the purge ledger in {} cannot be read", place.display())]
    Ledger {
        /// Where.
        place: PathBuf,
        /// Why.
        #[source]
        source: LedgerError,
    },
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The file system refused.
    #[error("cannot {doing} the keys in {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> KeyCopyError + use<> {
    let path = path.to_owned();
    move |source| KeyCopyError::Io { doing, path: path.clone(), source }
}

/// A folder with key files: a tenant's own, or a copy.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
    files: KeyFolder,
}

/// What a copy is made of.
#[derive(PartialEq, Eq)]
struct Content {
    tree: Vec<u8>,
    ledger: Vec<u8>,
}

impl Folder {
    /// The keys in a tenant's directory.
    pub(crate) fn of_tenant(directory: &Path) -> Self {
        Self { path: directory.join("keys"), files: KeyFolder::of_tenant(directory) }
    }

    /// The keys of a tenant in a directory of copies.
    pub(crate) fn copied(place: &Path, tenant: &TenantText) -> Self {
        let path = place.join(tenant.as_str());
        Self { files: KeyFolder::at(&path), path }
    }

    pub(crate) fn has_keys(&self) -> bool {
        self.files.has_keys()
    }

    /// The copies that were made, in the order they were last made.
    pub(crate) fn copies(&self) -> Result<Vec<Copied>, KeyCopyError> {
        let bytes = self.files.read(KeyFile::Copies).map_err(failed("read", &self.path))?;
        let bytes = bytes.unwrap_or_default();
        let copied = |line: &str| {
            let (made, place) = line.split_once('\t')?;
            Some(Copied { made: made.to_owned(), place: PathBuf::from(place) })
        };
        Ok(String::from_utf8_lossy(&bytes).lines().filter_map(copied).collect())
    }

    /// Every purge that is known here.
    pub(crate) fn ledger(&self) -> Result<Vec<LedgerEntry>, KeyCopyError> {
        let bytes = self.files.read(KeyFile::Ledger).map_err(failed("read", &self.path))?;
        let Some(bytes) = bytes else { return Ok(Vec::new()) };
        let damaged = |source| KeyCopyError::Ledger { place: self.path.clone(), source };
        decode_ledger(&bytes).map_err(damaged)
    }

    fn content(&self) -> Result<Content, KeyCopyError> {
        // The tree first: a purge puts itself into the ledger before it changes the tree.
        let read = |file| self.files.read(file).map_err(failed("read", &self.path));
        let absent = || KeyCopyError::NoKeys(self.path.clone());
        let tree = read(KeyFile::Tree)?.ok_or_else(absent)?;
        let ledger = read(KeyFile::Ledger)?.ok_or_else(absent)?;
        Ok(Content { tree, ledger })
    }

    /// Refuses to be written over by keys that do not know of a purge that is known here: it
    /// would be undone.
    fn knows_no_more_than(&self, ledger: &[LedgerEntry]) -> Result<(), KeyCopyError> {
        let known = |there: &LedgerEntry| ledger.iter().any(|entry| entry.key == there.key);
        match self.ledger()?.iter().find(|there| !known(there)) {
            None => Ok(()),
            Some(unknown) => Err(KeyCopyError::UnknownPurge {
                place: self.path.clone(),
                patient: unknown.patient.to_string(),
            }),
        }
    }

    fn put(&self, content: &Content) -> Result<(), KeyCopyError> {
        let put = |file, bytes| self.files.replace(file, bytes);
        put(KeyFile::Ledger, &content.ledger)
            .and_then(|()| put(KeyFile::Tree, &content.tree))
            .map_err(failed("write", &self.path))
    }

    fn number(&self) -> Option<String> {
        fs::read_to_string(self.path.join(NUMBER)).ok()
    }

    /// Says whose keys these are; drawn where it was never said.
    fn keep_number(&self, number: Option<String>) -> Result<String, KeyCopyError> {
        if let Some(number) = self.number() {
            return Ok(number);
        }
        let number = match number {
            Some(number) => number,
            None => format!("{:032x}\n", SystemIds::open()?.next()),
        };
        let path = self.path.join(NUMBER);
        let written = fs::write(&path, &number).and_then(|()| File::open(&path)?.sync_all());
        written.map_err(failed("write", &self.path))?;
        Ok(number)
    }

    /// Whoever copies waits for others who do, until this is dropped: each reads the list of
    /// copies and writes it anew, and writes to the same copies.
    fn turn(&self) -> Result<File, KeyCopyError> {
        let folder = File::open(&self.path).and_then(|folder| {
            folder.lock()?;
            Ok(folder)
        });
        folder.map_err(failed("lock", &self.path))
    }

    fn note(&self, made: Instant, place: &Path) -> Result<(), KeyCopyError> {
        let mut copies = self.copies()?;
        copies.retain(|copy| copy.place != place);
        copies.push(Copied { made: made.to_string(), place: place.to_owned() });
        self.list(copies)
    }

    fn list(&self, copies: Vec<Copied>) -> Result<(), KeyCopyError> {
        let line = |copy: &Copied| format!("{}\t{}\n", copy.made, copy.place.display());
        let text: String = copies.iter().map(line).collect();
        self.files.replace(KeyFile::Copies, text.as_bytes()).map_err(failed("write", &self.path))
    }
}

/// Copies a tenant's keys to a directory (absolute, there already), and lists the copy beside
/// the keys.
pub(crate) fn copy(
    from: &Folder,
    place: &Path,
    tenant: &TenantText,
    made: Instant,
) -> Result<(), KeyCopyError> {
    let to = Folder::copied(place, tenant);
    let _turn = from.turn()?;
    let mut content = from.content()?;
    let number = from.keep_number(None)?;
    if to.has_keys() && to.number().is_none_or(|there| there != number) {
        return Err(KeyCopyError::OtherKeys(to.path));
    }
    to.knows_no_more_than(&from.ledger()?)?;
    from.note(made, place)?;
    let folder = DirBuilder::new().recursive(true).mode(0o700).create(&to.path);
    folder.map_err(failed("create", &to.path))?;
    to.keep_number(Some(number))?;
    loop {
        to.put(&content)?;
        let now = from.content()?;
        if now == content {
            return Ok(());
        }
        content = now;
    }
}

/// What became of telling the copies of a purge.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// These hold the destroyed keys no more.
    pub(crate) told: Vec<Copied>,
    /// These may hold them still, and why they could not be told.
    pub(crate) not_told: Vec<(Copied, KeyCopyError)>,
}

/// Replaces every copy that is within reach by the keys as they are now.
pub(crate) fn tell(from: &Folder, tenant: &TenantText) -> Result<Told, KeyCopyError> {
    let _turn = from.turn()?;
    let (content, known) = (from.content()?, from.ledger()?);
    let number = from.number();
    let mut result = Told::default();
    for copy in from.copies()? {
        let to = Folder::copied(&copy.place, tenant);
        let told = match to.content() {
            Ok(_) if to.number() != number => Err(KeyCopyError::OtherKeys(to.path.clone())),
            Ok(there) if there == content => Ok(()),
            Ok(_) => to.knows_no_more_than(&known).and_then(|()| to.put(&content)),
            Err(error) => Err(error),
        };
        match told {
            Ok(()) => result.told.push(copy),
            Err(error) => result.not_told.push((copy, error)),
        }
    }
    Ok(result)
}

/// Puts the keys of a copy into a restored tenant's directory, with every purge that any of
/// `purges` knows. Returns how many purges there are; the first open of the keys destroys what
/// they name. The copy, and those that any of `purges` knows, are listed beside the restored keys:
/// they are to be told of what is purged from now on.
pub(crate) fn restore(
    (place, from): (&Path, &Folder),
    purges: &[Folder],
    directory: &Path,
    made: Instant,
) -> Result<usize, KeyCopyError> {
    let into = Folder::of_tenant(directory);
    let mut content = from.content()?;
    let mut ledger = from.ledger()?;
    for folder in purges {
        if !folder.has_keys() {
            return Err(KeyCopyError::NoKeys(folder.path.clone()));
        }
        if folder.number() != from.number() {
            return Err(KeyCopyError::OtherKeys(folder.path.clone()));
        }
        for entry in folder.ledger()? {
            match ledger.iter_mut().find(|known| known.key == entry.key) {
                Some(known) if entry.state == PurgeState::Done => *known = entry,
                Some(_) => {}
                None => ledger.push(entry),
            }
        }
    }
    content.ledger = encode_ledger(&ledger);
    into.put(&content)?;
    if let Some(number) = from.number() {
        into.keep_number(Some(number))?;
    }
    let mut copies = Vec::new();
    for folder in purges {
        copies.extend(folder.copies()?);
    }
    into.list(copies)?;
    let whole = fs::canonicalize(place).map_err(failed("find", place))?;
    into.note(made, &whole)?;
    Ok(ledger.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use store::OwnerKeyId;
    use store::keys::{FirstKeys, Keyring, TenantKey};

    use crate::failure::one_line;

    struct Clinic(tempfile::TempDir);

    impl Clinic {
        fn new() -> Self {
            let clinic = Self(tempfile::tempdir().unwrap());
            drop(clinic.keyring());
            clinic
        }

        fn directory(&self) -> PathBuf {
            self.0.path().join("tenant")
        }

        fn keys(&self) -> Folder {
            Folder::of_tenant(&self.directory())
        }

        fn keyring(&self) -> Keyring {
            open(&self.directory())
        }

        fn purge(&self, patient: &str) -> OwnerKeyId {
            let keyring = self.keyring();
            let key = keyring.of_patient(&patient.parse().unwrap());
            keyring.begin_purge(entry(patient, key)).unwrap();
            keyring.destroy(key).unwrap();
            key
        }
    }

    fn open(directory: &Path) -> Keyring {
        let files = Box::new(KeyFolder::of_tenant(directory));
        let key = TenantKey::parse(&"ab".repeat(32)).unwrap();
        let ids = Arc::new(SystemIds::open().unwrap());
        Keyring::open(files, &tenant(), key, ids, FirstKeys::MayBeMade).unwrap()
    }

    fn entry(patient: &str, key: OwnerKeyId) -> LedgerEntry {
        LedgerEntry {
            state: PurgeState::Begun,
            key,
            commit: store::CommitId(1),
            instant: Instant::from_micros(1),
            patient: patient.parse().unwrap(),
            reason: "asked for".into(),
            by: "uid 1".into(),
        }
    }

    fn tenant() -> TenantText {
        TenantText::new("default").unwrap()
    }

    fn copy_to(clinic: &Clinic, place: &Path) -> Result<(), KeyCopyError> {
        copy(&clinic.keys(), place, &tenant(), Instant::from_micros(7))
    }

    fn restore_from(place: &Path, purges: &[Folder], directory: &Path) -> usize {
        let from = Folder::copied(place, &tenant());
        restore((place, &from), purges, directory, Instant::from_micros(8)).unwrap()
    }

    #[test]
    fn a_copy_within_reach_is_told_of_a_purge_and_one_that_is_not_is_named() {
        let clinic = Clinic::new();
        let places = ["here", "away"].map(|name| clinic.0.path().join(name));
        for place in &places {
            copy_to(&clinic, place).unwrap();
            copy_to(&clinic, place).unwrap();
        }
        let key = clinic.purge("1");
        fs::rename(&places[1], clinic.0.path().join("taken away")).unwrap();
        let told = tell(&clinic.keys(), &tenant()).unwrap();
        let named = |copies: Vec<&Copied>| {
            copies.into_iter().map(|copy| copy.place.clone()).collect::<Vec<_>>()
        };
        assert_eq!(named(told.told.iter().collect()), places[..1]);
        assert_eq!(named(told.not_told.iter().map(|(copy, _)| copy).collect()), places[1..]);
        let restored = clinic.0.path().join("restored");
        restore_from(&places[0], &[], &restored);
        assert!(open(&restored).is_closed(key));
    }

    #[test]
    fn a_copy_of_before_a_purge_is_restored_with_the_purge() {
        let clinic = Clinic::new();
        let place = clinic.0.path().join("away");
        copy_to(&clinic, &place).unwrap();
        let key = clinic.purge("1");
        let elsewhere = clinic.0.path().join("elsewhere");
        copy_to(&clinic, &elsewhere).unwrap();
        let restored = |name: &str, purges: &[Folder]| {
            let directory = clinic.0.path().join(name);
            let known = restore_from(&place, purges, &directory);
            (known, open(&directory).is_closed(key))
        };
        assert_eq!(restored("without", &[]), (0, false));
        // A place that is not there, or is not within reach, knows of no purge.
        let (from, nowhere) = (Folder::copied(&place, &tenant()), clinic.0.path().join("nowhere"));
        let directory = clinic.0.path().join("refused");
        let purges = [Folder::copied(&nowhere, &tenant())];
        let refused = restore((&place, &from), &purges, &directory, Instant::from_micros(8));
        assert!(matches!(refused, Err(KeyCopyError::NoKeys(_))), "{refused:?}");
        assert!(!Folder::of_tenant(&directory).has_keys());
        assert_eq!(restored("with", &[clinic.keys()]), (1, true));
        // What is purged there is told to every copy that is known.
        let known = Folder::of_tenant(&clinic.0.path().join("with")).copies().unwrap();
        let known: Vec<_> = known.into_iter().map(|copy| copy.place).collect();
        assert_eq!(known, [elsewhere, place]);
    }

    #[test]
    fn keys_of_other_data_and_purges_that_are_not_known_are_not_written_over() {
        let (clinic, other) = (Clinic::new(), Clinic::new());
        let place = clinic.0.path().join("copies");
        copy_to(&clinic, &place).unwrap();
        let before = fs::read(place.join("default/tree")).unwrap();
        let line = one_line(&copy_to(&other, &place).unwrap_err());
        assert!(line.contains("other data"), "{line}");
        assert_eq!(fs::read(place.join("default/tree")).unwrap(), before);
        // What the copy was restored from before the purge knows nothing of it.
        let restored = clinic.0.path().join("restored");
        restore_from(&place, &[], &restored);
        clinic.purge("1");
        copy_to(&clinic, &place).unwrap();
        let again = copy(&Folder::of_tenant(&restored), &place, &tenant(), Instant::from_micros(9));
        let line = one_line(&again.unwrap_err());
        assert!(line.contains("Patient/1 was purged"), "{line}");
        // Nor does a purge of its own undo that one in the copy that both know.
        let keyring = open(&restored);
        let key = keyring.of_patient(&"2".parse().unwrap());
        keyring.begin_purge(entry("2", key)).unwrap();
        keyring.destroy(key).unwrap();
        let told = tell(&Folder::of_tenant(&restored), &tenant()).unwrap();
        assert!(told.told.is_empty(), "{told:?}");
        assert!(matches!(told.not_told[0].1, KeyCopyError::UnknownPurge { .. }), "{told:?}");
        let kept = Folder::copied(&place, &tenant()).ledger().unwrap();
        assert_eq!(kept.iter().map(|entry| entry.patient.as_str()).collect::<Vec<_>>(), ["1"]);
    }
}
