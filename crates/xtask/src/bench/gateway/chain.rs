//! Reads of one Patient through a proxy over TCP, before the same stub of a server: the
//! gateway's whole chain against a bare proxy of the same kind.

use std::sync::Arc;

use crate::bench::child::Child;
use crate::bench::directory::Directory;
use crate::bench::figures::{print, ratio, table, verdict};
use crate::bench::http::{Address, Requests};
use crate::bench::patient::patient;
use crate::bench::product::{BASE, server_socket};
use crate::bench::turns::{self, Turn};
use crate::bench::{Failure, Rounds};

const CONNECTIONS: usize = 32;
/// The whole chain may take 36 where a bare proxy takes 26.
const WANTED: f64 = 36.0 / 26.0;

pub(crate) fn run(rounds: Rounds) -> Result<(), Failure> {
    let directory = Directory::new("gateway")?;
    let path = directory.path();
    let answer = path.join("answer");
    std::fs::write(&answer, patient())?;
    let stub = Child::Stub { directory: path.to_owned(), answer }.start()?;
    let bare = Child::BareProxy { upstream: server_socket(path) }.start()?;
    let gateway = Child::Gateway { directory: path.to_owned() }.start()?;
    let (listen, key) = gateway.told().split_once(' ').ok_or("the gateway did not tell its key")?;
    let request = format!(
        "GET {BASE}/Patient/p1 HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/fhir+json\r\n\
         authorization: Bearer {key}\r\n\r\n"
    );
    let requests = Requests::Repeated(Arc::new([request.into_bytes()]));
    let turn = |name, process, address| Turn {
        name,
        process,
        address,
        requests: requests.clone(),
        expected: "HTTP/1.1 200",
    };
    let turns = [
        turn("the stub itself, without a proxy", &stub, Address::Unix(server_socket(path))),
        turn("bare pingora proxy", &bare, Address::Tcp(bare.told().parse()?)),
        turn("gateway", &gateway, Address::Tcp(listen.parse()?)),
    ];
    let [direct, bare, gateway] = turns::take(&turns, CONNECTIONS, rounds)?;
    let title = format!(
        "GET of {} bytes through a proxy, {CONNECTIONS} connections; CPU of the proxy alone",
        patient().len()
    );
    print(&table(&title, &[&direct, &bare, &gateway]))?;
    let (Some(ours), Some(theirs)) = (gateway.cpu_micros(), bare.cpu_micros()) else {
        return Err("no processor time was read".into());
    };
    let found = ours / theirs;
    let wanted = format!("<= {WANTED:.2}");
    print(&verdict("CPU of gateway / bare proxy", found, found <= WANTED, &wanted))?;
    print(&format!("  rate of gateway / bare proxy: {:.2}\n", ratio(&gateway, &bare)))?;
    Ok(())
}
