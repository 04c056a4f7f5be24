//! The whole product from outside: real processes, real sockets, real files.
//!
//! What holds for one process and for two is one function, run for both.

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

mod access_log;
mod backup;
mod blobs;
mod callers;
mod configuration;
mod descriptors;
mod disk;
mod forgery;
mod golden;
mod import;
mod kills;
mod patient_key;
mod purge;
mod races;
mod readiness;
mod rest;
mod starting;
mod stopping;
mod streaming;
mod transactions;
