//! Large bodies where connections are lost, taken over, or busy.

use bytes::Bytes;
use store::suite::block_on;
use store::{BlobId, BlobReference, Store};
use store_postgres::Transport;

use crate::cluster::{database, open};
use crate::proxy::{BLOB, Fate, Proxy};

#[test]
fn a_blob_whose_answer_was_lost_is_written_again_without_harm() {
    let Some(database) = database() else { return };
    let proxy = Proxy::before(database.cluster.port);
    let place = format!("host=127.0.0.1 port={}", proxy.port);
    let store = open(database.options_at(&place, Transport::Local)).unwrap();
    let (id, bytes) = (BlobId(7), Bytes::from_static(BLOB));
    proxy.next_commit(Fate::LoseAnswerToBlob);
    store.write_blob(id, &bytes).unwrap();
    assert_eq!(proxy.fate(), Fate::Pass, "the answer was lost");
    assert_eq!(block_on(store.blob(&BlobReference::of(id, &bytes))).unwrap(), bytes);
    // Other bytes are not taken for it, be they as long.
    let mut other = bytes.to_vec();
    other.reverse();
    for other in [other.into(), bytes.slice(1..), Bytes::from_static(b"another")] {
        assert!(store.write_blob(id, &other).is_err(), "a blob was written over");
    }
    assert_eq!(block_on(store.blob(&BlobReference::of(id, &bytes))).unwrap(), bytes);
    assert_eq!(database.sql("SELECT count(*) FROM hearthgate.blobs"), "1");
}
