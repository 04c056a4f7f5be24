//! A tenant's keys: made, kept over a restart, destroyed for good.

use fhir_core::Instant;
use proptest::prelude::*;

use std::sync::atomic::AtomicBool;

use super::super::MemoryKeyStore;
use super::*;
use crate::CommitId;

/// Chance that counts.
#[derive(Default)]
struct Counting(AtomicU64);

impl Ids for Counting {
    fn next(&self) -> u128 {
        self.0.fetch_add(1, Ordering::SeqCst).into()
    }

    fn fill(&self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(12) {
            let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
            let digest = ring::digest::digest(&ring::digest::SHA256, &number.to_le_bytes());
            piece.copy_from_slice(&digest.as_ref()[..piece.len()]);
        }
    }
}

/// Keys that can be opened again, and told to fail.
#[derive(Default)]
struct Disk {
    files: MemoryKeyStore,
    refuses: Mutex<Option<KeyFile>>,
    /// What is replaced is there, and said not to be.
    says_no: AtomicBool,
}

impl KeyStore for Disk {
    fn read(&self, file: KeyFile) -> io::Result<Option<Vec<u8>>> {
        self.files.read(file)
    }

    fn replace(&self, file: KeyFile, bytes: &[u8]) -> io::Result<()> {
        if *self.refuses.lock() == Some(file) {
            return Err(io::Error::other("refused"));
        }
        self.files.replace(file, bytes)?;
        match self.says_no.load(Ordering::SeqCst) {
            true => Err(io::Error::other("its folder was not synced")),
            false => Ok(()),
        }
    }

    fn place(&self) -> String {
        "keys".to_owned()
    }
}

fn open(disk: &Arc<Disk>, key: &str, first: FirstKeys) -> Result<Keyring, KeysError> {
    let tenant = TenantText::new("clinic").unwrap();
    let key = TenantKey::parse(&key.repeat(32)).unwrap();
    Keyring::open(Box::new(Arc::clone(disk)), &tenant, key, Arc::new(Counting::default()), first)
}

fn made(disk: &Arc<Disk>) -> Keyring {
    open(disk, "ab", FirstKeys::MayBeMade).unwrap()
}

fn again(disk: &Arc<Disk>) -> Keyring {
    open(disk, "ab", FirstKeys::MustBeThere).unwrap()
}

fn patient(id: &str) -> ResourceId {
    id.parse().unwrap()
}

fn purge(keyring: &Keyring, id: &str) -> LedgerEntry {
    LedgerEntry {
        state: PurgeState::Begun,
        key: keyring.of_patient(&patient(id)),
        commit: CommitId(1),
        instant: Instant::from_micros(0),
        patient: patient(id),
        reason: "asked for".into(),
        by: "uid 0".into(),
    }
}

#[test]
fn keys_are_the_same_after_every_open_and_different_for_every_owner() {
    let disk = Arc::default();
    let first = made(&disk);
    let (one, other) = (first.of_patient(&patient("1")), first.of_patient(&patient("2")));
    let sealed = first.seal(one, b"here", b"body").unwrap();
    assert_eq!(sealed.len(), 4 + SEAL_BYTES);
    assert!(one != other && !Keyring::is_of_tenant(one) && one != OwnerKeyId::NONE);
    assert!(Keyring::is_of_tenant(first.of_tenant()));
    let second = again(&disk);
    assert_eq!(second.of_patient(&patient("1")), one);
    assert_eq!(second.unseal(one, b"here", &sealed).unwrap(), b"body");
    assert_eq!(second.unseal(other, b"here", &sealed), Err(UnsealError::Altered));
    assert_eq!(second.unseal(one, b"there", &sealed), Err(UnsealError::Altered));
}

#[test]
fn what_is_sealed_twice_is_never_the_same() {
    let keyring = made(&Arc::default());
    let key = keyring.of_tenant();
    let sealed: HashSet<_> = (0..1000).map(|_| keyring.seal(key, b"", b"x").unwrap()).collect();
    let nonces: HashSet<_> = sealed.iter().map(|sealed| sealed[..NONCE_LEN].to_vec()).collect();
    assert_eq!((sealed.len(), nonces.len()), (1000, 1000));
}

