//! One tenant's store as one value: commit a transaction, open a snapshot.
