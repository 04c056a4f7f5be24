//! Redis or Valkey for the black-box tests: a server of a test's own, on loopback, in memory.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{Process, Signal};
use crate::site::free_address;
use crate::test_data::say;

/// Set where the tests must not be skipped.
const REQUIRED: &str = "HEARTHGATE_REQUIRE_REDIS";
/// What may be installed, in the order of preference.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// A server. It ends with its owner.
#[derive(Debug)]
pub struct Redis {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    starts: u32,
    process: Option<Process>,
}

impl Redis {
    /// One that answers, with its files in `folder`; `None`, said, where neither Redis nor Valkey
    /// is installed and none need be.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(folder: &Path) -> Option<Self> {
        let found = PROGRAMS.iter().find_map(|program| {
            let places = ["/usr/bin", "/usr/local/bin", "/usr/sbin"];
            places.iter().map(|place| Path::new(place).join(program)).find(|path| path.exists())
        });
        let Some(program) = found else {
            #[expect(clippy::disallowed_methods, reason = "it says whether tests may be skipped")]
            let required = std::env::var_os(REQUIRED).is_some();
            assert!(!required, "neither Redis nor Valkey is installed, and {REQUIRED} is set");
            say("skipped: there is neither redis-server nor valkey-server (package redis-server)");
            return None;
        };
        let (folder, port) = (folder.to_owned(), free_address().port());
        let mut redis = Self { program, folder, port, starts: 0, process: None };
        redis.start_again();
        Some(redis)
    }

    /// Where it is, as the configuration names it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Starts it with nothing in it.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn start_again(&mut self) {
        self.starts += 1;
        let mut command = Command::new(&self.program);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no"]).arg("--dir").arg(&self.folder);
        let name = format!("redis-{}", self.starts);
        self.process = Some(Process::start(command, &self.folder, &name));
        let answers = || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        let pause = || {
            std::thread::sleep(Duration::from_millis(10));
            false
        };
        assert!((0..2000).any(|_| answers() || pause()), "Redis does not answer");
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal(Signal::Kill);
        process.ended().await;
    }
}
