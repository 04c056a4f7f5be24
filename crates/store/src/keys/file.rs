//! The tree as a file: framed, checksummed, wrapped by the tenant's key.
//!
//! Magic `HGATEKEY` (8 bytes), format 1 (4), the length of what follows up to the checksum (4),
//! the tenant (1 + n), a random nonce (12), the wrapped content with its tag, and a CRC-32C of all
//! before it (4). Numbers are little-endian. Wrapping is AES-256-GCM; the additional data is all
//! that stands before the nonce. The content is the secret by which owners become leaves (32), then
//! the tree. The checksum is judged first: bytes that hold it and do not open are of another
//! tenant's key.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::TenantKey;
use super::tree::{SECRET, Tree};
use crate::TenantText;

const MAGIC: &[u8; 8] = b"HGATEKEY";
const FORMAT: u32 = 1;
const HEADER: usize = 16;
const CHECKSUM: usize = 4;

/// What the file holds.
pub(super) struct Secrets {
    /// By which an owner becomes a leaf.
    pub(super) index: [u8; SECRET],
    pub(super) tree: Tree,
}

/// Why a file gives no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// It is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// It was written by a later release.
    #[error("it has format {0}, this release knows up to {FORMAT}; use the release that wrote it")]
    NewerFormat(u32),
    /// It belongs to another tenant.
    #[error("it belongs to tenant {0}")]
    OtherTenant(String),
    /// It is whole, and the tenant's key does not open it.
    #[error("it is whole, and the tenant's key given is not the one it was wrapped with")]
    WrongTenantKey,
}

pub(super) fn wrap(
    secrets: &Secrets,
    tenant: &TenantText,
    key: &TenantKey,
    nonce: [u8; NONCE_LEN],
) -> Vec<u8> {
    let mut content = secrets.index.to_vec();
    secrets.tree.encode(&mut content);
    let name = tenant.as_str();
    let length = 1 + name.len() + NONCE_LEN + content.len() + AES_256_GCM.tag_len();
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&FORMAT.to_le_bytes());
    let length = u32::try_from(length).expect("40 bytes for each of 240 nodes a destroyed key");
    file.extend_from_slice(&length.to_le_bytes());
    file.push(u8::try_from(name.len()).expect("a tenant's name has at most 64 bytes"));
    file.extend_from_slice(name.as_bytes());
    let tag = cipher(key).seal_in_place_separate_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(file.as_slice()),
        &mut content,
    );
    let tag = tag.expect("AES-256-GCM seals whatever fits memory");
    file.extend_from_slice(&nonce);
    file.extend_from_slice(&content);
    file.extend_from_slice(tag.as_ref());
    let checksum = crc32c::crc32c(&file);
    file.extend_from_slice(&checksum.to_le_bytes());
    file
}

pub(super) fn unwrap(
    file: &[u8],
    tenant: &TenantText,
    key: &TenantKey,
) -> Result<Secrets, WrapError> {
    let damaged = WrapError::Damaged;
    let header = file.get(..HEADER).ok_or(damaged("it is too short"))?;
    if !header.starts_with(MAGIC) {
        return Err(damaged("it is no file of keys"));
    }
    let number = |at: usize| {
        let bytes = header[at..at + 4].try_into().expect("four bytes of sixteen");
        u32::from_le_bytes(bytes)
    };
    if number(8) > FORMAT {
        return Err(WrapError::NewerFormat(number(8)));
    }
    if number(8) != FORMAT || number(12) as usize != file.len().saturating_sub(HEADER + CHECKSUM) {
        return Err(damaged("its length is another than it says"));
    }
    let (framed, checksum) = file.split_last_chunk().ok_or(damaged("it is too short"))?;
    if crc32c::crc32c(framed) != u32::from_le_bytes(*checksum) {
        return Err(damaged("its checksum does not hold"));
    }
    let short = damaged("it is too short");
    let (length, rest) = framed[HEADER..].split_first().ok_or(short.clone())?;
    let (name, rest) = rest.split_at_checked(usize::from(*length)).ok_or(short.clone())?;
    if name != tenant.as_str().as_bytes() {
        return Err(WrapError::OtherTenant(String::from_utf8_lossy(name).into_owned()));
    }
    let (nonce, wrapped) = rest.split_first_chunk().ok_or(short)?;
    let mut wrapped = wrapped.to_vec();
    let additional = &framed[..HEADER + 1 + name.len()];
    let opened = cipher(key).open_in_place(
        Nonce::assume_unique_for_key(*nonce),
        Aad::from(additional),
        &mut wrapped,
    );
    let content = opened.map_err(|_| WrapError::WrongTenantKey)?;
    let malformed = damaged("its content is none");
    let (index, tree) = content.split_first_chunk().ok_or(malformed.clone())?;
    Ok(Secrets { index: *index, tree: Tree::decode(tree).ok_or(malformed)? })
}

fn cipher(key: &TenantKey) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, key.bytes());
    LessSafeKey::new(key.expect("AES-256 takes any 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: &str) -> TenantKey {
        TenantKey::parse(&byte.repeat(32)).unwrap()
    }

    fn tenant(name: &str) -> TenantText {
        TenantText::new(name).unwrap()
    }

    fn wrapped() -> Vec<u8> {
        let secrets = Secrets { index: [1; 32], tree: Tree::of([2; 32]) };
        wrap(&secrets, &tenant("clinic"), &key("ab"), [3; 12])
    }

    fn error(file: &[u8], name: &str, with: &str) -> WrapError {
        unwrap(file, &tenant(name), &key(with)).err().unwrap()
    }

    #[test]
    fn what_was_wrapped_is_unwrapped_with_its_key_alone() {
        let file = wrapped();
        let secrets = unwrap(&file, &tenant("clinic"), &key("ab")).ok().unwrap();
        assert!(secrets.index == [1; 32] && secrets.tree == Tree::of([2; 32]));
        assert_eq!(error(&file, "clinic", "ac"), WrapError::WrongTenantKey);
        assert_eq!(error(&file, "another", "ab"), WrapError::OtherTenant("clinic".to_owned()));
        for secret in [[1; 32], [2; 32]] {
            assert!(!file.windows(32).any(|window| window == secret));
        }
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_damage_and_not_a_wrong_key() {
        let whole = wrapped();
        for at in 0..whole.len() {
            let mut file = whole.clone();
            file[at] ^= 0x10;
            let error = error(&file, "clinic", "ab");
            let named = matches!(error, WrapError::Damaged(_) | WrapError::NewerFormat(_));
            assert!(named, "byte {at}: {error}");
            assert!(matches!(self::error(&whole[..at], "clinic", "ab"), WrapError::Damaged(_)));
        }
    }
}
