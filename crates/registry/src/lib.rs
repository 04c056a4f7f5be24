//! The gateway side's own state: clients and keys, in a change log of its own.
