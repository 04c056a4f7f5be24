//! Opening a registry: its whole log is read and judged, and what stands after it is published.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use contract::{Clock, Ids};
use parking_lot::Mutex;

use crate::audit::{Audit, ViewReport};
use crate::backend::Backend;
use crate::change::Change;
use crate::error::OpenError;
use crate::files;
use crate::format;
use crate::log::{ChangeLog, Cut, Entry};
use crate::moving;
use crate::postgres::{Followed, Follower, PostgresError, PostgresLog, PostgresOptions, Wake};
use crate::registry::Registry;
use crate::state::State;
use crate::trail::{Before, Trail};

pub(crate) const LOG: &str = "changes.log";
const VIEW: &str = "view";

/// What stands beside the registry: an empty registry is a first start only where no tenant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// No tenant's data is there.
    NoTenant,
    /// A tenant's data is there.
    ExistingTenant,
}

/// An open registry and how it was found.
#[derive(Debug)]
pub struct Opened {
    /// The registry.
    pub registry: Registry,
    /// Nothing was ever changed in it: the owner is still to be made.
    pub first_start: bool,
    /// What opening found and did.
    pub report: OpenReport,
}

/// What opening found and did, for the log of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// How many changes the log holds.
    pub changes: u64,
    /// A torn end that was cut off.
    pub cut: Option<Cut>,
    /// What was done with the view.
    pub view: ViewReport,
}

impl Registry {
    /// Opens the registry in `dir`, making it where nothing is.
    ///
    /// The caller holds the lock of the directory. A change log whose end a crash left short or
    /// zero-filled is cut back to its last whole change, with a copy kept; any other damage is an
    /// error and nothing is touched.
    ///
    /// # Errors
    /// [`OpenError::RegistryMissing`] when there is no change beside an existing tenant,
    /// [`OpenError::InPostgres`] when the registry of `dir` is there, and its other conditions.
    pub fn open(
        dir: &Path,
        beside: Beside,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Result<Opened, OpenError> {
        let path = dir.join(LOG);
        if moving::is_in_postgres(dir) {
            return Err(OpenError::InPostgres { marker: moving::marker(dir) });
        }
        let format = format::found(dir)?;
        if beside == Beside::ExistingTenant && files::is_absent_or_empty(&path) {
            return Err(OpenError::RegistryMissing { dir: dir.to_owned() });
        }
        files::private_dir(dir).map_err(OpenError::io("create", dir))?;
        match format {
            None => format::begin(dir, &path)?,
            Some(_) if path.exists() => {}
            Some(_) => return Err(OpenError::LogMissing { path }),
        }
        let (log, entries, cut) = ChangeLog::open(&path)?;
        if beside == Beside::ExistingTenant && entries.is_empty() {
            return Err(OpenError::RegistryMissing { dir: dir.to_owned() });
        }
        let changes = read_changes(&path, entries)?;
        let state = replay(&path, &changes)?;
        let (audit, view) = Audit::open(&dir.join(VIEW), &changes);
        let first_start = changes.is_empty();
        let before = if first_start { Before::Nothing } else { Before::Changes };
        let trail = Trail::open(dir, before, clock.clone())?;
        Ok(Opened {
            registry: Self {
                state: Arc::new(ArcSwap::from_pointee(state)),
                writer: Arc::new(Mutex::new(Backend::Files { log, audit })),
                follower: None,
                unnoted: None,
                trail,
                clock,
                ids,
            },
            first_start,
            report: OpenReport { changes: changes.len() as u64, cut, view },
        })
    }

    /// Opens the registry in the PostgreSQL that `options` reach, making its tables where there
    /// are none, and follows it from then on: what others change counts here within seconds.
    /// `dir` is this gateway's own directory, in which it is noted that the registry is there.
    /// Blocks.
    ///
    /// # Errors
    /// [`OpenError::InFiles`] when `dir` has a registry, which nobody moved;
    /// [`OpenError::Postgres`]: [`PostgresError::Missing`] when there is no change beside an
    /// existing tenant, or where there were some, and its other conditions.
    pub fn open_in_postgres(
        dir: &Path,
        options: &PostgresOptions,
        beside: Beside,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Result<Opened, OpenError> {
        let begun = moving::is_in_postgres(dir);
        if !begun && !files::is_absent_or_empty(&dir.join(LOG)) {
            return Err(OpenError::InFiles { dir: dir.to_owned() });
        }
        files::private_dir(dir).map_err(OpenError::io("create", dir))?;
        let wake = Arc::<Wake>::default();
        let (log, changes) = PostgresLog::open(options, Arc::clone(&wake), clock.as_ref())?;
        let first_start = changes.is_empty();
        if first_start && (begun || beside == Beside::ExistingTenant) {
            return Err(PostgresError::Missing.into());
        }
        // Each gateway writes down what was asked of it, in its own directory. Before anything is
        // noted there: from then on a trail is missed.
        let before = if begun { Before::Changes } else { Before::Nothing };
        let trail = Trail::open(dir, before, clock.clone())?;
        if !first_start {
            moving::note_in_postgres(dir)?;
        }
        let mut state = State::default();
        for (entry, change) in &changes {
            let sequence = entry.sequence;
            state
                .apply(change, sequence, entry.instant)
                .map_err(|source| PostgresError::CannotFollow { sequence, source })?;
        }
        let database = Arc::clone(&log.database);
        let state = Arc::new(ArcSwap::from_pointee(state));
        let writer = Arc::new(Mutex::new(Backend::Postgres(log)));
        let followed = Followed { state: Arc::clone(&state), writer: Arc::clone(&writer) };
        let follower = Follower::start(database, followed, wake, Arc::clone(&clock))?;
        let report =
            OpenReport { changes: changes.len() as u64, cut: None, view: ViewReport::NotKept };
        let unnoted = first_start.then(|| dir.to_owned());
        let follower = Some(follower);
        let registry = Self { state, writer, follower, unnoted, trail, clock, ids };
        Ok(Opened { registry, first_start, report })
    }
}

/// The changes that the log's entries hold.
pub(crate) fn read_changes(
    path: &Path,
    entries: Vec<Entry>,
) -> Result<Vec<(Entry, Change)>, OpenError> {
    entries
        .into_iter()
        .map(|entry| match serde_json::from_slice(&entry.change) {
            Ok(change) => Ok((entry, change)),
            Err(source) => Err(OpenError::UnknownChange {
                path: path.to_owned(),
                offset: entry.offset,
                sequence: entry.sequence,
                source,
            }),
        })
        .collect()
}

fn replay(path: &Path, changes: &[(Entry, Change)]) -> Result<State, OpenError> {
    let mut state = State::default();
    for (entry, change) in changes {
        state.apply(change, entry.sequence, entry.instant).map_err(|source| {
            OpenError::CannotFollow {
                path: path.to_owned(),
                offset: entry.offset,
                sequence: entry.sequence,
                source,
            }
        })?;
    }
    Ok(state)
}
