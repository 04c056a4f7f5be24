//! Where a tenant's keys are kept: a few small files, each replaced whole.

use std::collections::BTreeMap;
use std::io;

use parking_lot::Mutex;

/// A file of a tenant's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyFile {
    /// The tree of secrets, wrapped by the tenant's key.
    Tree,
    /// Who was purged, when and why.
    Ledger,
    /// Which copies of the tree were made.
    Copies,
}

impl KeyFile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tree, Self::Ledger, Self::Copies];

    /// The name of the file, where it is one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Ledger => "purges",
            Self::Copies => "copies",
        }
    }
}

/// Keeps a tenant's key files.
pub trait KeyStore: Send + Sync + 'static {
    /// A file's bytes; `None` when there is no such file.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, file: KeyFile) -> io::Result<Option<Vec<u8>>>;

    /// Makes these the file's bytes: durably when this returns, and after a crash these or those
    /// before. Of those before nothing is kept, as far as the medium forgets what is overwritten.
    ///
    /// # Errors
    /// When they cannot be written; the file is then as it was.
    fn replace(&self, file: KeyFile, bytes: &[u8]) -> io::Result<()>;

    /// What to call it in a message.
    fn place(&self) -> String;
}

/// Key files in memory, for the reference backend and for tests.
#[derive(Debug, Default)]
pub struct MemoryKeyStore {
    files: Mutex<BTreeMap<KeyFile, Vec<u8>>>,
}

impl KeyStore for MemoryKeyStore {
    fn read(&self, file: KeyFile) -> io::Result<Option<Vec<u8>>> {
        Ok(self.files.lock().get(&file).cloned())
    }

    fn replace(&self, file: KeyFile, bytes: &[u8]) -> io::Result<()> {
        self.files.lock().insert(file, bytes.to_vec());
        Ok(())
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

impl<K: KeyStore> KeyStore for std::sync::Arc<K> {
    fn read(&self, file: KeyFile) -> io::Result<Option<Vec<u8>>> {
        (**self).read(file)
    }

    fn replace(&self, file: KeyFile, bytes: &[u8]) -> io::Result<()> {
        (**self).replace(file, bytes)
    }

    fn place(&self) -> String {
        (**self).place()
    }
}
