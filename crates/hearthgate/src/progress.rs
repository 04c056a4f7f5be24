//! The progress bar: on stderr, only when that is a terminal.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use contract::Clock;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far reading has come, by bytes of the files; how fast the work is, by resources.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    clock: Option<(Arc<dyn Clock>, Duration)>,
}

const REDRAW_PER_SECOND: u8 = 5;
const FORM: &str = "{bar:30} {percent}%  {msg}  {elapsed} so far, {eta} left";

impl Progress {
    /// A bar for `bytes`, shown where a person can see it.
    pub(crate) fn show(bytes: u64, clock: Arc<dyn Clock>) -> Self {
        if !io::stderr().is_terminal() {
            return Self::hidden();
        }
        let target = ProgressDrawTarget::stderr_with_hz(REDRAW_PER_SECOND);
        let bar = ProgressBar::with_draw_target(Some(bytes), target);
        if let Ok(style) = ProgressStyle::with_template(FORM) {
            bar.set_style(style);
        }
        let began = clock.monotonic();
        Self { bar, clock: Some((clock, began)) }
    }

    /// None.
    pub(crate) fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), clock: None }
    }

    /// Counts what is read from `reader`.
    pub(crate) fn count<R: io::Read>(&self, reader: R) -> impl io::Read + use<R> {
        self.bar.wrap_read(reader)
    }

    /// So many resources are done.
    pub(crate) fn resources(&self, resources: u64) {
        let Some((clock, began)) = &self.clock else {
            return;
        };
        let elapsed = clock.monotonic().saturating_sub(*began);
        let rate = per_second(resources, elapsed);
        self.bar.set_message(format!("{resources} resources, {rate:.0}/s"));
    }

    /// Takes the bar off the screen while something else is written there.
    pub(crate) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Takes the bar off the screen.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// How many a second; of no time at all, none.
pub(crate) fn per_second(count: u64, took: Duration) -> f64 {
    let seconds = took.as_secs_f64();
    if seconds <= 0.0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown in whole numbers")]
    let count = count as f64;
    count / seconds
}
