//! The search index of one tenant, derived from its log: which resources a query of `fhir-search`
//! finds at a `t`, among what may be seen.
//!
//! A commit is applied in the order of the log ([`Index::apply`]), with what
//! [`Index::prepare`] took from its resources before. There is one document per version, which an
//! update does not remove: what is found at a `t` stays the same for as long as the version is
//! kept ([`Index::settle`]). [`Index::search`] opens a view at a `t`; every step of a search is
//! within what is visible there.
//!
//! The index is a list of parts in the order of the log: settled segments, which are read without
//! a lock, and a bounded tail, into which commits write. Values are found by sorted keys, from
//! which they can be read again, so that the tests of `fhir-search` themselves say what matches.
//!
//! It can be written down piece by piece and made again of the pieces ([`Index::checkpoint`]). The
//! keys of what was written down need not stay in memory: they are read again facet by facet
//! ([`SegmentSource`]) as searches need them, and go when they take more than the index may
//! ([`Index::within`]).
//!
//! Deliberately absent: threads, clocks, the disk (its caller keeps the pieces), what words stand
//! in a text (`_text`, `_content`).

mod checkpoint;
mod cost;
mod cursor;
mod dictionary;
mod documents;
mod error;
mod evaluate;
mod facet;
mod index;
mod kept;
mod key;
mod left_out;
mod memory;
mod merge;
mod names;
mod part;
mod parts;
mod places;
mod postings;
mod prepare;
mod search;
mod segment;
mod segment_view;
mod settle;
mod sort;
mod source;
mod tail;
mod visible;

pub use checkpoint::{
    CONTENT_VERSION, Checkpoint, Damaged, PieceOf, SavedSegment, SavedState, SegmentIdentity,
    SettledSegment,
};
pub use cursor::Cursor;
pub use dictionary::Summary;
pub use error::{SearchError, Unsupported};
pub use index::{ApplyError, Change, Index, Size};
pub use prepare::{Prepared, Subject};
pub use search::{
    Context, Costliest, Found, Hit, Included, Page, Plan, Search, Step, TypePlan, Way,
};
pub use settle::Settled;
pub use source::{SegmentSource, SourceError};
pub use visible::{Owners, Visible, VisiblePart, VisibleTypes, VisibleWithin};
