//! The keys that bodies are sealed with: how an owner's key is found, used and destroyed.
//!
//! An owner is a patient, or the tenant itself for what belongs to no one patient. There is no
//! list of keys. Every key is derived from one random secret by a tree of one-way steps ([`tree`]),
//! and the owner says which leaf: so two writers that meet a new patient at once have the same key
//! without asking each other, nothing is synced for a new patient, and no copy of the secret ever
//! lacks a key. To destroy one key is to replace the secrets on the way to its leaf by those
//! beside the way: all other keys can still be derived, and that one cannot, by anybody, from
//! what is left. docs/adr/0013 has the reasons.
//!
//! The tree and the purge ledger lie in a [`KeyStore`], the tree wrapped by the tenant's key.
//! AES-256-GCM seals (NIST SP 800-38D).
//!
//! Deliberately absent: which patient a resource belongs to, and what the additional data says
//! (the database knows both).

mod file;
mod key_store;
mod keyring;
mod ledger;
mod tenant_key;
pub mod tree;

pub use file::WrapError;
pub use key_store::{KeyFile, KeyStore, MemoryKeyStore};
pub use keyring::{FirstKeys, KeyDestroyed, Keyring, KeysError, SEAL_BYTES, UnsealError};
pub use ledger::{
    LedgerEntry, LedgerError, PurgeState, decode as decode_ledger, encode as encode_ledger,
};
pub use tenant_key::{InvalidTenantKey, TenantKey};
