//! A proxy in front of PostgreSQL that loses the answer to a change.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What stands in a change whose answer is to be lost.
pub(crate) const MARK: &str = "a change whose answer is lost";

/// What happens to the next such change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It and its answer pass.
    Pass,
    /// It never arrives; the connection is cut.
    LoseQuestion,
    /// It arrives, and the connection is cut instead of its answer.
    LoseAnswer,
    /// The same, and nobody gets through again.
    LoseAnswerAndAll,
    /// Nobody gets through.
    LoseAll,
}

/// Listens on loopback, for as long as the process lives.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    fate: Arc<Mutex<Fate>>,
    answered: Arc<AtomicU64>,
}

impl Proxy {
    /// In front of a port of loopback.
    pub(crate) fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let fate = Arc::new(Mutex::new(Fate::Pass));
        let answered = Arc::new(AtomicU64::new(0));
        let (shared, count) = (Arc::clone(&fate), Arc::clone(&answered));
        begin(move || {
            for client in listener.incoming().flatten() {
                if *shared.lock().unwrap() != Fate::LoseAll {
                    let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                    serve(&client, &server, &shared, &count);
                }
            }
        });
        Self { port: own, fate, answered }
    }

    pub(crate) fn set(&self, fate: Fate) {
        *self.fate.lock().unwrap() = fate;
    }

    /// How many bytes PostgreSQL has answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn fate(&self) -> Fate {
        *self.fate.lock().unwrap()
    }
}

fn serve(
    client: &TcpStream,
    server: &TcpStream,
    fate: &Arc<Mutex<Fate>>,
    answered: &Arc<AtomicU64>,
) {
    let twice = |stream: &TcpStream| stream.try_clone().unwrap();
    let (questions, answers) = ((twice(client), twice(server)), (twice(server), twice(client)));
    let is_lost = Arc::new(AtomicBool::new(false));
    let (fate, lost) = (Arc::clone(fate), Arc::clone(&is_lost));
    begin(move || {
        pass(questions, |bytes| {
            let is_marked = bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes());
            let mut fate = fate.lock().unwrap();
            let (passes, next) = match *fate {
                Fate::LoseAll => (false, Fate::LoseAll),
                Fate::LoseQuestion if is_marked => (false, Fate::Pass),
                Fate::LoseAnswer if is_marked => (true, Fate::Pass),
                Fate::LoseAnswerAndAll if is_marked => (true, Fate::LoseAll),
                _ => return true,
            };
            *fate = next;
            lost.store(true, Ordering::Release);
            passes
        });
    });
    let answered = Arc::clone(answered);
    begin(move || {
        pass(answers, |bytes| {
            answered.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            !is_lost.load(Ordering::Acquire)
        });
    });
}

/// Passes what is read until an end is closed or `passes` ends it; then closes both.
fn pass((mut from, mut to): (TcpStream, TcpStream), passes: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 65536];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !passes(&buffer[..read]) || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        // The other direction may have closed it.
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// On a thread that ends with its connection.
fn begin(what: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("proxy".to_owned()).spawn(what).unwrap();
}
