//! `hearthgate changes`: the trail of what was asked to be changed, read where it lies.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use registry::{How, OpenError, Outcome, TrailLine, verify_trail};

use crate::command::seconds;
use crate::data_directory::DataDirectory;

/// What is done with the trail.
#[derive(Debug, Subcommand)]
pub enum ChangesCommand {
    /// Every change that was asked for, oldest first, with who asked and what came of it
    List(List),
    /// Say whether the trail is whole; note the hash that it prints elsewhere
    Verify(Verify),
}

/// `hearthgate changes list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    data: DataDirectory,
    /// Lines with a higher number than this alone
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
}

/// `hearthgate changes verify`.
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    data: DataDirectory,
}

impl ChangesCommand {
    /// Carries it out, and says what to print. No running process is asked, and none is disturbed.
    ///
    /// # Errors
    /// [`OpenError`] when the trail cannot be read, or a line was changed, taken out or put in.
    pub fn run(self) -> Result<String, OpenError> {
        match self {
            Self::List(List { data, after }) => {
                let mut text = String::new();
                verify_trail(&data.path.join("registry"), |line| {
                    if line.number > after {
                        text.push_str(&in_words(&line));
                    }
                })?;
                Ok(text)
            }
            Self::Verify(Verify { data }) => {
                let report = verify_trail(&data.path.join("registry"), drop)?;
                let mut text = format!(
                    "The trail is whole: {} lines.\nThe last one's SHA-256, to be noted elsewhere: {}\n",
                    report.lines, report.last
                );
                if report.torn > 0 {
                    // A String takes every text.
                    let _ = writeln!(
                        text,
                        "After it are {} bytes of a line that is being written, or was when the process ended.",
                        report.torn
                    );
                }
                Ok(text)
            }
        }
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
            previous: String::new(),
        };
        let expected = "7 2026-01-01T00:00:00Z operator anna from 127.0.0.1 (API): keys.revoke key \
                        x\\n8 2026: refused (of 6) 404, it's none\n";
        assert_eq!(in_words(&line), expected);
    }
}
