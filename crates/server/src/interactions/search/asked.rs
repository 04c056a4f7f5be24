//! What a page of a search is asked with: the first by the request, each further one by what its
//! link holds.

use database::T;
use fhir_core::Instant;
use fhir_search::{Query, asks_terminology};

use crate::error::ServerError;
use crate::negotiation::Handling;

/// A page of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// The query as the first page was asked with: URL and form.
    pub(super) query: String,
    pub(super) handling: Handling,
    /// When the first page was asked for: what is about now means then.
    pub(super) now: Instant,
    /// The position that all pages show; none is known of the first.
    pub(super) at: Option<T>,
    /// Where a search that asks a terminology found that: the position of its last change. None is
    /// known of the first page, and none of what asks nothing of it.
    pub(super) terminology: Option<T>,
    /// Where the page before ended.
    pub(super) after: Option<Vec<u8>>,
}

/// The one form that is written and read.
const FORM: u8 = 2;

impl Page {
    pub(super) fn first(query: &str, handling: Handling, now: Instant) -> Self {
        Self { query: query.to_owned(), handling, now, at: None, terminology: None, after: None }
    }

    /// The page after this one.
    pub(super) fn next(&self, at: T, after: Vec<u8>) -> Self {
        Self { at: Some(at), after: Some(after), ..self.clone() }
    }

    /// Notes of a first page what the terminology was that it asks, and sees of a later one that it
    /// is the same: else it would have other matches than the page before leads to expect.
    ///
    /// # Errors
    /// [`ServerError::TerminologyChanged`].
    pub(super) fn check_terminology(&mut self, query: &Query, now: T) -> Result<(), ServerError> {
        match (self.at, self.terminology) {
            (None, _) => self.terminology = asks_terminology(query).then_some(now),
            (Some(_), Some(then)) if then != now => return Err(ServerError::TerminologyChanged),
            (Some(_), _) => {}
        }
        Ok(())
    }

    /// What a link holds: of a page that is not the first.
    pub(super) fn encode(&self) -> Vec<u8> {
        let after = self.after.as_deref().unwrap_or_default();
        let mut out = vec![FORM, u8::from(self.handling == Handling::Strict)];
        out.extend_from_slice(&self.now.as_micros().to_be_bytes());
        out.extend_from_slice(&self.at.map_or(0, T::get).to_be_bytes());
        let terminology = self.terminology.map_or(u64::MAX, T::get);
        out.extend_from_slice(&terminology.to_be_bytes());
        out.extend_from_slice(&u32::try_from(after.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(after);
        out.extend_from_slice(self.query.as_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let ([form, strict], rest) = bytes.split_first_chunk()?;
        let (now, rest) = rest.split_first_chunk()?;
        let (at, rest) = rest.split_first_chunk()?;
        let (terminology, rest) = rest.split_first_chunk()?;
        let terminology = u64::from_be_bytes(*terminology);
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (after, query) = rest.split_at_checked(length)?;
        (*form == FORM).then_some(())?;
        Some(Self {
            query: String::from_utf8(query.to_vec()).ok()?,
            handling: if *strict == 1 { Handling::Strict } else { Handling::Lenient },
            now: Instant::from_micros(i64::from_be_bytes(*now)),
            at: Some(T::new(u64::from_be_bytes(*at))),
            terminology: (terminology != u64::MAX).then_some(T::new(terminology)),
            after: Some(after.to_vec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Page;
    use crate::negotiation::Handling;
    use database::T;
    use fhir_core::Instant;

    #[test]
    fn a_page_is_read_as_it_was_written() {
        for handling in [Handling::Lenient, Handling::Strict] {
            let mut first = Page::first("name=ä&_count=2", handling, Instant::from_micros(-7));
            first.terminology = (handling == Handling::Strict).then_some(T::new(4));
            let next = first.next(T::new(9), vec![0, 1, 255]);
            let bytes = next.encode();
            assert_eq!(Page::decode(&bytes).as_ref(), Some(&next));
            for length in 0..bytes.len() - next.query.len() {
                assert_eq!(Page::decode(&bytes[..length]), None, "{length}");
            }
        }
    }
}
