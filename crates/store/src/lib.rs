//! The port of the system of record: an ordered log, versions, small durable state, and the one suite every backend passes.
