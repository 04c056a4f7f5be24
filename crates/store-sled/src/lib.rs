//! The embedded backend: an append-only log as the truth, sled as a derived view of it.
