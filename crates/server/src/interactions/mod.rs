//! The interactions of the RESTful API (FHIR R4, 3.1.0), one file each.

pub(crate) mod capabilities;
pub(crate) mod conditional_delete;
pub(crate) mod conditional_update;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod history;
pub(crate) mod operation;
pub(crate) mod patch;
pub(crate) mod preconditions;
pub(crate) mod quarantine;
pub(crate) mod read;
pub(crate) mod retries;
pub(crate) mod search;
pub(crate) mod terminology_capabilities;
pub(crate) mod update;
pub(crate) mod validate;
pub(crate) mod vread;
pub(crate) mod write;
mod write_refusal;
