//! The search index of one tenant, derived from its log.

mod dictionary;
mod documents;
mod facet;
mod index;
mod key;
mod names;
mod part;
mod parts;
mod postings;
mod prepare;
mod segment;
mod settle;
mod tail;

pub use index::{ApplyError, Change, Index, Size};
pub use prepare::{Prepared, Subject};
pub use settle::Settled;
