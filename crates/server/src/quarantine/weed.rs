//! What nobody can read any more, since somebody whom it names was purged, takes no room: it is
//! looked for when there seems to be none, once after each purge and each start.

use std::sync::Arc;

use database::{Database, ReadError, Visibility, quarantine};
use tokio::runtime::Handle;

use super::{Key, MOST_BYTES, MOST_LOOKED_AT};
use crate::error::ServerError;
use crate::internal;
use crate::validation::Validation;

/// Looks at the next items, aside from the threads that answer requests, and takes out what nobody
/// can read any more. Where many are left, the next call goes on.
///
/// # Errors
/// [`ServerError::Interrupted`] when it ended early.
pub(super) async fn weed(
    database: &Arc<Database>,
    validation: &Arc<Validation>,
) -> Result<(), ServerError> {
    let purges = database.purges();
    let Some(before) = validation.shelf.begin_weeding(purges) else { return Ok(()) };
    let (database, validation) = (Arc::clone(database), Arc::clone(validation));
    let runtime = Handle::current();
    let work = tokio::task::spawn_blocking(move || {
        let next = runtime.block_on(look_from(&database, &validation, before));
        validation.shelf.end_weeding(purges, next);
    });
    work.await.map_err(|_| ServerError::Interrupted)
}

/// Returns the item that was looked at last, where there are more.
async fn look_from(
    database: &Database,
    validation: &Validation,
    mut before: Option<Key>,
) -> Option<Key> {
    let (mut looked_at, mut bytes) = (0, 0);
    while let Some((key, length)) = validation.shelf.newest_before(before.as_ref()) {
        if looked_at == MOST_LOOKED_AT || (looked_at > 0 && bytes + length > MOST_BYTES) {
            return before;
        }
        looked_at += 1;
        bytes += length;
        let snapshot = database.snapshot(Visibility::everything());
        let read = snapshot.read(&internal::of(quarantine::TYPE), &key.1).await;
        // What cannot be read for another reason is there.
        if matches!(read, Err(ReadError::Purged)) {
            validation.shelf.forget(&key.1);
        }
        before = Some(key);
    }
    None
}
