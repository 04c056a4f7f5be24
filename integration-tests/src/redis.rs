//! Redis or Valkey for the black-box tests: a server of a test's own.

#[path = "../../crates/gateway/tests/redis_server/mod.rs"]
mod redis_server;

use std::path::Path;

use redis_server::{ABSENT, RedisServer};

use crate::test_data::say;

/// A server. It ends with its owner.
#[derive(Debug)]
pub struct Redis(RedisServer);

impl Redis {
    /// One that answers, with its files in `folder`; `None`, said, where neither Redis nor Valkey
    /// is installed and none need be.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(folder: &Path) -> Option<Self> {
        let started = RedisServer::begin(folder).map(Self);
        if started.is_none() {
            say(&format!("skipped: {ABSENT}"));
        }
        started
    }

    /// Where it is, as the configuration names it.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// Starts it with nothing in it.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn start_again(&mut self) {
        self.0.begin_again();
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        self.0.kill();
    }
}