#[test]
fn a_shared_key_is_followed_by_another_before_it_has_sealed_too_much() {
    let keyring = made(&Arc::default());
    let first = keyring.of_tenant();
    keyring.shared.lock().sealed = MOST_SEALED - 1;
    assert_eq!(keyring.of_tenant(), first);
    let second = keyring.of_tenant();
    assert!(second != first && Keyring::is_of_tenant(second));
    assert_eq!(keyring.shared.lock().sealed, 1);
    assert!(keyring.seal(second, b"", b"x").is_ok());
}

#[test]
fn a_destroyed_key_opens_nothing_here_or_after_an_open_and_no_other_key_changes() {
    let disk = Arc::default();
    let keyring = made(&disk);
    let (one, other) = (keyring.of_patient(&patient("1")), keyring.of_patient(&patient("2")));
    let sealed = [one, other].map(|key| keyring.seal(key, b"", b"body").unwrap());
    let epoch = keyring.epoch();
    keyring.begin_purge(purge(&keyring, "1")).unwrap();
    // Begun: nothing more is sealed, and what is there can still be looked through.
    assert_eq!(keyring.seal(one, b"", b"x"), Err(KeyDestroyed));
    assert!(keyring.is_closed(one) && !keyring.is_closed(other));
    assert!(keyring.unseal(one, b"", &sealed[0]).is_ok());
    keyring.destroy(one).unwrap();
    assert!(keyring.epoch() > epoch);
    for keyring in [keyring, again(&disk)] {
        assert_eq!(keyring.unseal(one, b"", &sealed[0]), Err(UnsealError::KeyDestroyed));
        assert_eq!(keyring.seal(one, b"", b"x"), Err(KeyDestroyed));
        assert!(keyring.is_closed(one));
        assert_eq!(keyring.unseal(other, b"", &sealed[1]).unwrap(), b"body");
        assert_eq!(keyring.ledger()[0].state, PurgeState::Done);
    }
}

#[test]
fn a_key_restored_from_an_old_copy_is_destroyed_again_by_the_ledger() {
    let disk: Arc<Disk> = Arc::default();
    let keyring = made(&disk);
    let key = keyring.of_patient(&patient("1"));
    let sealed = keyring.seal(key, b"", b"body").unwrap();
    let old = disk.read(KeyFile::Tree).unwrap().unwrap();
    keyring.begin_purge(purge(&keyring, "1")).unwrap();
    keyring.destroy(key).unwrap();
    disk.replace(KeyFile::Tree, &old).unwrap();
    let restored = again(&disk);
    assert_eq!(restored.unseal(key, b"", &sealed), Err(UnsealError::KeyDestroyed));
    assert!(disk.read(KeyFile::Tree).unwrap().unwrap() != old);
}

#[test]
fn a_purge_that_was_begun_is_still_begun_after_an_open() {
    let disk = Arc::default();
    let keyring = made(&disk);
    let key = keyring.of_patient(&patient("1"));
    keyring.begin_purge(purge(&keyring, "1")).unwrap();
    let keyring = again(&disk);
    assert_eq!(keyring.ledger(), [purge(&keyring, "1")]);
    assert!(keyring.is_closed(key));
}

#[test]
fn what_the_disk_refuses_is_an_error_and_the_key_is_not_called_destroyed() {
    let disk: Arc<Disk> = Arc::default();
    let keyring = made(&disk);
    let key = keyring.of_patient(&patient("1"));
    *disk.refuses.lock() = Some(KeyFile::Ledger);
    assert!(keyring.begin_purge(purge(&keyring, "1")).is_err());
    assert!(keyring.ledger().is_empty() && !keyring.is_closed(key));
    *disk.refuses.lock() = Some(KeyFile::Tree);
    keyring.begin_purge(purge(&keyring, "1")).unwrap();
    assert!(keyring.destroy(key).is_err());
    assert_eq!(keyring.ledger()[0].state, PurgeState::Begun);
    *disk.refuses.lock() = None;
    keyring.destroy(key).unwrap();
    assert_eq!(again(&disk).ledger()[0].state, PurgeState::Done);
}

