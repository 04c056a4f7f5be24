//! A directory that is filled through REST with copies of Synthea's transactions.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fhir_core::Clock as _;
use hearthgate::doors::SystemClock;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinSet;

use crate::bench::Failure;
use crate::bench::child::{Child, Process};
use crate::bench::copies::Copies;
use crate::bench::figures::print;
use crate::bench::http::{Address, Connection, Requests};
use crate::bench::product::{Caller, server_socket};

/// Transactions on their way at once.
const AT_ONCE: usize = 8;
/// Says how many resources a directory was filled with, once it was.
const COUNT: &str = "resources";

/// What is in a directory.
pub(super) struct Filled {
    pub(super) resources: u64,
}

/// Fills a directory, unless that was done before.
pub(super) fn fill(path: &Path, resources: u64, seed: u64) -> Result<Filled, Failure> {
    let counted = path.join(COUNT);
    if let Ok(count) = std::fs::read_to_string(&counted) {
        return Ok(Filled { resources: count.trim().parse()? });
    }
    make(path)?;
    let copies = Copies::of_test_data(seed)?.ok_or("there is no test data to copy")?;
    let server = Child::Server { directory: path.to_owned() }.start()?;
    let sent = send(path, copies, resources)?;
    print(&format!(
        "filled by {} transactions, {AT_ONCE} at once: {} resources in {:.1} s, {:.0} resources/s\n",
        sent.transactions,
        sent.resources,
        sent.took.as_secs_f64(),
        sent.resources as f64 / sent.took.as_secs_f64()
    ))?;
    wait_until_idle(&server)?;
    let (resident, most) = server.memory()?;
    print(&format!("  megabytes resident {resident:.0}, at most {most:.0}\n"))?;
    drop(server);
    std::fs::write(counted, sent.resources.to_string())?;
    Ok(Filled { resources: sent.resources })
}

/// Sockets are made in a directory of their owner's alone.
fn make(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    Ok(std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?)
}

/// What was sent.
pub(in crate::bench) struct Sent {
    pub(in crate::bench) transactions: u64,
    pub(in crate::bench) resources: u64,
    pub(in crate::bench) took: Duration,
}

/// Sends copies as transactions until there are so many resources; all are answered then.
pub(in crate::bench) fn send(path: &Path, copies: Copies, resources: u64) -> Result<Sent, Failure> {
    let caller = Caller::of(path)?;
    let (ready, next) = channel::<Vec<u8>>(AT_ONCE);
    let clock = SystemClock::start();
    let begun = clock.monotonic();
    // What is sent is written by a thread of its own, so that those who ask never wait for it long.
    let writing = std::thread::Builder::new().name("copies".to_owned()).spawn(move || {
        let (mut transactions, mut written) = (0, 0);
        for copy in copies.until(resources) {
            let minimal = "prefer: return=minimal\r\n";
            let request = caller.request("POST", "", minimal, &copy.transaction())?;
            if ready.blocking_send(request).is_err() {
                break;
            }
            transactions += 1;
            written += copy.len();
        }
        Ok::<_, Failure>((transactions, written))
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answered = runtime.block_on(answers(path, next));
    let (transactions, resources) =
        writing.join().map_err(|_| "whoever writes copies panicked")??;
    answered?;
    Ok(Sent { transactions, resources, took: clock.monotonic() - begun })
}

async fn answers(path: &Path, next: Receiver<Vec<u8>>) -> Result<(), Failure> {
    let address = Address::Unix(server_socket(path));
    let nothing = Requests::Repeated(Arc::new([]));
    let open = Connection::open_all(AT_ONCE, &address, &nothing, "HTTP/1.1 200").await?;
    let next = Arc::new(Mutex::new(next));
    let mut senders = JoinSet::new();
    for mut connection in open {
        let next = Arc::clone(&next);
        senders.spawn(async move {
            loop {
                let request = next.lock().await.recv().await;
                let Some(request) = request else { return Ok::<_, Failure>(()) };
                connection.ask(&request).await?;
            }
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent??;
    }
    Ok(())
}

/// Waits until a process has little to do any more.
pub(super) fn wait_until_idle(process: &Process) -> Result<(), Failure> {
    for _ in 0..300 {
        let before = process.cpu()?;
        std::thread::sleep(Duration::from_secs(1));
        if process.cpu()? - before <= Duration::from_millis(20) {
            return Ok(());
        }
    }
    Err("the server does not come to rest".into())
}
