//! A tenant's keys in use.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fhir_core::{Ids, ResourceId};
use parking_lot::{Mutex, RwLock};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

use super::file::{self, Secrets, WrapError};
use super::ledger::{self, LedgerEntry, LedgerError, PurgeState};
use super::tree::{SECRET, Tree};
use super::{KeyFile, KeyStore, TenantKey};
use crate::{OwnerKeyId, TenantText};

/// What sealing adds to a body: a nonce before it, a tag behind it.
pub const SEAL_BYTES: usize = NONCE_LEN + MAX_TAG_LEN;

/// The most bodies of one key: random nonces of 96 bits stay apart (NIST SP 800-38D, 8.3).
const MOST_SEALED: u64 = 1 << 32;

/// Parts of the cache with a lock of their own.
const SHARDS: usize = 16;
/// Keys in one of them. Deriving one takes microseconds.
const KEYS_OF_SHARD: usize = 4096;
/// Nonces drawn at a time.
const DRAWN: usize = 256;

/// The bit of a key's number that says it is the tenant's own and no patient's.
const SHARED: u64 = 1;

/// A tenant's keys: seals and opens bodies, and destroys keys.
pub struct Keyring {
    tenant: TenantText,
    tenant_key: TenantKey,
    store: Box<dyn KeyStore>,
    ids: Arc<dyn Ids>,
    /// By which an owner becomes a leaf.
    index: hmac::Key,
    index_secret: [u8; SECRET],
    kept: RwLock<Kept>,
    cache: [Mutex<HashMap<u64, [u8; SECRET]>>; SHARDS],
    nonces: Mutex<Nonces>,
    shared: Mutex<Shared>,
    /// Grows with every key that is closed or destroyed; 0 when none ever was.
    epoch: AtomicU64,
}

struct Kept {
    tree: Tree,
    ledger: Vec<LedgerEntry>,
    /// Keys that seal nothing more.
    closed: HashSet<OwnerKeyId>,
}

/// Random nonces that nobody has used.
struct Nonces {
    bytes: [u8; NONCE_LEN * DRAWN],
    left: usize,
}

/// The key of what belongs to no one patient. Each process begins one of its own, so that what it
/// sealed is counted.
struct Shared {
    key: OwnerKeyId,
    sealed: u64,
}

/// Whether a tenant may be without keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstKeys {
    /// Nothing is sealed yet: where there are none they are made.
    MayBeMade,
    /// There is sealed data: without its keys it is lost, and new ones would hide that.
    MustBeThere,
}

/// Why a tenant's keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// There is sealed data and nothing that opens it.
    #[error(
        "the keys of tenant {tenant} are missing from {place}; restore them from where they were copied to (`hearthgate backup --keys-to`)"
    )]
    Missing {
        /// Whose.
        tenant: String,
        /// Where they should be.
        place: String,
    },
    /// The keys are there and the ledger of those destroyed is not.
    #[error(
        "the purge ledger is missing beside the keys in {place}; restore both from where they were copied to"
    )]
    LedgerMissing {
        /// Where it should be.
        place: String,
    },
    /// The file of the keys gives none.
    #[error("the file `tree` in {place} gives no keys")]
    Unusable {
        /// Where it is.
        place: String,
        /// Why.
        #[source]
        source: WrapError,
    },
    /// The purge ledger cannot be read.
    #[error("the file `purges` in {place} cannot be read")]
    Ledger {
        /// Where it is.
        place: String,
        /// Why.
        #[source]
        source: LedgerError,
    },
    /// The file system refuses.
    #[error("the keys in {place} cannot be read or written")]
    Io {
        /// Where they are.
        place: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// The key was destroyed, or is about to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key of the owner was destroyed")]
pub struct KeyDestroyed;

/// Why a sealed body was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// Its key was destroyed: nobody can open it any more.
    #[error("the key of the owner was destroyed")]
    KeyDestroyed,
    /// It is not what was sealed under that key with that additional data.
    #[error("the body is not the one that was sealed in this place")]
    Altered,
}

