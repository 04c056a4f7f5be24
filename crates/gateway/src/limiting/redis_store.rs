//! Shared counters in Redis or Valkey.
//!
//! One script takes what a gateway tells of its counters and answers what it is given, so that
//! each exchange is one step there. Times of buckets are the store's own; slices of windows are
//! the gateways'. What is not spoken of any more goes by itself.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _};

use super::store::{CounterStore, Exchanged, Granted, Report, Reported, StoreError};

const SCRIPT: &str = include_str!("counters.lua");
/// Who speaks to the store, and when they last did.
const GATEWAYS: &str = "hearthgate:gateways";
/// How long the store may take to be reached, and to answer.
const CONNECT: Duration = Duration::from_millis(400);
const ANSWER: Duration = Duration::from_millis(400);

/// Why the store cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum RedisStoreError {
    /// The URL is none, or holds a password.
    #[error(
        "the store of shared counters takes redis://HOST:PORT/NUMBER or unix:///PATH, without a password: {0}"
    )]
    Url(String),
    /// The password's file cannot be read.
    #[error("cannot read {}, which is to hold the password of the store of shared counters", path.display())]
    Password {
        /// The file.
        path: std::path::PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
}

/// Redis or Valkey, one connection at a time.
pub struct RedisStore {
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
}

/// Its address may be told, its password not.
impl std::fmt::Debug for RedisStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "RedisStore({})", self.client.get_connection_info().addr())
    }
}

impl RedisStore {
    /// The store at `url`, with the password in the first line of a file, where one is named. It
    /// need not be there yet.
    ///
    /// # Errors
    /// [`RedisStoreError`] when the URL is none, or the file cannot be read.
    pub fn new(url: &str, password_file: Option<&Path>) -> Result<Self, RedisStoreError> {
        let wrong = |error: redis::RedisError| RedisStoreError::Url(error.to_string());
        let info = url.into_connection_info().map_err(wrong)?;
        if info.redis_settings().password().is_some() {
            return Err(RedisStoreError::Url("name it with a file of its own".to_owned()));
        }
        let info = match password_file {
            None => info,
            Some(path) => {
                let read = std::fs::read_to_string(path);
                let text = read.map_err(|source| RedisStoreError::Password {
                    path: path.to_owned(),
                    source,
                })?;
                let password = text.lines().next().unwrap_or_default();
                let settings = info.redis_settings().clone().set_password(password);
                info.set_redis_settings(settings)
            }
        };
        let client = Client::open(info).map_err(wrong)?;
        Ok(Self { client, connection: Mutex::new(None) })
    }

    async fn connection(&self) -> Result<MultiplexedConnection, StoreError> {
        if let Some(connection) = self.connection.lock().clone() {
            return Ok(connection);
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        let connected = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connected.map_err(|error| failed(&error))?;
        *self.connection.lock() = Some(connection.clone());
        Ok(connection)
    }
}

/// What went wrong, without what the store quotes of the script.
fn failed(error: &redis::RedisError) -> StoreError {
    StoreError(match error.code() {
        Some(code) => format!("{} ({code})", error.category()),
        None => error.category().to_owned(),
    })
}

#[async_trait]
impl CounterStore for RedisStore {
    async fn exchange(&self, gateway: &str, reports: &[Report]) -> Result<Exchanged, StoreError> {
        let mut connection = self.connection().await?;
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(reports.len() + 1).arg(GATEWAYS);
        for report in reports {
            command.arg(&report.key);
        }
        command.arg(gateway);
        for report in reports {
            match report.of {
                Reported::Rate(rate) => {
                    command.arg("rate").arg(rate.count.get());
                    command.arg(u64::try_from(rate.per.as_micros()).unwrap_or(u64::MAX));
                    command.arg(rate.burst.get()).arg(rate.window_seconds()).arg(0);
                }
                Reported::Quota { most, window, slice, used } => {
                    command.arg("quota").arg(slice).arg(window.counted()).arg(most);
                    // Once over, twice: whose clock is behind still adds to it.
                    command.arg(2 * window.nominal_seconds()).arg(used);
                }
            }
            command.arg(report.give).arg(report.want);
        }
        let answered: Result<Vec<i64>, _> = command.query_async(&mut connection).await;
        let numbers = answered.map_err(|error| {
            // Whatever it was, the next exchange begins with a connection of its own.
            *self.connection.lock() = None;
            failed(&error)
        })?;
        let Some((gateways, numbers)) = numbers.split_first() else {
            return Err(StoreError("it answered nothing".to_owned()));
        };
        let granted = numbers
            .chunks_exact(2)
            .map(|pair| Granted { tokens: u64::try_from(pair[0]).unwrap_or(0), left: pair[1] });
        Ok(Exchanged {
            gateways: u32::try_from(*gateways).unwrap_or(1),
            granted: granted.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        let error = RedisStore::new("redis://:planted@127.0.0.1/0", None).expect_err("a password");
        assert!(!error.to_string().contains("planted"), "{error}");
        assert!(RedisStore::new("http://127.0.0.1", None).is_err());
        assert!(RedisStore::new("redis://127.0.0.1:6379/3", None).is_ok());
    }

    #[test]
    fn the_password_is_a_files_first_line_and_is_not_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("password");
        std::fs::write(&path, "planted\n").expect("a file");
        let store = RedisStore::new("redis://127.0.0.1:6379/0", Some(&path)).expect("a store");
        let info = store.client.get_connection_info();
        assert_eq!(info.redis_settings().password(), Some("planted"));
        assert!(!format!("{store:?}").contains("planted"));
        let absent = RedisStore::new("redis://127.0.0.1", Some(&dir.path().join("absent")));
        assert!(absent.expect_err("no file").to_string().contains("absent"));
    }
}
