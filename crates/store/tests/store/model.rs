//! The suite over the model.

use store::model::ModelStore;
use store::suite::{Harm, StoreUnderTest, fixture};
use store::{BlobId, Store, suite_tests};

/// The model has no files: a restart or crash finds what was there.
struct Model(ModelStore);

impl StoreUnderTest for Model {
    fn store(&self) -> &dyn Store {
        &self.0
    }

    fn restart(&mut self) {
        self.0.close().unwrap();
        self.0.reopen();
    }

    fn crash(&mut self) {
        self.0.reopen();
    }

    fn harm_blob(&mut self, id: BlobId, harm: Harm) {
        let there = self.0.blob_bytes(id).unwrap();
        self.0.harm_blob(id, harm.applied(&there).map(Into::into));
    }
}

suite_tests!(Model(ModelStore::new(fixture::tenant())));
