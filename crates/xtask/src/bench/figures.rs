//! Rounds as a table: medians over the rounds, and ratios round by round.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use super::load::Round;

/// What all rounds of one target gave.
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) rounds: Vec<Round>,
}

impl Target {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), rounds: Vec::new() }
    }

    /// The median over the rounds of what `of` says of each.
    pub(crate) fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(of).collect())
    }

    /// Microseconds of processor time for one answer.
    pub(crate) fn cpu_micros(&self) -> Option<f64> {
        let cpu = self.rounds.iter().map(|round| Some(micros(round.cpu?)));
        cpu.collect::<Option<Vec<_>>>().map(median)
    }

    /// What share of a processor its load took, in the median.
    pub(crate) fn load(&self) -> Option<f64> {
        let load = self.rounds.iter().map(|round| round.load);
        load.collect::<Option<Vec<_>>>().map(median)
    }
}

/// The median, round by round, of the rate of `ours` by that of `peer`.
pub(crate) fn ratio(ours: &Target, peer: &Target) -> f64 {
    let rounds = ours.rounds.iter().zip(&peer.rounds);
    median(rounds.map(|(ours, peer)| ours.rate / peer.rate).collect())
}

/// The table of these targets; with the share of a processor that their loads took, where that is
/// known.
pub(crate) fn table(title: &str, targets: &[&Target]) -> String {
    let mut text = format!("\n{title}\n");
    let shows_load = targets.iter().any(|target| target.load().is_some());
    let heading = ["answers/s", "p50 ms", "p99 ms", "CPU µs", "load %"];
    let columns = if shows_load { 5 } else { 4 };
    line(&mut text, "", &heading.map(str::to_owned)[..columns]);
    for target in targets {
        let millis = |of: fn(&Round) -> Duration| {
            format!("{:.2}", target.median(|round| micros(of(round))) / 1000.0)
        };
        let cpu = target.cpu_micros().map_or_else(String::new, |cpu| format!("{cpu:.1}"));
        let load = target.load().map_or_else(String::new, |load| format!("{:.0}", load * 100.0));
        let all = [
            format!("{:.0}", target.median(|round| round.rate)),
            millis(|round| round.median),
            millis(|round| round.slowest_of_100),
            cpu,
            load,
        ];
        line(&mut text, &target.name, &all[..columns]);
    }
    text
}

/// A line that says whether a target was met.
pub(crate) fn verdict(what: &str, found: f64, met: bool, wanted: &str) -> String {
    let verdict = if met { "met" } else { "SHORT" };
    format!("  {what}: {found:.2} (wanted: {wanted}): {verdict}\n")
}

/// Prints to the standard output.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

fn line(text: &mut String, name: &str, columns: &[String]) {
    let _ = write!(text, "  {name:<44}");
    for column in columns {
        let _ = write!(text, "{column:>11}");
    }
    text.push('\n');
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.as_slice() {
        [] => f64::NAN,
        values if values.len() % 2 == 1 => values[middle],
        values => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Target, median, table};
    use crate::bench::load::Round;

    fn target(loads: &[Option<f64>]) -> Target {
        let mut target = Target::new("one");
        let time = Duration::from_millis(1);
        target.rounds.extend(loads.iter().map(|load| Round {
            rate: 10.0,
            median: time,
            slowest_of_100: time,
            cpu: Some(time),
            load: *load,
        }));
        target
    }

    #[test]
    fn the_share_of_the_load_stands_in_a_row_where_it_is_known() {
        let known = table("a", &[&target(&[Some(0.2), Some(0.97), Some(0.98)])]);
        assert!(known.contains("load %") && known.trim_end().ends_with(" 97"), "{known}");
        let unknown = table("a", &[&target(&[None])]);
        assert!(
            !unknown.contains("load %") && unknown.trim_end().ends_with(" 1000.0"),
            "{unknown}"
        );
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
