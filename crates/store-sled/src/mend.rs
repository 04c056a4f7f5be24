//! Puts a derived state that failed while it was in use right again, without a restart: opened
//! anew and checked, or moved aside and rebuilt, and brought up to where it was from the log.

use std::sync::Arc;

use store::record::Decoded;
use store::{Derive, T, TenantText};

use crate::SledStoreOptions;
use crate::applier::{TIDIED_AT_ONCE, TIDIED_FOR_EACH};
use crate::blobs::Blobs;
use crate::layout::Layout;
use crate::memory::{KEYS_OF_A_RUN, Memory};
use crate::open::{derive_what_is_left, unit};
use crate::room;
use crate::scan::{Place, ScanError, SegmentScan};
use crate::slot::Slot;
use crate::state::{Applied, State, Unopened, is_of_the_system};
use crate::table::Table;

/// What mending needs to know.
pub(crate) struct Mender {
    pub(crate) layout: Layout,
    pub(crate) tenant: TenantText,
    pub(crate) derive: Arc<dyn Derive>,
    pub(crate) options: SledStoreOptions,
}

impl Mender {
    /// Puts into `slot` a state that has everything up to `through`, which memory goes on from.
    /// `Err` says why that cannot be done now.
    pub(crate) fn mend(
        &self,
        slot: &Slot,
        memory: &Memory,
        through: &Applied,
    ) -> Result<Applied, String> {
        let log = self.layout.log();
        let room = room::fits(&log, &self.options, 0, memory.lag());
        if !room.map_err(|error| error.to_string())? {
            return Err("the disk is full".to_owned());
        }
        slot.clear("it is being rebuilt");
        let (state, applied) = match self.stored(memory, through) {
            Err(Unusable::Later(reason)) => return Err(reason),
            Err(Unusable::Rebuild(reason)) => {
                tracing::warn!(reason, "the derived state is rebuilt from the log");
                self.rebuilt(memory, through)?
            }
            Ok(opened) => opened,
        };
        state.flush()?;
        let unmarked = self.layout.unmark_state();
        unmarked.map_err(|error| error.to_string())?;
        slot.put(state);
        tracing::info!(t = applied.t.get(), "the derived state is in use again");
        Ok(applied)
    }

    /// The state as its files have it, brought up to `through`.
    fn stored(&self, memory: &Memory, through: &Applied) -> Result<(State, Applied), Unusable> {
        let state = self.open()?;
        let applied = state.load().map_err(Unusable::of)?;
        let applied = applied.ok_or_else(|| Unusable::Rebuild("it has no manifest".to_owned()))?;
        state.check().map_err(Unusable::of)?;
        if applied.t > through.t {
            return Err(Unusable::Rebuild("it is ahead of what was applied".to_owned()));
        }
        let applied = self.replay(&state, applied, memory, through)?;
        Ok((state, applied))
    }

    fn rebuilt(&self, memory: &Memory, through: &Applied) -> Result<(State, Applied), String> {
        self.layout.move_state_aside().map_err(|error| error.to_string())?;
        let state = self.open().map_err(Unusable::reason)?;
        let applied = state.begin()?;
        let applied = self.replay(&state, applied, memory, through).map_err(Unusable::reason)?;
        Ok((state, applied))
    }

    fn open(&self) -> Result<State, Unusable> {
        State::open(&self.layout, &self.options).map_err(|unopened| match unopened {
            Unopened::InUse => Unusable::Later("it is still in use".to_owned()),
            Unopened::Disk(error) => Unusable::Later(error.to_string()),
            Unopened::Unusable(reason) => Unusable::Rebuild(reason),
        })
    }

    /// Takes in what the log has after `applied`, up to `through`.
    fn replay(
        &self,
        state: &State,
        applied: Applied,
        memory: &Memory,
        through: &Applied,
    ) -> Result<Applied, Unusable> {
        let mut before = None;
        let mut table = Table::after(applied);
        for number in applied.segment.. {
            if table.through().t >= through.t {
                break;
            }
            let path = self.layout.segment(number);
            // What comes after `through` may be half written at this moment.
            let mut scan = SegmentScan::open(
                self.layout.disk(),
                &path,
                number,
                Place::Last,
                &self.tenant,
                before,
                applied.t,
            )
            .map_err(later)?;
            while scan.head().t < through.t {
                let Some(found) = scan.next().map_err(later)? else {
                    break;
                };
                let Some(decoded) = found.decoded else {
                    if found.head.t == applied.t && found.head.hash != applied.hash {
                        return Err(Unusable::Rebuild("it followed another log".to_owned()));
                    }
                    continue;
                };
                if memory.is_stopping() {
                    return Err(Unusable::Later("the store is closing".to_owned()));
                }
                self.take_in(state, &mut table, number, found.offset, decoded)?;
            }
            if scan.head().t < through.t && scan.torn().is_some() {
                let t = scan.head().t;
                return Err(Unusable::Later(format!("the log ends after commit {t}")));
            }
            before = Some(scan.head());
        }
        let applied = table.through();
        if (applied.t, applied.hash) != (through.t, through.hash) {
            return Err(Unusable::Rebuild("it does not follow this log".to_owned()));
        }
        state.apply(&table).map_err(Unusable::Later)?;
        Ok(applied)
    }

    fn take_in(
        &self,
        state: &State,
        table: &mut Table,
        segment: u64,
        offset: u64,
        mut decoded: Decoded,
    ) -> Result<(), Unusable> {
        let t: T = decoded.commit.t;
        let blobs = Blobs::new(self.layout.clone());
        derive_what_is_left(self.derive.as_ref(), &blobs, &mut decoded)
            .map_err(|_| Unusable::Later(format!("commit {t} cannot be read")))?;
        table.insert(unit(&decoded, segment, offset));
        if table.keys() < KEYS_OF_A_RUN {
            return Ok(());
        }
        state.apply(table).map_err(Unusable::Later)?;
        // A rebuild makes many runs: they are merged as they would be in use.
        let mut entries = table.keys() * TIDIED_FOR_EACH;
        while entries > 0 && state.is_untidy() {
            let took = state.tidy(TIDIED_AT_ONCE).map_err(Unusable::Later)?;
            entries = entries.saturating_sub(took);
        }
        *table = Table::after(table.through());
        Ok(())
    }
}

/// Why the state cannot be put right.
enum Unusable {
    /// Not now: its files say nothing against it.
    Later(String),
    /// Not from its files.
    Rebuild(String),
}

impl Unusable {
    /// Why the state could not be read: a fault of its files, or none of theirs (G8).
    fn of(reason: String) -> Self {
        if is_of_the_system(&reason) { Self::Later(reason) } else { Self::Rebuild(reason) }
    }

    fn reason(self) -> String {
        match self {
            Self::Later(reason) | Self::Rebuild(reason) => reason,
        }
    }
}

fn later(error: ScanError) -> Unusable {
    match error {
        ScanError::Damaged(damage) => Unusable::Later(format!("{damage}: {}", damage.flaw)),
        ScanError::Io { path, source } => Unusable::Later(format!("{}: {source}", path.display())),
    }
}
