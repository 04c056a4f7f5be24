//! What is stored of a body: sealed with the key of whose it is, where the tenant has keys.
//!
//! The additional data is what a sealed body cannot be moved away from: tenant, commit, which of
//! the commit's versions, type and id. All of it is known before the position is.

use std::sync::Arc;

use bytes::Bytes;
use fhir_core::{ResourceId, ResourceType};
use store::keys::{KeyDestroyed, Keyring, UnsealError};
use store::{
    BLOB_FROM, BlobId, BlobReference, CommitId, ContentHash, OwnerKeyId, StoredBody, TenantText,
};

use crate::blob::{self, Unwritten};
use crate::body::{Body, Stored};
use crate::compartment::Compartments;
use crate::transaction::{Action, Change, Transaction};
use crate::{CommitError, ReadError, quarantine};

/// What the additional data begins with: what is sealed, and in which form.
const SEALED: &[u8] = b"hearthgate body 1";

/// Whether and how a tenant's bodies are sealed.
#[derive(Clone)]
pub struct Sealing {
    keys: Option<(TenantText, Arc<Keyring>)>,
}

impl Sealing {
    /// Bodies are stored as they are: for what is no patient's data. What is sealed cannot be
    /// read.
    #[must_use]
    pub fn none() -> Self {
        Self { keys: None }
    }

    /// Bodies are sealed with the keys of this tenant. What was stored before is read as it is.
    #[must_use]
    pub fn with(tenant: TenantText, keys: Arc<Keyring>) -> Self {
        Self { keys: Some((tenant, keys)) }
    }

    /// The keys, where there are any.
    #[must_use]
    pub fn keys(&self) -> Option<&Arc<Keyring>> {
        self.keys.as_ref().map(|(_, keys)| keys)
    }

    /// While it stays, what was opened may be kept and what was sealed may be committed.
    pub(crate) fn epoch(&self) -> u64 {
        self.keys().map_or(0, |keys| keys.epoch())
    }

    /// Seals and hashes every body of a transaction.
    ///
    /// # Errors
    /// [`CommitError::OwnerPurged`] when one is a patient's who was purged.
    pub(crate) fn seal(&self, transaction: &mut Transaction) -> Result<(), CommitError> {
        let epoch = self.epoch();
        let mut ordinal = 0;
        for change in &mut transaction.changes {
            let Action::Write { body, .. } = &mut change.action else { continue };
            if epoch != 0 {
                self.refuse_purged(&body.compartments)?;
            }
            let name = (&change.resource_type, &change.id);
            if quarantine::is_of(name.0) {
                self.seal_in_layers((transaction.id, ordinal), name, body)?;
            }
            let id = blob::new_id(transaction.id, ordinal);
            let is_blob = body.bytes.len() > BLOB_FROM;
            let sealed = self.sealed((transaction.id, ordinal), name, body, is_blob.then_some(id));
            let (owner, bytes) = sealed.map_err(|_| CommitError::OwnerPurged)?;
            if is_blob {
                let reference = BlobReference::of(id, &bytes);
                body.bytes = Bytes::copy_from_slice(&reference.to_bytes());
                body.blob = Some(Box::new(Unwritten { id, bytes }));
            } else {
                body.bytes = bytes;
            }
            let content_hash = ContentHash::of(&body.bytes);
            body.stored = Some(Stored { owner, content_hash, is_blob, epoch });
            ordinal += 1;
        }
        Ok(())
    }

    /// Puts a layer of the seal around a body for each patient but the first.
    fn seal_in_layers(
        &self,
        (commit, ordinal): (CommitId, u32),
        name: (&ResourceType, &ResourceId),
        body: &mut Body,
    ) -> Result<(), CommitError> {
        let Some((tenant, keys)) = &self.keys else { return Ok(()) };
        let place = place(tenant, commit, ordinal, name);
        let patients = &body.compartments.patients;
        let layered = quarantine::in_layers(keys, patients, &place, &body.bytes);
        body.bytes = layered.map_err(|_| CommitError::OwnerPurged)?;
        Ok(())
    }

