//! wrk: asks over connections that stand, as fast as it is answered, and never waits between two
//! requests.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{Process, Signal};
use crate::tools::{Absent, Tool};

/// Longer than anybody lets it run.
const LONG: Duration = Duration::from_secs(7 * 24 * 3600);
/// What it tells at its end: answers, microseconds, p50 and p99 in microseconds, and what failed,
/// kind by kind.
const TELL: &str = r#"
done = function(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format("\nmeasured %d %d %d %d %d %d %d %d %d\n", summary.requests,
        summary.duration, latency:percentile(50), latency:percentile(99), errors.connect,
        errors.read, errors.write, errors.status, errors.timeout))
end
"#;

/// What to ask.
#[derive(Debug, Clone, Copy)]
pub struct Wrk<'a> {
    /// `http://host:port` or `https://host:port`; certificates are not looked at.
    pub base: &'a str,
    /// What is asked for below it, in turns.
    pub paths: &'a [&'a str],
    /// The value of the header of that name.
    pub authorization: Option<&'a str>,
    /// How many bytes each request posts, where it does.
    pub posted: Option<usize>,
    /// Connections.
    pub connections: u32,
}

/// What it told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that were answered, whatever with.
    pub answers: u32,
    /// How long it asked.
    pub elapsed: Duration,
    /// The median time to an answer.
    pub median: Duration,
    /// The time that one in a hundred takes longer than.
    pub slowest_of_100: Duration,
    /// What failed.
    pub failed: Failed,
}

/// What failed, by how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failed {
    /// Connections that were refused.
    pub connect: u32,
    /// Connections that ended before an answer did.
    pub read: u32,
    /// Requests that could not be sent.
    pub write: u32,
    /// Answers from 400 on.
    pub status: u32,
    /// Answers that took longer than it waits.
    pub timeout: u32,
}

impl Failed {
    /// All of them.
    #[must_use]
    pub fn sum(self) -> u32 {
        self.connect + self.read + self.write + self.status + self.timeout
    }
}

impl Wrk<'_> {
    /// A command that does it for `time`, in whole seconds. Its script is kept in `folder`.
    ///
    /// # Errors
    /// [`io::Error`] where wrk is not installed, or the folder does not take the script.
    pub fn command(&self, folder: &Path, time: Duration) -> io::Result<Command> {
        let absent = |absent: Absent| io::Error::new(io::ErrorKind::NotFound, absent);
        let mut command = Command::new(Tool::Wrk.path().map_err(absent)?);
        let script = folder.join("wrk.lua");
        std::fs::write(&script, self.script())?;
        command.args(["-t", "1", "-c", &self.connections.to_string()]);
        command.args(["-d", &format!("{}s", whole_seconds(time))]);
        command.args(["--timeout", "30s", "-s"]).arg(&script);
        if let Some(authorization) = self.authorization {
            command.args(["-H", &format!("Authorization: {authorization}")]);
        }
        command.arg(format!("{}{}", self.base, self.paths.first().unwrap_or(&"/")));
        Ok(command)
    }

    fn script(&self) -> String {
        let mut script = String::new();
        if let Some(bytes) = self.posted {
            script.push_str(&format!(
                "wrk.method = \"POST\"\n\
                 wrk.headers[\"Content-Type\"] = \"application/octet-stream\"\n\
                 wrk.body = string.rep(\"x\", {bytes})\n"
            ));
        }
        // Without a function of ours it makes the request once and for all.
        if self.paths.len() > 1 {
            script.push_str(&format!(
                "local paths, asked = {{ \"{}\" }}, 0\n\
                 request = function()\n    asked = asked + 1\n    \
                 return wrk.format(nil, paths[asked % #paths + 1])\nend\n",
                self.paths.join("\", \"")
            ));
        }
        script + TELL
    }

    /// Lets it ask until it is told to end. Its files are kept in `folder`.
    ///
    /// # Panics
    /// When it is not installed, or the folder takes no files.
    #[must_use]
    pub fn start(&self, folder: &Path) -> Asking {
        let command = self.command(folder, LONG).expect("wrk is installed, and the folder is ours");
        Asking(Process::start(command, folder, "wrk"))
    }
}

/// A wrk that runs. It ends with its owner.
#[derive(Debug)]
pub struct Asking(Process);

impl Asking {
    /// Ends it; what it has told.
    ///
    /// # Panics
    /// When it has ended before, or tells nothing.
    pub async fn end(mut self) -> Load {
        self.0.signal(Signal::Interrupt);
        self.0.ended().await;
        let told = self.0.stdout();
        Load::told(&told).unwrap_or_else(|| panic!("wrk told: {told} {}", self.0.stderr()))
    }
}

impl Load {
    /// Reads what it told; `None` where that is something else.
    #[must_use]
    pub fn told(told: &str) -> Option<Self> {
        let line = told.lines().find_map(|line| line.strip_prefix("measured "))?;
        let numbers = line.split_whitespace().map(|number| number.parse::<u64>().ok());
        let numbers = numbers.collect::<Option<Vec<_>>>()?;
        let [answers, elapsed, median, slowest, failed @ ..] = &*numbers else { return None };
        let failed = failed.iter().map(|number| u32::try_from(*number).ok());
        let failed = failed.collect::<Option<Vec<_>>>()?;
        let [connect, read, write, status, timeout] = *failed else { return None };
        Some(Self {
            answers: u32::try_from(*answers).ok()?,
            elapsed: Duration::from_micros(*elapsed),
            median: Duration::from_micros(*median),
            slowest_of_100: Duration::from_micros(*slowest),
            failed: Failed { connect, read, write, status, timeout },
        })
    }
}

/// As many whole seconds as hold this time: neither wrk nor h2load takes parts of one.
#[must_use]
pub fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Failed, Load, Wrk, whole_seconds};

    #[test]
    fn what_it_tells_is_read() {
        let told =
            "Running 1s test\n  Requests/sec: 5\n\nmeasured 5000 1000200 310 900 1 2 3 4 5\n";
        let expected = Load {
            answers: 5000,
            elapsed: Duration::from_micros(1_000_200),
            median: Duration::from_micros(310),
            slowest_of_100: Duration::from_micros(900),
            failed: Failed { connect: 1, read: 2, write: 3, status: 4, timeout: 5 },
        };
        assert_eq!(Load::told(told), Some(expected));
        assert_eq!(expected.failed.sum(), 15);
        assert_eq!(Load::told("Running 1s test\n"), None);
        assert_eq!(Load::told("measured 1 2 3 4\n"), None);
    }

    #[test]
    fn paths_are_asked_in_turns_where_there_are_some() {
        let wrk =
            Wrk { base: "", paths: &["/a"], authorization: None, posted: None, connections: 1 };
        assert!(!wrk.script().contains("request = "), "{}", wrk.script());
        let wrk = Wrk { paths: &["/a", "/b"], ..wrk };
        assert!(
            wrk.script().contains("paths, asked = { \"/a\", \"/b\" }, 0\n"),
            "{}",
            wrk.script()
        );
    }

    #[test]
    fn a_part_of_a_second_is_a_whole_one() {
        let seconds = [0.0, 0.5, 1.0, 3.2].map(|it| whole_seconds(Duration::from_secs_f64(it)));
        assert_eq!(seconds, [0, 1, 1, 4]);
    }
}
