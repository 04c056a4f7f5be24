//! An authority of a test's own that speaks ACME: `pebble`, on loopback, with names that all lead
//! there. The tests of other crates take this file by its path.

#![allow(dead_code, reason = "not every test uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Set where the tests must not be skipped.
const REQUIRED: &str = "HEARTHGATE_REQUIRE_PEBBLE";
const PLACES: [&str; 2] = ["/usr/bin/pebble", "/usr/local/bin/pebble"];

/// Why tests are skipped where there is none.
pub(crate) const ABSENT: &str = "there is no pebble (package pebble)";

/// A running authority. It ends with its owner.
#[derive(Debug)]
pub(crate) struct AcmeServer {
    /// Its directory.
    pub(crate) directory: String,
    /// What its own TLS is believed by.
    pub(crate) authority_file: PathBuf,
    process: Option<Child>,
    names: Names,
}

/// A port of loopback that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl AcmeServer {
    /// One that looks for proofs at these ports, by HTTP and by TLS, with its files in `folder`;
    /// `None` where it is not installed and need not be.
    pub(crate) fn begin(folder: &Path, http_port: u16, tls_port: u16) -> Option<Self> {
        let Some(program) = PLACES.into_iter().find(|path| Path::new(path).exists()) else {
            #[expect(clippy::disallowed_methods, reason = "it says whether tests may be skipped")]
            let required = std::env::var_os(REQUIRED).is_some();
            assert!(!required, "{ABSENT}, and {REQUIRED} is set");
            return None;
        };
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let (certificate, key) = (folder.join("pebble.pem"), folder.join("pebble.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let (port, management) = (free_port(), free_port());
        let config = serde_json::json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": certificate, "privateKey": key,
            "httpPort": http_port, "tlsPort": tls_port,
            "ocspResponderURL": "", "externalAccountBindingRequired": false,
        }});
        let path = folder.join("pebble.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let names = Names::begin();
        let mut command = Command::new(program);
        command.arg("-config").arg(&path).args(["-dnsserver", &names.address]);
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Some(command.spawn().unwrap());
        let answers = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!((0..2000).any(|_| answers() || pause()), "pebble does not answer");
        let directory = format!("https://127.0.0.1:{port}/dir");
        Some(Self { directory, authority_file: certificate, process, names })
    }

    /// Ends it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // One that ended already is all right.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for AcmeServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pause() -> bool {
    std::thread::sleep(Duration::from_millis(10));
    false
}

/// Answers every question for an address with 127.0.0.1 (RFC 1035), and every other with nothing.
#[derive(Debug)]
struct Names {
    address: String,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Names {
    fn begin() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let ends = Arc::new(AtomicBool::new(false));
        let until = ends.clone();
        let named = std::thread::Builder::new().name("names of a test".to_owned());
        let thread = named.spawn(move || {
            let mut read = [0; 512];
            while !until.load(Ordering::Acquire) {
                if let Ok((length, asking)) = socket.recv_from(&mut read)
                    && let Some(answer) = answer(&read[..length])
                {
                    let _ = socket.send_to(&answer, asking);
                }
            }
        });
        let thread = thread.unwrap();
        Self { address, ends, thread: Some(thread) }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let name = question.get(12..)?.iter().position(|byte| *byte == 0)?;
    let end = 12 + name + 5;
    let asked = question.get(12 + name + 1..end)?;
    let is_address = asked == [0, 1, 0, 1];
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(&question[12..end]);
    if is_address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}
