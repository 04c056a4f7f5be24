//! The whole product from outside: real processes, real sockets, real files.
//!
//! What holds for one process and for two, and wherever the data is, is one function, run for each.
//! `for_both_deployments!` is for what has nothing to do with where the data is, or with files of
//! the embedded store.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

use http::Method;
use integration_tests::{client, site, waiting};

/// Runs each of these functions for one process and for two.
macro_rules! for_both_deployments {
    ($($test:ident),+ $(,)?) => {
        mod one_process {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::site::Deployment::OneProcess).await;
            })+
        }
        mod two_processes {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::site::Deployment::TwoProcesses).await;
            })+
        }
    };
}

/// Runs each of these functions for one process and for two, and for one over PostgreSQL.
macro_rules! for_every_deployment {
    ($($test:ident),+ $(,)?) => {
        for_both_deployments! { $($test),+ }
        mod over_postgres {
            $(#[tokio::test]
            async fn $test() {
                if integration_tests::postgres::Postgres::shared().is_some() {
                    super::$test(crate::site::Deployment::OverPostgres).await;
                }
            })+
        }
    };
}

mod abandoned;
mod access_log;
mod admin;
mod audit;
mod backup;
mod blobs;
mod callers;
mod collector;
mod configuration;
mod descriptors;
mod disk;
mod edge;
mod examples;
mod fhir_version;
mod forgery;
mod gateway_only;
mod gitops;
mod golden;
mod import;
mod kills;
mod lanes;
mod limits;
mod patient_key;
mod planted;
mod postgres;
mod purge;
mod quarantine;
mod races;
mod readiness;
mod rest;
mod roles;
mod search;
mod search_parameters;
mod shared_registry;
mod smuggling;
mod split;
mod starting;
mod stopping;
mod streaming;
mod traces;
mod trail;
mod transactions;
mod twins;
mod validate;
mod validation;