impl Keyring {
    /// Opens a tenant's keys, or makes them where they may be made.
    ///
    /// What the ledger calls done is destroyed if it is there again: the tree may be an old copy.
    ///
    /// # Errors
    /// [`KeysError`]; nothing is then made or changed.
    pub fn open(
        store: Box<dyn KeyStore>,
        tenant: &TenantText,
        tenant_key: TenantKey,
        ids: Arc<dyn Ids>,
        first: FirstKeys,
    ) -> Result<Self, KeysError> {
        let place = store.place();
        let failed = |source| KeysError::Io { place: place.clone(), source };
        let tree = store.read(KeyFile::Tree).map_err(failed)?;
        let ledger = store.read(KeyFile::Ledger).map_err(failed)?;
        let (secrets, ledger) = match (tree, ledger, first) {
            (Some(tree), Some(ledger), _) => {
                let secrets = file::unwrap(&tree, tenant, &tenant_key);
                let unusable = |source| KeysError::Unusable { place: place.clone(), source };
                let damaged = |source| KeysError::Ledger { place: place.clone(), source };
                (secrets.map_err(unusable)?, ledger::decode(&ledger).map_err(damaged)?)
            }
            (Some(_), None, _) => return Err(KeysError::LedgerMissing { place }),
            // A ledger without keys: the first start ended between the two.
            (None, _, FirstKeys::MayBeMade) => {
                let secrets = draw(ids.as_ref());
                store.replace(KeyFile::Ledger, &ledger::encode(&[])).map_err(failed)?;
                let file = file::wrap(&secrets, tenant, &tenant_key, nonce(ids.as_ref()));
                store.replace(KeyFile::Tree, &file).map_err(failed)?;
                (secrets, Vec::new())
            }
            (None, _, FirstKeys::MustBeThere) => {
                return Err(KeysError::Missing { tenant: tenant.to_string(), place });
            }
        };
        let index = hmac::Key::new(hmac::HMAC_SHA256, &secrets.index);
        let shared = Shared { key: shared_key(&index, ids.as_ref()), sealed: 0 };
        let begun = ledger.iter().filter(|entry| entry.state == PurgeState::Begun);
        let closed = begun.map(|entry| entry.key).collect();
        let epoch = AtomicU64::new(ledger.len() as u64);
        let keyring = Self {
            tenant: tenant.clone(),
            tenant_key,
            store,
            ids,
            index,
            index_secret: secrets.index,
            kept: RwLock::new(Kept { tree: secrets.tree, ledger, closed }),
            cache: std::array::from_fn(|_| Mutex::default()),
            nonces: Mutex::new(Nonces { bytes: [0; NONCE_LEN * DRAWN], left: 0 }),
            shared: Mutex::new(shared),
            epoch,
        };
        keyring.destroy_what_is_done()?;
        Ok(keyring)
    }

    /// The key of a patient's data: the same for ever.
    #[must_use]
    pub fn of_patient(&self, id: &ResourceId) -> OwnerKeyId {
        match leaf(&self.index, "patient/", id.as_str().as_bytes()) & !SHARED {
            // 0 says that a body is not sealed.
            0 => OwnerKeyId(2),
            leaf => OwnerKeyId(leaf),
        }
    }

    /// The key of what belongs to no one patient, for one more body.
    #[must_use]
    pub fn of_tenant(&self) -> OwnerKeyId {
        self.of_tenant_for(1)
    }

    /// The same for a body that is sealed in so many chunks.
    #[must_use]
    pub fn of_tenant_for(&self, chunks: u64) -> OwnerKeyId {
        let mut shared = self.shared.lock();
        if shared.sealed + chunks > MOST_SEALED {
            *shared = Shared { key: shared_key(&self.index, self.ids.as_ref()), sealed: 0 };
        }
        shared.sealed += chunks;
        shared.key
    }

    /// A name, never used before, for a key of data that is derived from what is stored and kept
    /// beside it.
    #[must_use]
    pub fn name_of_derived(&self) -> [u8; 16] {
        let mut name = [0; 16];
        self.ids.fill(&mut name);
        name
    }

    /// The key of derived data by its name. No name gives a key that a body is sealed with, as
    /// far as chance can tell: who chooses one cannot choose the key.
    #[must_use]
    pub fn of_derived(&self, name: &[u8; 16]) -> OwnerKeyId {
        OwnerKeyId(leaf(&self.index, "derived/", name) | SHARED)
    }

    /// Whether a key is one that [`Keyring::of_tenant`] gave, in this or another process.
    #[must_use]
    pub fn is_of_tenant(key: OwnerKeyId) -> bool {
        key.0 & SHARED == SHARED
    }

