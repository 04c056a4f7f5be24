//! The server from outside: everything it does, over its sockets.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod access_cost;
mod access_matrix;
mod admission;
mod audit;
mod audit_binary;
mod audit_gateway;
mod audit_shapes;
mod batch;
mod capabilities;
mod clock;
mod conditional_create;
mod conditional_delete;
mod conditional_update;
mod create;
mod criteria;
mod delete;
mod explain;
mod faults;
mod history;
mod history_pages;
mod history_types;
mod idempotency;
mod limits;
mod negotiation;
mod numbers;
mod operator;
mod outcomes;
mod outside;
mod packages;
mod patch;
mod quarantine;
mod read;
mod references;
mod revoked;
mod rules;
mod search;
mod search_abandoned;
mod search_access;
mod search_linked;
mod search_links;
mod search_malformed;
mod search_pages;
mod search_parameters;
mod terminology;
mod transaction;
mod update;
mod validate;
mod validation_at_write;
mod within;
mod within_edges;
mod xml;