    /// A body as it is stored in its place, as a blob where it has an id, and with whose key.
    fn sealed(
        &self,
        (commit, ordinal): (CommitId, u32),
        name: (&ResourceType, &ResourceId),
        body: &Body,
        blob: Option<BlobId>,
    ) -> Result<(OwnerKeyId, Bytes), KeyDestroyed> {
        let Some((tenant, keys)) = &self.keys else {
            return Ok((OwnerKeyId::NONE, body.bytes.clone()));
        };
        let patient = match quarantine::is_of(name.0) {
            true => body.compartments.patients.first(),
            false => body.compartments.owner(),
        };
        let owner = match (patient, blob) {
            (Some(patient), _) => keys.of_patient(patient),
            (None, None) => keys.of_tenant(),
            (None, Some(_)) => keys.of_tenant_for(blob::chunks_of(body.bytes.len())),
        };
        let place = place(tenant, commit, ordinal, name);
        let sealed = match blob {
            Some(id) => blob::sealed(keys, owner, &place, id, &body.bytes)?,
            None => Bytes::from(keys.seal(owner, &place, &body.bytes)?),
        };
        Ok((owner, sealed))
    }

    /// The keys, for what is sealed.
    pub(crate) fn with_keys(&self) -> Result<(&TenantText, &Keyring), ReadError> {
        match &self.keys {
            Some((tenant, keys)) => Ok((tenant, keys)),
            None => {
                let reason = "it is sealed, and there are no keys".to_owned();
                Err(ReadError::UnreadableBody { reason })
            }
        }
    }

    /// Refuses a change that was sealed before somebody was purged, if it is that patient's.
    ///
    /// # Errors
    /// [`CommitError::OwnerPurged`].
    pub(crate) fn refuse_purged_since(&self, change: &Change) -> Result<(), CommitError> {
        match &change.action {
            Action::Write { body, .. } if body.stored().epoch != self.epoch() => {
                self.refuse_purged(&body.compartments)
            }
            _ => Ok(()),
        }
    }

    fn refuse_purged(&self, of: &Compartments) -> Result<(), CommitError> {
        let Some(keys) = self.keys() else { return Ok(()) };
        let purged = |patient: &ResourceId| keys.is_closed(keys.of_patient(patient));
        if of.patients.iter().any(purged) { Err(CommitError::OwnerPurged) } else { Ok(()) }
    }

    /// The body of a version that stands in the log, before it was sealed.
    ///
    /// # Errors
    /// [`ReadError::Purged`] when its key was destroyed.
    pub(crate) fn open_named(
        &self,
        name: (&ResourceType, &ResourceId),
        stored: StoredBody,
    ) -> Result<Bytes, ReadError> {
        if stored.owner == OwnerKeyId::NONE {
            return Ok(stored.bytes);
        }
        let (tenant, keys) = self.with_keys()?;
        let place = place(tenant, stored.commit, stored.ordinal, name);
        match keys.unseal(stored.owner, &place, &stored.bytes) {
            Ok(body) if quarantine::is_of(name.0) => quarantine::out_of_layers(keys, &place, &body),
            Ok(body) => Ok(Bytes::from(body)),
            Err(UnsealError::KeyDestroyed) => Err(ReadError::Purged),
            Err(error) => Err(ReadError::UnreadableBody { reason: error.to_string() }),
        }
    }
}

/// Where a body is sealed: lengths stand before texts, so that no two places are written alike.
pub(crate) fn place(
    tenant: &TenantText,
    commit: CommitId,
    ordinal: u32,
    (resource_type, id): (&ResourceType, &ResourceId),
) -> Vec<u8> {
    let texts = [tenant.as_str(), resource_type.as_str(), id.as_str()];
    let length = texts.iter().map(|text| 1 + text.len()).sum::<usize>();
    let mut place = Vec::with_capacity(SEALED.len() + length + 20);
    place.extend_from_slice(SEALED);
    place.extend_from_slice(&commit.0.to_le_bytes());
    place.extend_from_slice(&ordinal.to_le_bytes());
    for text in texts {
        place.push(u8::try_from(text.len()).expect("tenants, types and ids have at most 64 bytes"));
        place.extend_from_slice(text.as_bytes());
    }
    place
}