    /// Seals a body: a random nonce, the sealed bytes, the tag.
    ///
    /// # Errors
    /// [`KeyDestroyed`] when it was, or when a purge has begun.
    pub fn seal(
        &self,
        key: OwnerKeyId,
        additional: &[u8],
        body: &[u8],
    ) -> Result<Vec<u8>, KeyDestroyed> {
        if self.kept.read().closed.contains(&key) {
            return Err(KeyDestroyed);
        }
        let cipher = self.cipher(key).ok_or(KeyDestroyed)?;
        let nonce = self.nonces.lock().take(self.ids.as_ref());
        let mut sealed = Vec::with_capacity(SEAL_BYTES + body.len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(body);
        let tag = cipher.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(additional),
            &mut sealed[NONCE_LEN..],
        );
        sealed.extend_from_slice(tag.expect("a body is far below 64 GB").as_ref());
        Ok(sealed)
    }

    /// Opens what [`Keyring::seal`] sealed.
    ///
    /// # Errors
    /// [`UnsealError`].
    pub fn unseal(
        &self,
        key: OwnerKeyId,
        additional: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, UnsealError> {
        let cipher = self.cipher(key).ok_or(UnsealError::KeyDestroyed)?;
        let (nonce, body) = sealed.split_first_chunk().ok_or(UnsealError::Altered)?;
        let mut body = body.to_vec();
        let opened = cipher.open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(additional),
            &mut body,
        );
        let length = opened.map_err(|_| UnsealError::Altered)?.len();
        body.truncate(length);
        Ok(body)
    }

    /// Grows with every key that is closed or destroyed: while it stays, whatever was sealed may
    /// be committed, and whatever was opened may be kept. 0 when nobody was ever purged.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Whether nothing more may be sealed with this key.
    #[must_use]
    pub fn is_closed(&self, key: OwnerKeyId) -> bool {
        let kept = self.kept.read();
        kept.closed.contains(&key) || kept.tree.key(key.0).is_none()
    }

    /// Whether this key is destroyed: nothing that was sealed with it can be opened.
    #[must_use]
    pub fn is_destroyed(&self, key: OwnerKeyId) -> bool {
        self.kept.read().tree.key(key.0).is_none()
    }

    /// Seals nothing more with this key, until it is destroyed or [`Keyring::reopen`]ed.
    pub fn close(&self, key: OwnerKeyId) {
        self.kept.write().closed.insert(key);
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Seals with a key again that was closed for a purge that was refused.
    pub fn reopen(&self, key: OwnerKeyId) {
        self.kept.write().closed.remove(&key);
    }

    /// Every purge that was begun, in order.
    #[must_use]
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.kept.read().ledger.clone()
    }

    /// Writes down, durably, that a purge has begun: from now on it will be finished. One that was
    /// begun before for the same key stands as it was.
    ///
    /// # Errors
    /// [`KeysError::Io`] when it is not written down.
    pub fn begin_purge(&self, entry: LedgerEntry) -> Result<(), KeysError> {
        let key = entry.key;
        self.change_ledger(|ledger| {
            if !ledger.iter().any(|entry| entry.key == key) {
                ledger.push(LedgerEntry { state: PurgeState::Begun, ..entry });
            }
        })?;
        self.close(key);
        Ok(())
    }

    /// Destroys a key, durably, and says so in the ledger. Nothing that was sealed with it can be
    /// opened from now on.
    ///
    /// # Errors
    /// [`KeysError::Io`] when it is not certain: then it is tried again at the next open.
    pub fn destroy(&self, key: OwnerKeyId) -> Result<(), KeysError> {
        self.destroy_begun(key)?;
        self.conclude(key)
    }

