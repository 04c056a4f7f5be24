//! The store's suite over the embedded backend, and over one with small segments whose
//! appends wait until the state has the group before.

use crate::support::{self, Folder};
use store::suite::{Harm, StoreUnderTest};
use store::{BlobId, Store, suite_tests};
use store_sled::SledStoreOptions;

/// A store in a folder; a crash is a copy of the folder taken while the store is in use.
struct Sled {
    folder: Folder,
    store: Option<store_sled::SledStore>,
    options: SledStoreOptions,
}

impl Sled {
    fn new(options: SledStoreOptions) -> Self {
        let folder = Folder::new();
        let store = Some(folder.open_with(options.clone()).unwrap());
        Self { folder, store, options }
    }
}

impl StoreUnderTest for Sled {
    fn store(&self) -> &dyn Store {
        self.store.as_ref().unwrap()
    }

    fn restart(&mut self) {
        self.store.take().unwrap().close().unwrap();
        let store = self.folder.open_with(self.options.clone()).unwrap();
        assert_eq!((&store.report().cut, &store.report().rebuilt), (&None, &None));
        assert_eq!(store.report().replayed_commits, 0);
        self.store = Some(store);
    }

    fn crash(&mut self) {
        let copy = self.folder.copy();
        drop(self.store.take());
        self.folder = copy;
        let store = self.folder.open_with(self.options.clone()).unwrap();
        assert_eq!(store.report().cut, None);
        store.verify().unwrap();
        self.store = Some(store);
    }

    fn harm_blob(&mut self, id: BlobId, harm: Harm) {
        let path = store_sled::blob_path(&self.folder.path(), id);
        match harm.applied(&std::fs::read(&path).unwrap()) {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
    }
}

mod with_usual_sizes {
    use super::*;

    suite_tests!(Sled::new(support::options()));
}

mod with_small_segments_and_no_lag {
    use super::*;

    suite_tests!(Sled::new(SledStoreOptions {
        segment_bytes: 30_000,
        lag_versions: 0,
        lag_bytes: 0,
        ..support::options()
    }));
}
