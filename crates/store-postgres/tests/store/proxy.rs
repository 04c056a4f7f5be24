//! A proxy in front of PostgreSQL that loses connections when it is told to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// COMMIT as a simple query.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// In a blob whose answer is to be lost.
pub(crate) const BLOB: &[u8] = b"a blob whose answer is lost";

/// What happens to the next COMMIT, or to the next blob of [`BLOB`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It and its answer pass.
    Pass,
    /// It never arrives; the connection is cut.
    LoseQuestion,
    /// It arrives, and the connection is cut instead of its answer.
    LoseAnswer,
    /// It arrives, and the connection is cut before there is an answer.
    CutAfterQuestion,
    /// It arrives, the connection is cut instead of its answer, and nobody gets through again.
    LoseAnswerAndAll,
    /// The blob arrives, and the connection is cut instead of its answer.
    LoseAnswerToBlob,
    /// Nobody gets through.
    LoseAll,
}

/// Listens on loopback, for as long as the process lives.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    fate: Arc<Mutex<Fate>>,
}

impl Proxy {
    /// In front of a port of loopback.
    pub(crate) fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let fate = Arc::new(Mutex::new(Fate::Pass));
        let shared = Arc::clone(&fate);
        begin(move || {
            for client in listener.incoming().flatten() {
                if *shared.lock().unwrap() != Fate::LoseAll {
                    let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                    serve(client, server, &shared);
                }
            }
        });
        Self { port: own, fate }
    }

    pub(crate) fn next_commit(&self, fate: Fate) {
        *self.fate.lock().unwrap() = fate;
    }

    pub(crate) fn fate(&self) -> Fate {
        *self.fate.lock().unwrap()
    }
}

fn serve(client: TcpStream, server: TcpStream, fate: &Arc<Mutex<Fate>>) {
    let questions = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let answers_lost = Arc::new(Mutex::new(false));
    let (fate, lost) = (Arc::clone(fate), Arc::clone(&answers_lost));
    begin(move || {
        pass(questions, |bytes| {
            let is_commit = bytes.windows(COMMIT.len()).any(|window| window == COMMIT);
            let is_blob = bytes.windows(BLOB.len()).any(|window| window == BLOB);
            let mut fate = fate.lock().unwrap();
            let (passing, next) = match *fate {
                Fate::LoseAll => (Passing::No, Fate::LoseAll),
                Fate::LoseQuestion if is_commit => (Passing::No, Fate::Pass),
                Fate::CutAfterQuestion if is_commit => (Passing::Last, Fate::Pass),
                Fate::LoseAnswer if is_commit => (Passing::Yes, Fate::Pass),
                Fate::LoseAnswerAndAll if is_commit => (Passing::Yes, Fate::LoseAll),
                Fate::LoseAnswerToBlob if is_blob => (Passing::Yes, Fate::Pass),
                _ => return Passing::Yes,
            };
            *fate = next;
            *lost.lock().unwrap() = true;
            passing
        });
    });
    let answer = move |_: &[u8]| match *answers_lost.lock().unwrap() {
        true => Passing::No,
        false => Passing::Yes,
    };
    begin(move || pass((server, client), answer));
}

/// Whether bytes pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passing {
    Yes,
    /// These do, and then no more.
    Last,
    No,
}

/// Passes what is read until an end is closed or `passing` ends it; then closes both.
fn pass((mut from, mut to): (TcpStream, TcpStream), passing: impl Fn(&[u8]) -> Passing) {
    let mut buffer = [0; 65536];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let passing = passing(&buffer[..read]);
        if passing == Passing::No || to.write_all(&buffer[..read]).is_err() {
            break;
        }
        if passing == Passing::Last {
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