    /// The same without a word in the ledger: what is still to be done before it may say that the
    /// purge is done, is finished by the next open where this process ends.
    ///
    /// # Errors
    /// As [`Keyring::destroy`].
    pub fn destroy_begun(&self, key: OwnerKeyId) -> Result<(), KeysError> {
        let mut kept = self.kept.write();
        let mut tree = kept.tree.clone();
        if tree.destroy(key.0) {
            self.write_tree(&tree)?;
            kept.tree = tree;
        }
        // Whoever derived it before has put it into the cache by now.
        self.shard(key).lock().remove(&key.0);
        drop(kept);
        self.epoch.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Says in the ledger, durably, that a purge is done.
    ///
    /// # Errors
    /// As [`Keyring::destroy`].
    pub fn conclude(&self, key: OwnerKeyId) -> Result<(), KeysError> {
        self.change_ledger(|ledger| {
            for entry in ledger.iter_mut().filter(|entry| entry.key == key) {
                entry.state = PurgeState::Done;
            }
        })
    }

    fn destroy_what_is_done(&self) -> Result<(), KeysError> {
        let mut kept = self.kept.write();
        let mut tree = kept.tree.clone();
        let done = kept.ledger.iter().filter(|entry| entry.state == PurgeState::Done);
        let again = done.filter(|entry| tree.destroy(entry.key.0)).count();
        if again > 0 {
            self.write_tree(&tree)?;
            kept.tree = tree;
        }
        Ok(())
    }

    fn write_tree(&self, tree: &Tree) -> Result<(), KeysError> {
        let secrets = Secrets { index: self.index_secret, tree: tree.clone() };
        let nonce = nonce(self.ids.as_ref());
        let file = file::wrap(&secrets, &self.tenant, &self.tenant_key, nonce);
        self.store.replace(KeyFile::Tree, &file).map_err(|source| self.failed(source))
    }

    fn change_ledger(&self, change: impl FnOnce(&mut Vec<LedgerEntry>)) -> Result<(), KeysError> {
        let mut kept = self.kept.write();
        let mut ledger = kept.ledger.clone();
        change(&mut ledger);
        let bytes = ledger::encode(&ledger);
        let written = self.store.replace(KeyFile::Ledger, &bytes);
        // A file that says it was not replaced may have been: then it says what it says, and a
        // purge in it has begun.
        let there = written.is_ok()
            || self.store.read(KeyFile::Ledger).is_ok_and(|there| there.as_ref() == Some(&bytes));
        if there {
            kept.ledger = ledger;
        }
        written.map_err(|source| self.failed(source))
    }

    fn cipher(&self, key: OwnerKeyId) -> Option<LessSafeKey> {
        let cached = self.shard(key).lock().get(&key.0).copied();
        let secret = match cached {
            Some(secret) => secret,
            None => {
                // The lock is held until the key is in the cache, so that destroying it takes it
                // out again.
                let kept = self.kept.read();
                let secret = kept.tree.key(key.0)?;
                let mut shard = self.shard(key).lock();
                if shard.len() >= KEYS_OF_SHARD {
                    shard.clear();
                }
                shard.insert(key.0, secret);
                secret
            }
        };
        let key = UnboundKey::new(&AES_256_GCM, &secret);
        Some(LessSafeKey::new(key.expect("AES-256 takes any 32 bytes")))
    }

    fn shard(&self, key: OwnerKeyId) -> &Mutex<HashMap<u64, [u8; SECRET]>> {
        &self.cache[(key.0 >> 8) as usize % SHARDS]
    }

    fn failed(&self, source: io::Error) -> KeysError {
        KeysError::Io { place: self.store.place(), source }
    }
}

impl Nonces {
    fn take(&mut self, ids: &dyn Ids) -> [u8; NONCE_LEN] {
        if self.left == 0 {
            ids.fill(&mut self.bytes);
            self.left = DRAWN;
        }
        self.left -= 1;
        let (nonces, _) = self.bytes.as_chunks();
        nonces[self.left]
    }
}

/// A number for an owner that tells nothing of it to whoever has not the secret.
fn leaf(index: &hmac::Key, kind: &str, name: &[u8]) -> u64 {
    let mut context = hmac::Context::with_key(index);
    context.update(kind.as_bytes());
    context.update(name);
    let tag = context.sign();
    let (first, _) = tag.as_ref().split_first_chunk().expect("a tag of SHA-256 has 32 bytes");
    u64::from_le_bytes(*first)
}

fn shared_key(index: &hmac::Key, ids: &dyn Ids) -> OwnerKeyId {
    let mut name = [0; 16];
    ids.fill(&mut name);
    OwnerKeyId(leaf(index, "tenant/", &name) | SHARED)
}

fn draw(ids: &dyn Ids) -> Secrets {
    let (mut index, mut root) = ([0; SECRET], [0; SECRET]);
    ids.fill(&mut index);
    ids.fill(&mut root);
    Secrets { index, tree: Tree::of(root) }
}

fn nonce(ids: &dyn Ids) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    ids.fill(&mut nonce);
    nonce
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keyring").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
