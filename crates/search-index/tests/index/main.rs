//! The index as its users see it: resources go in as JSON, queries as URLs.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod checkpoint;
mod concurrency;
mod cost;
mod hidden;
mod includes;
mod model;
mod plan;
mod purge;
mod queries;
mod settling;
mod support;
mod synthea;
mod visibility;
