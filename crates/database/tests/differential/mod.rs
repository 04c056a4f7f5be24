//! Resources and queries by chance, and what the index finds of them against what looking at
//! every resource finds. The tests of other crates take this file by its path.

#![allow(dead_code, unused_imports, reason = "not every test uses all of it")]

mod chance;
mod codes;
mod compare;
mod known;
mod queries;
mod resources;
mod values;

pub(crate) use chance::Chance;
pub(crate) use compare::{BASE, Compared, Pair, compare, names};
pub(crate) use known::{Known, read_by};
pub(crate) use queries::request;
pub(crate) use resources::{of_one_patient, resource};
pub(crate) use values::TYPES;
