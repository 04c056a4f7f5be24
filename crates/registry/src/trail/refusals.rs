//! Refused requests, so that they fill no disk: of one asker so many a minute have a line each,
//! and those beyond are counted and told in one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::line::{Doing, How};

/// How long refusals are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// The operation of the line that tells how many there were.
const OPERATION: &str = "refused.more";

/// What was refused in the last minute, by who asked.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<String, Window>);

/// A minute of one asker's refusals.
#[derive(Debug)]
struct Window {
    began: Duration,
    /// So many have lines of their own.
    told: u32,
    /// And so many have not.
    more: u64,
    how: How,
    /// From where those came, where all came from one address.
    from: Option<String>,
}

/// Refusals that are to be told in one line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Untold {
    pub(super) doing: Doing,
    pub(super) more: u64,
}

impl Untold {
    /// What the line says.
    pub(super) fn why(&self) -> String {
        format!("and {} more, which have no lines of their own", self.more)
    }
}

impl Refusals {
    /// For how long `by` has no line for a refusal, having had `most` of them; `None` where it has.
    pub(super) fn wait(&self, by: &str, most: u32, now: Duration) -> Option<Duration> {
        let window = self.0.get(by).filter(|window| window.told >= most)?;
        let left = (window.began + WINDOW).saturating_sub(now);
        (!left.is_zero()).then_some(left)
    }

    /// A refusal has a line of its own.
    pub(super) fn tell(&mut self, doing: &Doing, now: Duration) {
        let window = self.window(doing, now);
        window.told = window.told.saturating_add(1);
    }

    /// A refusal has none.
    pub(super) fn count(&mut self, doing: &Doing, now: Duration) {
        let window = self.window(doing, now);
        match window.more {
            0 => window.from.clone_from(&doing.from),
            _ if window.from != doing.from => window.from = None,
            _ => {}
        }
        window.more += 1;
    }

    fn window(&mut self, doing: &Doing, now: Duration) -> &mut Window {
        let new = || Window { began: now, told: 0, more: 0, how: doing.how, from: None };
        let window = self.0.entry(doing.by.clone()).or_insert_with(new);
        if window.more == 0 && window.began + WINDOW <= now {
            *window = new();
        }
        window
    }

    /// The first asker whose minute has passed and of whom there is something to tell; of all
    /// askers where `now` is `None`.
    pub(super) fn untold(&mut self, now: Option<Duration>) -> Option<Untold> {
        let has_passed = |window: &Window| now.is_none_or(|now| window.began + WINDOW <= now);
        self.0.retain(|_, window| window.more > 0 || !has_passed(window));
        let (by, window) = self.0.iter().find(|(_, window)| has_passed(window))?;
        Some(Untold {
            doing: Doing {
                by: by.clone(),
                from: window.from.clone(),
                how: window.how,
                operation: OPERATION.to_owned(),
                object: String::new(),
            },
            more: window.more,
        })
    }

    /// It was told of `by`: its next minute begins with its next refusal.
    pub(super) fn told(&mut self, by: &str) {
        self.0.remove(by);
    }

    /// How many there are without a line.
    pub(super) fn count_untold(&self) -> u64 {
        self.0.values().map(|window| window.more).sum()
    }
}
