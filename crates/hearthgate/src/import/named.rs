//! The name of a request (`Idempotency-Key`): the same for the same document at the same place of
//! the same file, so that an import that is done again, whole or after it broke off, does nothing
//! twice.

use std::path::{Path, absolute};

use ring::digest::{Context, SHA256};

use super::document::{Place, Shipment};

/// What the names of one import begin with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Names {
    /// What an import of the same files was named.
    Lasting,
    /// What none was.
    Anew([u8; 16]),
}

impl Names {
    /// The name of a shipment.
    pub(crate) fn of(self, shipment: &Shipment) -> String {
        let Place { file, line, entry } = &shipment.place;
        // The file under whatever name it is given; where the directory is gone, as it is given.
        let path = absolute(Path::new(&**file)).unwrap_or_else(|_| Path::new(&**file).to_owned());
        let entry = entry.map_or(0, |entry| entry as u64);
        let mut digest = Context::new(&SHA256);
        if let Self::Anew(run) = self {
            digest.update(&run);
        }
        let path = path.as_os_str().as_encoded_bytes();
        digest.update(&(path.len() as u64).to_be_bytes());
        for part in [path, &line.to_be_bytes(), &entry.to_be_bytes(), &shipment.body] {
            digest.update(part);
        }
        let digest = digest.finish();
        let hexadecimal = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
        format!("import-{}", hexadecimal.collect::<String>())
    }
}
