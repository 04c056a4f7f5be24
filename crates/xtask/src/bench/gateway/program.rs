//! A program of others, or the product's binary, that runs as long as its owner and no longer.
//!
//! A shell stands between: it tells the program to end when its own standard input does, also
//! where this process was killed.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::bench::{Failure, tree};

/// Starts the program, says its id, and ends it with the standard input: in order, and after ten
/// seconds in any way.
const WATCH: &str = r#"
trap '' INT
out=$1 err=$2
shift 2
"$@" </dev/null >"$out" 2>"$err" &
program=$!
echo "$program"
read -r _
kill -TERM "$program" 2>/dev/null
tenths=0
while kill -0 "$program" 2>/dev/null && [ "$tenths" -lt 100 ]; do
    sleep 0.1
    tenths=$((tenths + 1))
done
kill -KILL "$program" 2>/dev/null
wait "$program"
"#;
/// How often it is looked whether a program listens, and between two looks.
const LOOKS: u32 = 1_000;
const PAUSE: Duration = Duration::from_millis(10);

/// A program that runs; it ends when this is dropped.
pub(crate) struct Program {
    shell: Child,
    id: u32,
    errors: PathBuf,
}

impl Program {
    /// Starts it; what it writes goes to files in `directory` that begin with `name`.
    pub(crate) fn start(directory: &Path, name: &str, command: &Command) -> Result<Self, Failure> {
        let errors = directory.join(format!("{name}.err"));
        let mut shell = Command::new("sh");
        shell.args(["-c", WATCH, "sh"]).arg(directory.join(format!("{name}.out"))).arg(&errors);
        shell.arg(command.get_program()).args(command.get_args()).current_dir(directory);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = shell.stdout.take().ok_or("the shell has no standard output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let id = line.trim().parse()?;
        Ok(Self { shell, id, errors })
    }

    /// Waits until something listens there.
    pub(crate) fn listens(&self, address: SocketAddr) -> Result<(), Failure> {
        for _ in 0..LOOKS {
            if TcpStream::connect(address).is_ok() {
                return Ok(());
            }
            if !tree::runs(self.id) {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        let said = std::fs::read_to_string(&self.errors)?;
        let name = self.errors.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Err(format!("{name} does not listen on {address}; it said: {}", said.trim()).into())
    }

    /// Waits until it has written a line to this file, and gives the line.
    pub(crate) fn line_in(&self, path: &Path) -> Result<String, Failure> {
        for _ in 0..LOOKS {
            // A file that is not there yet, or has half of the line.
            if let Ok(text) = std::fs::read_to_string(path)
                && let Some((line, _)) = text.split_once('\n')
            {
                return Ok(line.to_owned());
            }
            if !tree::runs(self.id) {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        let said = std::fs::read_to_string(&self.errors)?;
        Err(format!("nothing was written to {}; it said: {}", path.display(), said.trim()).into())
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // It has nothing more to tell, and its owner nothing to do about how it ends.
        drop(self.shell.wait());
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use integration_tests::site::free_address;

    use super::{Program, tree};

    #[test]
    fn a_program_ends_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("600");
        let program = Program::start(folder.path(), "sleeper", &command).unwrap();
        let id = program.id();
        assert!(tree::runs(id));
        drop(program);
        assert!(!tree::runs(id));
    }

    #[test]
    fn a_program_that_ends_at_once_is_told_with_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'no such route' >&2"]);
        let program = Program::start(folder.path(), "proxy", &command).unwrap();
        let error = program.listens(free_address()).unwrap_err().to_string();
        assert!(error.contains("proxy does not listen"), "{error}");
        assert!(error.contains("no such route"), "{error}");
    }

    #[test]
    fn a_line_that_comes_late_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 0.1; printf ke >key; sleep 0.1; echo y >>key; sleep 600"]);
        let program = Program::start(folder.path(), "late", &command).unwrap();
        assert_eq!(program.line_in(&path).unwrap(), "key");
        let absent = Program::start(folder.path(), "absent", &Command::new("true")).unwrap();
        let error = absent.line_in(&folder.path().join("other")).unwrap_err().to_string();
        assert!(error.contains("other"), "{error}");
    }
}
