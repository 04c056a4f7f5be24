//! How much memory the index takes, and that it is said when that is more than was meant. Nothing
//! is refused for it: what is not indexed would not be found.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use search_index::Index;

/// After so many documents more, or less, the bytes are counted again.
const DOCUMENTS_BETWEEN: u64 = 4096;

/// What an index may take.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) bytes: usize,
    /// How many documents there were when it was looked at.
    seen: AtomicU64,
    is_passed: AtomicBool,
}

impl Budget {
    pub(super) fn of(bytes: usize) -> Self {
        Self { bytes, seen: AtomicU64::new(0), is_passed: AtomicBool::new(false) }
    }

    /// Whether the index took more when it was last looked at.
    pub(super) fn is_passed(&self) -> bool {
        self.is_passed.load(Ordering::Acquire)
    }

    /// Says when an index begins to take more, or ends to.
    pub(super) fn look(&self, index: &Index) {
        let documents = index.documents();
        if documents.abs_diff(self.seen.load(Ordering::Acquire)) < DOCUMENTS_BETWEEN {
            return;
        }
        self.seen.store(documents, Ordering::Release);
        let (bytes, budget) = (index.size().bytes, self.bytes);
        let is_passed = bytes > budget;
        match (self.is_passed.swap(is_passed, Ordering::AcqRel), is_passed) {
            (false, true) => tracing::warn!(
                documents,
                bytes,
                budget,
                "the search index takes more memory than it was meant to: it grows on with the \
                 data, so give the server more memory"
            ),
            (true, false) => {
                tracing::info!(documents, bytes, budget, "the search index is within its budget");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhir_core::json::Document;
    use fhir_core::{Instant, VersionId};
    use fhir_schema::{DefinitionSet, Schema};
    use fhir_search::{ExtractOptions, Extractor, Parameters};
    use fhir_terminology::Terminology;
    use search_index::{Change, Subject};
    use std::sync::Arc;
    use store::T;

    #[test]
    fn a_budget_that_is_passed_is_known_to_be() {
        let (definitions, schema) = (DefinitionSet::r4(), Schema::r4());
        let parameters = Arc::new(Parameters::new(definitions, schema));
        let extractor = Extractor::new(schema, parameters, definitions.clone(), Terminology::r4());
        let (index, budget) = (Index::default(), Budget::of(20_000));
        let of = "Patient".parse().unwrap();
        let mut bytes = 0;
        for t in 1..=DOCUMENTS_BETWEEN + 1 {
            let json = format!("{{\"resourceType\":\"Patient\",\"birthDate\":\"{}\"}}", 1000 + t);
            let document = Document::parse(json.as_bytes()).unwrap();
            let id = format!("p{t}").parse().unwrap();
            let subject = Subject { resource_type: &of, id: &id, compartments: &[] };
            let options = ExtractOptions::default();
            let prepared = index.prepare(document.root(), subject, &extractor, &options);
            let change = Change::Put { prepared, version: VersionId::FIRST };
            bytes = change.bytes();
            let instant = Instant::from_micros(i64::try_from(t).unwrap());
            index.apply(T::new(t), instant, vec![change]).unwrap();
            budget.look(&index);
            assert_eq!(budget.is_passed(), t >= DOCUMENTS_BETWEEN);
        }
        assert!((100..1000).contains(&bytes), "{bytes}");
    }
}
