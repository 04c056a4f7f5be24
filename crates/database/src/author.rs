//! Who made a resource (docs/adr/0028): 32 bytes behind each version's coded body, sealed with it,
//! and a bit of its coding that says that they are there. An update carries them on. Versions from
//! before that have neither, and are nobody's own.

use fhir_core::{ResourceId, ResourceType};
use store::{BodyCoding, ContentHash};

use crate::ReadError;

/// Who made a resource: an app, and the user at it where there is one. It tells neither.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Author([u8; Author::LENGTH]);

/// Who made the resource that a write replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// Nothing is there, or it was deleted: whoever writes makes it.
    Writer,
    /// It is on record.
    Author(Author),
    /// It is not on record: what is written stays nobody's own.
    Nobody,
}

/// The bit of a coding that says who wrote the body stands behind it.
const AUTHORED: u32 = 1 << 30;

impl Author {
    /// Bytes of it.
    const LENGTH: usize = 32;

    /// The app `client`, used by `user`.
    #[must_use]
    pub fn of(client: &str, user: Option<&str>) -> Self {
        let mut bytes = b"hearthgate author 1".to_vec();
        for text in [Some(client), user] {
            // What is absent differs from what is empty.
            let length = text.map_or(u64::MAX, |text| text.len() as u64);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(text.unwrap_or_default().as_bytes());
        }
        Self(ContentHash::of(&bytes).0)
    }

    /// As what a resource stands in the compartment of.
    #[must_use]
    pub fn as_compartment(&self) -> (ResourceType, ResourceId) {
        let digit = |of: u8| char::from_digit(of.into(), 16).expect("half a byte is a digit");
        let id: String =
            self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        let of = ResourceType::new("Author").expect("it has the form of a type's name");
        (of, ResourceId::new(&id).expect("64 hexadecimal digits have the form of an id"))
    }

    /// Puts it behind a coded body.
    pub(crate) fn behind(&self, coding: BodyCoding, coded: &[u8]) -> (BodyCoding, Vec<u8>) {
        (BodyCoding(coding.0 | AUTHORED), [coded, &self.0].concat())
    }
}

/// Coding and coded body, and who wrote it, where that stands behind it.
pub(crate) fn apart(
    coding: BodyCoding,
    stored: &[u8],
) -> Result<(BodyCoding, &[u8], Option<Author>), ReadError> {
    // What has other high bits is of a later Hearthgate.
    if !is_authored(coding) {
        return Ok((coding, stored, None));
    }
    let (coded, author) = stored.split_last_chunk().ok_or_else(|| ReadError::UnreadableBody {
        reason: "it has no room for who wrote it".to_owned(),
    })?;
    Ok((BodyCoding(coding.0 & !AUTHORED), coded, Some(Author(*author))))
}

impl std::fmt::Debug for Author {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Author")
    }
}

/// Whether coding says that who made it stands behind a body.
pub(crate) fn is_authored(coding: BodyCoding) -> bool {
    coding.0 >> AUTHORED.trailing_zeros() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wrote_a_body_stands_behind_it_and_comes_off_again() {
        let author = Author::of("app", Some("ada"));
        for coding in [BodyCoding::AS_IS, BodyCoding::ZSTD, BodyCoding(17)] {
            let (authored, bytes) = author.behind(coding, b"{}");
            assert_ne!(authored, coding);
            assert_eq!(apart(authored, &bytes).unwrap(), (coding, &b"{}"[..], Some(author)));
            assert_eq!(apart(coding, b"{}").unwrap(), (coding, &b"{}"[..], None));
            assert!(apart(authored, b"too short").is_err());
        }
    }

    #[test]
    fn each_app_and_user_is_an_author_of_its_own() {
        let all = [("a", None), ("a", Some("")), ("a", Some("b")), ("ab", None), ("", Some("ab"))];
        let authors = all.map(|(client, user)| Author::of(client, user).as_compartment());
        for (at, author) in authors.iter().enumerate() {
            assert!(!authors[..at].contains(author), "{at}");
        }
    }
}
