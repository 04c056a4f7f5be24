//! How the commit that answered a request is found again by the name its client gave that
//! request: it bears the name, as a resource bears an identifier.
//!
//! So whatever finds identifiers finds it, is rebuilt with them and is verified with them. The
//! type is none of FHIR's, and the bearer's id is the commit's position, its second and the
//! beginning of the request's digest: all that must be known before the commit itself is read.

use fhir_core::{Instant, ResourceId, ResourceType};

use crate::{Commit, Idempotency, IdentifierKey, T};

/// The type that commits bear the names of their requests under: no type of FHIR's.
const COMMIT: &str = "Commit";
/// How many bytes of the digest the bearer's id has.
const DIGEST: usize = 16;

/// A commit that answered a request of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    /// Its position.
    pub t: T,
    /// When it was made, in seconds since 1970.
    pub second: i64,
    digest: [u8; DIGEST],
}

impl Earlier {
    /// Reads the id of a bearer; `None` when it is none.
    #[must_use]
    pub fn read(bearer: &ResourceId) -> Option<Self> {
        let mut parts = bearer.as_str().split('.');
        let (t, second, digest) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || digest.len() != 2 * DIGEST {
            return None;
        }
        Some(Self {
            t: T::new(u64::from_str_radix(t, 16).ok()?),
            second: i64::from_str_radix(second, 16).ok()?,
            digest: u128::from_str_radix(digest, 16).ok()?.to_be_bytes(),
        })
    }

    /// Whether it answered this very request. (By 128 bits of SHA-256.)
    #[must_use]
    pub fn answered(&self, request: &Idempotency) -> bool {
        request.digest.starts_with(&self.digest)
    }
}

impl Idempotency {
    /// What a commit that answers the request is found by.
    #[must_use]
    pub fn name(&self) -> (ResourceType, IdentifierKey) {
        let of = ResourceType::new(COMMIT).expect("it is a name of a type");
        (of, IdentifierKey::new(Some(&self.client), &self.key))
    }

    /// The id that a commit at `t` and `instant` bears that under.
    #[must_use]
    pub fn bearer(&self, t: T, instant: Instant) -> ResourceId {
        let mut digest = [0; DIGEST];
        digest.copy_from_slice(&self.digest[..DIGEST]);
        let digest = u128::from_be_bytes(digest);
        let id = format!("{:x}.{:x}.{digest:032x}", t.get(), instant.as_seconds());
        ResourceId::new(&id).expect("it is short, of hexadecimal digits and dots")
    }
}

impl Commit {
    /// The name of the request that it answers, as type, key and bearer.
    #[must_use]
    pub fn answers(&self) -> Option<(ResourceType, IdentifierKey, ResourceId)> {
        let idempotency = self.idempotency.as_ref()?;
        let (of, key) = idempotency.name();
        Some((of, key, idempotency.bearer(self.t, self.instant)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bearer_tells_of_its_commit(
            (t, second) in (any::<u64>(), 0..253_402_300_800_i64),
            digest in any::<[u8; 32]>(),
        ) {
            let request = |digest| Idempotency { client: "c".into(), key: "k".into(), digest };
            let instant = Instant::from_micros(second * 1_000_000);
            let bearer = request(digest).bearer(T::new(t), instant);
            let earlier = Earlier::read(&bearer).unwrap();
            prop_assert_eq!((earlier.t, earlier.second), (T::new(t), second));
            prop_assert!(earlier.answered(&request(digest)));
            let mut other = digest;
            other[0] ^= 1;
            prop_assert!(!earlier.answered(&request(other)));
        }

        #[test]
        fn any_id_is_a_bearer_or_none(id in "[0-9a-f.+-]{1,64}") {
            if let Ok(id) = ResourceId::new(&id) {
                let _ = Earlier::read(&id);
            }
        }
    }
}
