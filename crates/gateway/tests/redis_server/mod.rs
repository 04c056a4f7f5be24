//! A Redis or Valkey of a test's own, on loopback and in memory. The tests of other crates take
//! this file by its path.

#![allow(dead_code, reason = "not every test uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Set where the tests must not be skipped.
const REQUIRED: &str = "HEARTHGATE_REQUIRE_REDIS";
/// What may be installed, in the order of preference.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
const PLACES: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/usr/sbin"];

/// Why tests are skipped where there is none.
pub(crate) const ABSENT: &str = "there is no redis-server or valkey-server (package redis-server)";

/// A running server. It ends with its owner.
#[derive(Debug)]
pub(crate) struct RedisServer {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl RedisServer {
    /// One that answers, with its files in `folder`; `None` where neither is installed and none
    /// need be.
    pub(crate) fn begin(folder: &Path) -> Option<Self> {
        let all = PROGRAMS.iter().flat_map(|program| PLACES.map(|at| Path::new(at).join(program)));
        let Some(program) = all.into_iter().find(|path| path.exists()) else {
            #[expect(clippy::disallowed_methods, reason = "it says whether tests may be skipped")]
            let required = std::env::var_os(REQUIRED).is_some();
            assert!(!required, "{ABSENT}, and {REQUIRED} is set");
            return None;
        };
        // Free now; what takes it in between would be seen as a server that does not begin.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { program, folder: folder.to_owned(), port, process: None };
        server.begin_again();
        Some(server)
    }

    /// Where it is, as the configuration names it.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Starts it with nothing in it.
    pub(crate) fn begin_again(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no"]).arg("--dir").arg(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        let answers = || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        assert!((0..2000).any(|_| answers() || pause()), "Redis does not answer");
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // One that ended already is all right.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn pause() -> bool {
    std::thread::sleep(Duration::from_millis(10));
    false
}
