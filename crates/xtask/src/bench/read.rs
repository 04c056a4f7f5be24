//! Reads of one Patient over a Unix socket: the server against a bare handler.

use std::path::Path;

use super::child::Child;
use super::directory::Directory;
use super::figures::{print, ratio, table, verdict};
use super::http::{Address, Requests, ask};
use super::patient::{NUMBER, patient};
use super::product::{Caller, server_socket};
use super::turns::{self, Turn};
use super::{Failure, Rounds};

const CONNECTIONS: usize = 32;
const PATIENTS: usize = 256;
const WANTED: f64 = 0.6;

pub(crate) fn run(rounds: Rounds) -> Result<(), Failure> {
    let directory = Directory::new("read")?;
    let server = Child::Server { directory: directory.path().to_owned() }.start()?;
    let (requests, answer) = fill(directory.path())?;
    let file = directory.path().join("answer");
    std::fs::write(&file, &answer)?;
    let socket = directory.path().join("bare.sock");
    let bare = Child::BareReader { socket: socket.clone(), answer: file }.start()?;
    let turn = |name, process, address| Turn {
        name,
        process,
        address,
        requests: requests.clone(),
        expected: "HTTP/1.1 200",
    };
    let turns = [
        turn("bare axum handler", &bare, Address::Unix(socket)),
        turn("server", &server, Address::Unix(server_socket(directory.path()))),
    ];
    let [bare, server] = turns::take(&turns, CONNECTIONS, rounds)?;
    let title = format!(
        "GET of a Patient of {} bytes over a Unix socket, {CONNECTIONS} connections",
        answer.len()
    );
    let found = ratio(&server, &bare);
    print(&table(&title, &[&bare, &server]))?;
    print(&verdict("server / bare handler", found, found >= WANTED, &format!(">= {WANTED}")))?;
    Ok(())
}

/// How many requests [`fill`] makes: each patient is put and read once.
pub(super) const FILLING: usize = 2 * PATIENTS;

/// Puts patients; returns the requests that read them, and the body of an answer.
pub(super) fn fill(directory: &Path) -> Result<(Requests, Vec<u8>), Failure> {
    let caller = Caller::of(directory)?;
    let socket = server_socket(directory);
    let mut requests = Vec::with_capacity(PATIENTS);
    let mut answer = Vec::new();
    for number in 0..PATIENTS {
        let path = format!("Patient/p{number}");
        let body = patient().replace(NUMBER, &format!("{number:010}"));
        let body = body.replacen('{', &format!("{{\"id\":\"p{number}\","), 1);
        let put = caller.request("PUT", &path, "", &body)?;
        let (head, _) = ask(&socket, &put)?;
        if !head.starts_with("HTTP/1.1 201") {
            return Err(format!("a patient was not put: {head}").into());
        }
        let get = caller.request("GET", &path, "", "")?;
        (_, answer) = ask(&socket, &get)?;
        requests.push(get);
    }
    Ok((Requests::Repeated(requests.into()), answer))
}
