//! A child process: what it writes goes to files, and it never outlives its owner.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::waiting::{SOON, until};

/// A running child.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// What a process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// What service managers send.
    Terminate,
    /// To read its configuration again.
    Hangup,
    /// Nothing that it could answer to.
    Kill,
}

impl Process {
    /// Starts `command`; its outputs go to files in `folder` that begin with `name`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: Command, folder: &Path, name: &str) -> Self {
        Self::start_on(Stdio::null(), command, folder, name)
    }

    /// The same with something to read from.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_on(stdin: Stdio, mut command: Command, folder: &Path, name: &str) -> Self {
        let (stdout, stderr) =
            (folder.join(format!("{name}.out")), folder.join(format!("{name}.err")));
        let create = |path: &Path| File::create(path).expect("the test's folder takes files");
        let child = command.stdin(stdin).stdout(create(&stdout)).stderr(create(&stderr)).spawn();
        let child = child.expect("the program can be started");
        Self { child, stdout, stderr }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it wrote to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// All that it wrote to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Tells it something.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Interrupt => "INT",
            Signal::Terminate => "TERM",
            Signal::Hangup => "HUP",
            Signal::Kill => "KILL",
        };
        let script = format!("kill -{name} {}", self.id());
        let status = Command::new("sh").args(["-c", &script]).status();
        assert!(status.is_ok_and(|status| status.success()), "{script}");
    }

    /// How it ended, if it did.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn end_so_far(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked for")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on.
    pub async fn ended(&mut self) -> ExitStatus {
        until("the process ends", SOON, async || {
            self.end_so_far().ok_or_else(|| format!("it runs; stderr: {}", self.stderr()))
        })
        .await
    }

    /// The most memory it ever had resident, in bytes.
    ///
    /// # Panics
    /// When the system does not say.
    #[must_use]
    pub fn most_resident(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The memory it has resident now, in bytes.
    ///
    /// # Panics
    /// When the system does not say.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Whether the system may give it huge pages of memory; `None` where it knows none.
    ///
    /// # Panics
    /// When the system says nothing of it.
    #[must_use]
    pub fn may_have_huge_pages(&self) -> Option<bool> {
        self.status("THP_enabled:").map(|it| it.trim() == "1")
    }

    /// What the system says of it.
    fn status(&self, what: &str) -> Option<String> {
        let status = read(&PathBuf::from(format!("/proc/{}/status", self.id())));
        status.lines().find_map(|line| line.strip_prefix(what)).map(str::to_owned)
    }

    fn memory(&self, what: &str) -> u64 {
        let line = self.status(what);
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kibibytes.expect("the system says so of a running process") << 10
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that ended already is all right.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).expect("what a child writes can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}