impl std::fmt::Debug for Sealing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.keys.is_some() {
            "Sealing(with keys)"
        } else {
            "Sealing(none)"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use store::keys::{FirstKeys, MemoryKeyStore, TenantKey};

    /// Chance that counts.
    struct Counting(std::sync::atomic::AtomicU64);

    impl fhir_core::Ids for Counting {
        fn next(&self) -> u128 {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst).into()
        }

        fn fill(&self, bytes: &mut [u8]) {
            let number = (self.next() + 1).to_le_bytes();
            bytes.iter_mut().zip(number.iter().cycle()).for_each(|(byte, of)| *byte = *of);
        }
    }

    fn keyring(tenant: &TenantText) -> Arc<Keyring> {
        let key = TenantKey::parse(&"11".repeat(32)).unwrap();
        let ids = Arc::new(Counting(1.into()));
        let disk = Box::new(MemoryKeyStore::default());
        Arc::new(Keyring::open(disk, tenant, key, ids, FirstKeys::MayBeMade).unwrap())
    }

    proptest! {
        #[test]
        fn a_body_is_opened_in_its_tenant_commit_entry_type_and_id_alone(
            body in prop::collection::vec(any::<u8>(), 0..100),
            (commit, ordinal) in (any::<u128>(), 0..u32::MAX),
            id in "[a-z]{1,8}",
        ) {
            let [here, there] = ["here", "there"].map(|name| TenantText::new(name).unwrap());
            let keys = keyring(&here);
            let of: ResourceType = "Patient".parse().unwrap();
            let id: ResourceId = id.parse().unwrap();
            let owner = keys.of_patient(&id);
            let at = place(&here, CommitId(commit), ordinal, (&of, &id));
            let bytes = Bytes::from(keys.seal(owner, &at, &body).unwrap());
            let stored = StoredBody { owner, commit: CommitId(commit), ordinal, bytes };
            let sealing = Sealing::with(here, Arc::clone(&keys));
            let opened = sealing.open_named((&of, &id), stored.clone()).unwrap();
            prop_assert_eq!(&opened[..], &body[..]);
            let refused = |sealing: &Sealing, of: &str, id: &str, stored: StoredBody| {
                let (of, id) = (of.parse().unwrap(), id.parse().unwrap());
                let opened = sealing.open_named((&of, &id), stored);
                matches!(opened, Err(ReadError::UnreadableBody { .. }))
            };
            let elsewhere = Sealing::with(there, keys);
            prop_assert!(refused(&elsewhere, "Patient", id.as_str(), stored.clone()));
            prop_assert!(refused(&sealing, "Person", id.as_str(), stored.clone()));
            let longer = [id.as_str(), "x"].concat();
            prop_assert!(refused(&sealing, "Patient", &longer, stored.clone()));
            let other = StoredBody { commit: CommitId(commit ^ 1), ..stored.clone() };
            prop_assert!(refused(&sealing, "Patient", id.as_str(), other));
            let other = StoredBody { ordinal: ordinal + 1, ..stored.clone() };
            prop_assert!(refused(&sealing, "Patient", id.as_str(), other));
            let other = StoredBody { owner: OwnerKeyId(owner.0 ^ 2), ..stored };
            prop_assert!(refused(&sealing, "Patient", id.as_str(), other));
        }

        #[test]
        fn no_two_places_are_written_alike(
            a in ("[a-c]{1,3}", any::<u128>(), 0..3_u32, "[A-B][ab]{0,2}", "[a-b]{1,3}"),
            b in ("[a-c]{1,3}", any::<u128>(), 0..3_u32, "[A-B][ab]{0,2}", "[a-b]{1,3}"),
        ) {
            let written = |of: &(String, u128, u32, String, String)| {
                let name = (of.3.parse().unwrap(), of.4.parse().unwrap());
                let tenant = TenantText::new(&of.0).unwrap();
                place(&tenant, CommitId(of.1), of.2, (&name.0, &name.1))
            };
            prop_assert_eq!(written(&a) == written(&b), a == b);
            let same_commit = (b.0, a.1, b.2, b.3, b.4);
            prop_assert_eq!(written(&a) == written(&same_commit), a == same_commit);
        }
    }
}
