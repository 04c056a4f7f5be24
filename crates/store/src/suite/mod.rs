//! The one suite that every backend passes.
//!
//! A backend's crate implements [`StoreUnderTest`] and lists the suite with
//! [`suite_tests!`](crate::suite_tests), which makes each guarantee a test of its own.
//! docs/storage.md says which guarantee which test holds.

mod blobs;
pub mod fixture;
mod guarantees;
mod history;
mod named;
mod random;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::{BlobId, Store};

pub use blobs::*;
pub use guarantees::*;
pub use history::{
    a_history_is_read_in_parts, an_instant_leads_to_what_there_was_then,
    histories_follow_the_order_of_the_log,
};
pub use named::a_commit_is_found_by_the_name_of_its_request;
pub use random::random_operations_agree_with_the_model;

/// A store that can be opened again and crashed. It begins empty, belongs to
/// [`fixture::tenant`], and derives identifiers by [`fixture::FirstLine`].
pub trait StoreUnderTest {
    /// The store, open.
    fn store(&self) -> &dyn Store;

    /// Closes the store and opens it again.
    fn restart(&mut self);

    /// Loses the process at this moment, without closing the store, and opens it again.
    fn crash(&mut self);

    /// Harms a stored blob, behind the store's back.
    fn harm_blob(&mut self, id: BlobId, harm: Harm);
}

/// What happens to a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// A bit of the byte there is flipped.
    Flipped(u64),
    /// Its last byte goes.
    Cut,
    /// Its last chunk goes.
    LastChunkLost,
    /// All of it goes.
    Lost,
}

impl Harm {
    /// What is left of these bytes; `None` when nothing is.
    #[must_use]
    pub fn applied(self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = bytes.to_vec();
        match self {
            Self::Flipped(at) => bytes[usize::try_from(at).ok()?] ^= 0x40,
            Self::Cut => drop(bytes.pop()),
            Self::LastChunkLost => {
                let last = (bytes.len() - 1) / crate::BLOB_CHUNK * crate::BLOB_CHUNK;
                bytes.truncate(last);
            }
            Self::Lost => return None,
        }
        Some(bytes)
    }
}

/// Makes each test of the suite a `#[test]`; the expression makes a fresh [`StoreUnderTest`].
#[macro_export]
macro_rules! suite_tests {
    ($under_test:expr) => {
        $crate::suite_tests! {
            @each $under_test;
            acknowledged_commits_are_there_after_a_restart
            acknowledged_commits_are_there_after_a_crash
            a_commit_of_many_resources_is_whole_after_a_crash
            a_refused_group_changes_nothing
            an_empty_group_changes_nothing
            a_commit_is_visible_from_its_position_on
            versions_come_newest_first_and_by_number
            a_deletion_is_a_version_without_a_body
            resources_with_like_names_are_apart
            bodies_of_all_sizes_come_back
            a_body_is_not_given_under_another_name
            identifiers_find_everyone_who_ever_bore_them
            histories_follow_the_order_of_the_log
            a_history_is_read_in_parts
            an_instant_leads_to_what_there_was_then
            a_commit_is_found_by_the_name_of_its_request
            blobs_of_acknowledged_commits_are_there_after_a_restart_and_a_crash
            a_blob_that_was_harmed_is_named_and_never_given_in_part
            a_blob_is_not_given_under_another_name
            a_commit_that_names_a_blob_that_is_not_there_is_refused
            a_blob_that_is_removed_is_gone_and_the_others_stay
            identifiers_in_a_blob_are_found
            the_head_chains_the_commits
            a_closed_store_reads_and_takes_no_commits
            random_operations_agree_with_the_model
        }
    };
    (@each $under_test:expr; $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                let mut under_test = $under_test;
                $crate::suite::block_on($crate::suite::$name(&mut under_test));
            }
        )*
    };
}

/// Waits for a future on this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
