//! Searches as a table.

use std::fmt::Write as _;
use std::time::Duration;

use super::asked::Asked;
use crate::bench::load::Round;

/// What one kind of query takes, in milliseconds.
pub(super) struct Row {
    name: &'static str,
    total: Option<u64>,
    bytes: usize,
    p50: f64,
    p99: f64,
    /// Of a bare handler.
    bare: f64,
}

impl Row {
    pub(super) fn of(asked: &Asked, ours: &Round, bare: &Round) -> Self {
        let millis = |of: Duration| of.as_secs_f64() * 1e3;
        Self {
            name: asked.name,
            total: asked.total,
            bytes: asked.answer.len(),
            p50: millis(ours.median),
            p99: millis(ours.slowest_of_100),
            bare: millis(bare.median),
        }
    }

    fn begin(&self, text: &mut String) {
        let total = self.total.map_or_else(|| "-".to_owned(), |total| total.to_string());
        let Self { name, bytes, p50, p99, .. } = self;
        let _ = write!(text, "  {name:<36}{total:>9}{bytes:>9}{p50:>9.2}{p99:>9.2}");
    }
}

const HEADING: [&str; 4] = ["found", "bytes", "p50 ms", "p99 ms"];

fn heading(title: &str, more: &[&str]) -> String {
    let mut text = format!("\n{title}\n  {:<36}", "");
    for column in HEADING.iter().chain(more) {
        let _ = write!(text, "{column:>9}");
    }
    text.push('\n');
    text
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "SHORT" }
}

/// Each beside a bare handler, and whether it takes no longer than is wanted: half of the answers,
/// and all but one in a hundred.
pub(super) fn of(title: &str, rows: &[Row], (half, most): (f64, f64)) -> String {
    let title = format!("{title}; wanted: p50 <= {half} ms, p99 <= {most} ms");
    let mut text = heading(&title, &["bare p50", "ratio", ""]);
    for row in rows {
        row.begin(&mut text);
        let (bare, ratio) = (row.bare, row.p50 / row.bare);
        let met = verdict(row.p50 <= half && row.p99 <= most);
        let _ = writeln!(text, "{bare:>9.3}{ratio:>9.1}{met:>9}");
    }
    text
}

/// Each beside what it took alone, and whether the slowest in a hundred take no more than so many
/// times that.
pub(super) fn beside(title: &str, rows: &[Row], alone: &[Row], most: f64) -> String {
    let title = format!("{title}; wanted: p99 <= {most} times that of before");
    let mut text = heading(&title, &["p50 x", "p99 x", ""]);
    for (row, alone) in rows.iter().zip(alone) {
        row.begin(&mut text);
        let (half, slowest) = (row.p50 / alone.p50, row.p99 / alone.p99);
        let met = verdict(slowest <= most);
        let _ = writeln!(text, "{half:>9.1}{slowest:>9.1}{met:>9}");
    }
    text
}