#[test]
fn keys_are_made_only_where_nothing_is_sealed_yet() {
    let disk: Arc<Disk> = Arc::default();
    let missing = open(&disk, "ab", FirstKeys::MustBeThere);
    assert!(matches!(missing, Err(KeysError::Missing { .. })), "{missing:?}");
    assert_eq!(disk.read(KeyFile::Tree).unwrap(), None);
    let key = made(&disk).of_patient(&patient("1"));
    // Where they are they are not made anew.
    assert_eq!(made(&disk).of_patient(&patient("1")), key);
}

#[test]
fn a_wrong_tenant_key_and_damaged_files_are_said_and_nothing_is_made_anew() {
    let disk: Arc<Disk> = Arc::default();
    drop(made(&disk));
    let (tree, ledger) = (disk.read(KeyFile::Tree).unwrap(), disk.read(KeyFile::Ledger).unwrap());
    let wrong = open(&disk, "cd", FirstKeys::MayBeMade);
    let is_wrong =
        matches!(&wrong, Err(KeysError::Unusable { source: WrapError::WrongTenantKey, .. }));
    assert!(is_wrong, "{wrong:?}");
    disk.replace(KeyFile::Tree, b"no tree").unwrap();
    let damaged = open(&disk, "ab", FirstKeys::MayBeMade);
    let is_damaged =
        matches!(&damaged, Err(KeysError::Unusable { source: WrapError::Damaged(_), .. }));
    assert!(is_damaged, "{damaged:?}");
    disk.replace(KeyFile::Tree, &tree.unwrap()).unwrap();
    disk.replace(KeyFile::Ledger, b"no ledger").unwrap();
    let damaged = open(&disk, "ab", FirstKeys::MayBeMade);
    assert!(matches!(damaged, Err(KeysError::Ledger { .. })), "{damaged:?}");
    disk.replace(KeyFile::Ledger, &ledger.unwrap()).unwrap();
    again(&disk);
}

proptest! {
    #[test]
    fn a_body_is_opened_in_its_place_by_its_key_alone(
        body in prop::collection::vec(any::<u8>(), 0..200),
        place in prop::collection::vec(any::<u8>(), 0..60),
        flip in any::<prop::sample::Index>(),
        id in "[a-z]{1,5}",
    ) {
        let keyring = made(&Arc::default());
        let key = keyring.of_patient(&patient(&id));
        let sealed = keyring.seal(key, &place, &body).unwrap();
        prop_assert_eq!(keyring.unseal(key, &place, &sealed), Ok(body.clone()));
        let mut altered = sealed.clone();
        let bit = flip.index(sealed.len() * 8);
        altered[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(keyring.unseal(key, &place, &altered), Err(UnsealError::Altered));
        let mut elsewhere = place.clone();
        elsewhere.push(0);
        prop_assert_eq!(keyring.unseal(key, &elsewhere, &sealed), Err(UnsealError::Altered));
        let other = OwnerKeyId(key.0 ^ 1 << flip.index(64));
        prop_assert_eq!(keyring.unseal(other, &place, &sealed), Err(UnsealError::Altered));
        for length in 0..sealed.len() {
            let cut = keyring.unseal(key, &place, &sealed[..length]);
            prop_assert_eq!(cut, Err(UnsealError::Altered));
        }
    }
}

/// A purge that is in the ledger has begun, whatever the disk said of it: the next open finishes
/// it, and another purge does not take it out of the ledger.
#[test]
fn a_purge_that_may_have_been_written_down_has_begun() {
    let disk = Arc::new(Disk::default());
    let keyring = made(&disk);
    disk.says_no.store(true, Ordering::SeqCst);
    keyring.begin_purge(purge(&keyring, "1")).unwrap_err();
    assert_eq!(keyring.ledger().len(), 1);
    disk.says_no.store(false, Ordering::SeqCst);
    *disk.refuses.lock() = Some(KeyFile::Ledger);
    keyring.begin_purge(purge(&keyring, "2")).unwrap_err();
    assert_eq!(keyring.ledger().len(), 1);
    *disk.refuses.lock() = None;
    keyring.begin_purge(purge(&keyring, "3")).unwrap();
    drop(keyring);
    let patients = again(&disk).ledger().into_iter().map(|entry| entry.patient.to_string());
    assert_eq!(patients.collect::<Vec<_>>(), ["1", "3"]);
}
