//! The process's own log: lines on stderr. The access log is the gateway's and goes elsewhere.

use std::io;

use tracing_subscriber::filter::LevelFilter;

use crate::config::Level;

/// Logs from `level` on, from now on. A second call changes nothing.
pub fn start(level: Level) {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(false)
        .finish();
    // Only a test that starts twice finds one there already.
    drop(tracing::subscriber::set_global_default(subscriber));
}
