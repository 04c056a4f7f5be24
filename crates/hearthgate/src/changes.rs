//! `hearthgate changes`: the trail of what was asked to be changed, read where it lies.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;

use clap::{Args, Subcommand};
use registry::{
    Actor, BegunAnew, How, OpenError, Outcome, TrailError, TrailLine, begin_trail_anew,
    verify_trail,
};

use crate::command::seconds;
use crate::command_socket;
use crate::data_directory::DataDirectory;
use crate::doors::SystemClock;
use crate::lock::{Half, Lock, LockError};

/// How many lines `--newest` lists where nobody says it.
const NEWEST: usize = 100;

/// What is done with the trail.
#[derive(Debug, Subcommand)]
pub enum ChangesCommand {
    /// Every change that was asked for, oldest first, with who asked and what came of it
    List(List),
    /// Say whether the trail is whole; note the hash that it prints elsewhere
    Verify(Verify),
    /// Begin another trail where the one that there was is lost or damaged; its first line says so
    BeginAnew(BeginAnew),
}

/// Why the trail was not read, or none begun.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// It cannot be read, or a line was changed, taken out or put in.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// None can be begun.
    #[error(transparent)]
    Trail(#[from] TrailError),
    /// Somebody else has the registry.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// There is no registry whose trail it could be.
    #[error("there is no registry in {}; name the data directory with --data", .0.display())]
    NoRegistry(std::path::PathBuf),
    /// What was found could not be printed.
    #[error("cannot print")]
    Print(#[source] io::Error),
}

/// `hearthgate changes list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    data: DataDirectory,
    /// Lines with a higher number than this alone
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
    /// So many lines at most; all where it is not said, or 100 with --newest
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// The newest lines, the last one first
    #[arg(long)]
    newest: bool,
}

/// `hearthgate changes verify`.
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    data: DataDirectory,
}

/// `hearthgate changes begin-anew`.
#[derive(Debug, Args)]
pub struct BeginAnew {
    #[command(flatten)]
    data: DataDirectory,
}

impl ChangesCommand {
    /// Carries it out, and prints into `out` while it reads. But for `begin-anew` no running
    /// process is asked, and none is disturbed.
    ///
    /// # Errors
    /// [`ChangesError`] when the trail cannot be read, or a line was changed, taken out or put in;
    /// where another cannot be begun; and when nobody takes what is printed.
    pub fn run(self, out: &mut dyn Write) -> Result<(), ChangesError> {
        match self {
            Self::List(asked) => asked.run(out),
            Self::Verify(Verify { data }) => {
                let report = verify_trail(&data.path.join("registry"), drop)?;
                let mut text = format!("The trail is whole: {} lines.\n", report.lines);
                text.push_str("The last one's SHA-256, to be noted elsewhere: ");
                text.push_str(&report.last);
                text.push('\n');
                if report.torn > 0 {
                    // A String takes every text.
                    let _ = writeln!(
                        text,
                        "After it are {} bytes of a line that is being written, or was when the process ended.",
                        report.torn
                    );
                }
                out.write_all(text.as_bytes()).map_err(ChangesError::Print)
            }
            Self::BeginAnew(BeginAnew { data }) => {
                let dir = data.path.join("registry");
                // Taking the lock makes the directory.
                if !dir.is_dir() {
                    return Err(ChangesError::NoRegistry(data.path));
                }
                let _lock = Lock::take(&data.path, Half::Gateway, "changes begin-anew")?;
                let uid = command_socket::own_uid().map_err(TrailError::Io)?;
                let (by, clock) = (Actor::local_user(uid), Arc::new(SystemClock::start()));
                let BegunAnew { lines, aside } = begin_trail_anew(&dir, &by, clock)?;
                let mut text = "Another trail is begun, and its first line says so.\n".to_owned();
                if let Some(lines) = lines {
                    let _ = writeln!(text, "The one before had {lines} lines, as far as is known.");
                }
                if let Some(aside) = aside {
                    let _ = writeln!(text, "What was there of it: {}", aside.display());
                }
                out.write_all(text.as_bytes()).map_err(ChangesError::Print)
            }
        }
    }
}

impl List {
    /// Prints each line while it is read; of the newest no more than are asked for are kept.
    fn run(self, out: &mut dyn Write) -> Result<(), ChangesError> {
        let Self { data, after, limit, newest } = self;
        let limit = limit.unwrap_or(if newest { NEWEST } else { usize::MAX });
        let mut kept: VecDeque<TrailLine> = VecDeque::new();
        let mut printed: Result<usize, io::Error> = Ok(0);
        verify_trail(&data.path.join("registry"), |line| {
            if line.number <= after || limit == 0 {
                return;
            }
            if newest {
                if kept.len() >= limit {
                    kept.pop_front();
                }
                kept.push_back(line);
            } else if let Ok(count) = &printed
                && *count < limit
            {
                printed = out.write_all(in_words(&line).as_bytes()).map(|()| count + 1);
            }
        })?;
        printed.map_err(ChangesError::Print)?;
        for line in kept.iter().rev() {
            out.write_all(in_words(line).as_bytes()).map_err(ChangesError::Print)?;
        }
        Ok(())
    }
}

fn in_words(line: &TrailLine) -> String {
    let mut text = format!("{} {} {}", line.number, seconds(&line.at), line.by);
    if let Some(from) = &line.from {
        let _ = write!(text, " from {from}");
    }
    let how = match line.how {
        How::Api => "API",
        How::Command => "command",
        How::Signal => "signal",
    };
    let _ = write!(text, " ({how}): {}", line.operation);
    if !line.object.is_empty() {
        let _ = write!(text, " {}", plain(&line.object));
    }
    let outcome = match line.outcome {
        Outcome::Begun => "begun",
        Outcome::Done => "done",
        Outcome::Refused => "refused",
    };
    let _ = write!(text, ": {outcome}");
    if let Some(of) = line.of {
        let _ = write!(text, " (of {of})");
    }
    if let Some(status) = line.status {
        let _ = write!(text, " {status}");
    }
    if !line.why.is_empty() {
        let _ = write!(text, ", {}", plain(&line.why));
    }
    text.push('\n');
    text
}

/// What an asker chose must not look like a line of its own.
fn plain(text: &str) -> String {
    let shown =
        |one: char| if one.is_control() { one.escape_default().collect() } else { one.to_string() };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // GW-063
    #[test]
    fn a_line_of_the_trail_is_one_line_whatever_was_asked() {
        let line = TrailLine {
            number: 7,
            at: "2026-01-01T00:00:00.5Z".to_owned(),
            of: Some(6),
            by: "operator anna".to_owned(),
            from: Some("127.0.0.1".to_owned()),
            how: How::Api,
            operation: "keys.revoke".to_owned(),
            object: "key x\n8 2026".to_owned(),
            outcome: Outcome::Refused,
            status: Some(404),
            why: "it's none".to_owned(),
            more: None,
            previous: String::new(),
        };
        let expected = "7 2026-01-01T00:00:00Z operator anna from 127.0.0.1 (API): keys.revoke key \
                        x\\n8 2026: refused (of 6) 404, it's none\n";
        assert_eq!(in_words(&line), expected);
    }
}
