//! `hearthgate import`: sends files of FHIR resources to a server, over HTTP like any client.
//!
//! Bundles of type transaction and batch are posted as they are, to the byte; entries of
//! collections and search results, and single resources, are PUT under their id, or POSTed where
//! they have none; any other Bundle is a resource like others. Files are read as a stream and
//! nothing is parsed further than to its type and id, so that what is sent is what was read.
//! What was sent and not answered is never sent twice unless doing it twice is the same. Each POST
//! has a name (`named`), so that a whole import may be done again.

mod answer;
mod document;
mod inputs;
mod locations;
mod named;
mod reading;
mod sending;
mod tally;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use contract::{Clock, Ids as _, Redacted};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::doors::{NoRandomness, SystemClock, SystemIds};
use crate::progress::Progress;
use document::Shipment;
use inputs::Inputs;
use locations::Locations;
use named::Names;
use reading::Read;
use sending::{Arrived, Sender};
use tally::Tally;

/// What to send, where and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Import {
    /// Files or folders: Bundles, single resources (.json) or one of either a line (.ndjson), each
    /// also as .zst; one argument after the other, within one in parallel
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The FHIR base to send to
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/fhir")]
    pub url: String,
    /// The file that holds the API key
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Requests at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub in_flight: u16,
    /// How long to try again when the server is away or busy
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub retry_seconds: u32,
    /// Do also what an import of the same files within 7 days did
    #[arg(long)]
    pub anew: bool,
    /// Write counts and failures to FILE, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write where each resource is to FILE, one line of JSON each
    #[arg(long, value_name = "FILE")]
    pub locations: Option<PathBuf>,
}

/// Bytes of documents read and not yet answered, in KiB: what an import holds in memory.
const KIBIBYTES_IN_FLIGHT: u32 = 256 << 10;

/// Why an import could not begin, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An input or the key file.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Nothing in the inputs looks like FHIR.
    #[error("there is no .json, .ndjson or .zst file in {}; name one, or another folder", path.display())]
    Nothing {
        /// The folder.
        path: PathBuf,
    },
    /// The key file has no key in it.
    #[error("{} holds no key; it should hold one line, as `keys create --print-key` prints it", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The URL is none to send to.
    #[error(
        "{url} is no FHIR base; name one like http://127.0.0.1:8080/fhir (this program speaks no TLS: import on the server's machine, or through a tunnel)"
    )]
    Url {
        /// The URL without what may be secret in it.
        url: String,
    },
    /// The HTTP client.
    #[error("cannot make the HTTP client")]
    Client(#[source] reqwest::Error),
    /// The report.
    #[error("cannot write {}", path.display())]
    Report {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The system gives no random bytes.
    #[error(transparent)]
    Random(NoRandomness),
    /// The reading thread.
    #[error("cannot start reading")]
    Thread(#[source] io::Error),
    /// The answer could not be printed.
    #[error("cannot print")]
    Print(#[source] io::Error),
    /// It ended before everything was sent.
    #[error("{0}")]
    Stopped(String),
}

impl Import {
    /// Sends everything, prints the counts, and says whether nothing failed.
    ///
    /// # Errors
    /// [`ImportError`] when it could not begin, or ended early; what was done by then is printed
    /// and reported all the same.
    pub async fn run(&self) -> Result<bool, ImportError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let inputs = Inputs::find(&self.paths)?;
        let key = self.key_file.as_deref().map(read_key).transpose()?;
        let report = self.report.as_deref().map(create).transpose()?;
        let (locations_path, locations) =
            self.locations.as_deref().map(create).transpose()?.unzip();
        let mut locations = Locations::to(locations);
        let (stop, stopped) = watch::channel(false);
        let patience = Duration::from_secs(u64::from(self.retry_seconds));
        let names = if self.anew {
            let ids = SystemIds::open().map_err(ImportError::Random)?;
            Names::Anew(ids.next().to_be_bytes())
        } else {
            Names::Lasting
        };
        let sender = Sender::new((&self.url, names), key, patience, clock.clone(), stopped)?;
        let progress = Progress::show(inputs.bytes(), clock.clone());
        let mut tally = Tally::new(inputs.skipped());

        let began = clock.monotonic();
        let ended = self.send(inputs, sender, &progress, &mut tally, &mut locations, stop).await?;
        tally.took(clock.monotonic().saturating_sub(began));
        progress.clear();
        let unwritten = |source| {
            let path = locations_path.unwrap_or_default();
            ImportError::Report { path, source }
        };
        let located = locations.finish().map_err(unwritten);

        if let Some((path, file)) = report {
            let failed = |source| ImportError::Report { path, source };
            tally.write_report(file, ended.as_deref()).map_err(failed)?;
        }
        let text = tally.text();
        let mut stdout = io::stdout();
        stdout.write_all(text.as_bytes()).map_err(ImportError::Print)?;
        stdout.flush().map_err(ImportError::Print)?;
        match ended {
            Some(why) => Err(ImportError::Stopped(why)),
            None => located.map(|()| tally.is_complete()),
        }
    }

    /// Reads in a thread, sends several at a time; why it ended early, if it did.
    async fn send(
        &self,
        inputs: Inputs,
        sender: Sender,
        progress: &Progress,
        tally: &mut Tally,
        locations: &mut Locations,
        stop: watch::Sender<bool>,
    ) -> Result<Option<String>, ImportError> {
        let in_flight = usize::from(self.in_flight);
        let (send, mut receive) = mpsc::channel(in_flight);
        let reader = read_in_thread(inputs, progress.clone(), send)?;
        let sender = Arc::new(sender);
        let mut sending: JoinSet<Arrived> = JoinSet::new();
        let mut ended: Option<String> = None;
        let mut reading = true;
        // Between two arguments everything that was sent is waited for.
        let mut waiting = false;
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        let mut interruptible = true;
        while reading || !sending.is_empty() {
            let has_room = reading && !waiting && sending.len() < in_flight;
            tokio::select! {
                Some(arrived) = sending.join_next() => {
                    waiting &= !sending.is_empty();
                    match arrived.map(|arrived| { locations.add(&arrived); tally.add(arrived) }) {
                        Ok(None) => {}
                        Ok(Some(why)) => { ended.get_or_insert(why); }
                        Err(panic) => { ended.get_or_insert(format!("a request broke off: {panic}")); }
                    }
                    progress.resources(tally.sent());
                }
                read = receive.recv(), if has_room => match read {
                    Some(Read::Shipment(shipment)) => {
                        let sender = sender.clone();
                        sending.spawn(async move { sender.send(shipment).await });
                    }
                    Some(Read::Unreadable(place, why)) => tally.unreadable(place, why),
                    Some(Read::NextArgument) => waiting = !sending.is_empty(),
                    None => reading = false,
                },
                interrupted = &mut interrupt, if interruptible => {
                    interruptible = false;
                    if interrupted.is_ok() && ended.is_none() {
                        ended = Some("interrupted; what is not in the counts was not sent".to_owned());
                    }
                }
            }
            if ended.is_some() {
                reading = false;
                receive.close();
                // Whoever waits to try again stops waiting.
                let _ = stop.send(true);
            }
        }
        drop(receive);
        if reader.join().is_err() {
            ended.get_or_insert("reading broke off".to_owned());
        }
        Ok(ended)
    }
}

fn read_in_thread(
    inputs: Inputs,
    progress: Progress,
    send: mpsc::Sender<Read>,
) -> Result<JoinHandle<()>, ImportError> {
    let memory = Arc::new(Semaphore::new(KIBIBYTES_IN_FLIGHT as usize));
    let runtime = tokio::runtime::Handle::current();
    let reserve = move |shipment: &mut Shipment| {
        let kibibytes = shipment.body.len() / 1024 + 1;
        let kibibytes = u32::try_from(kibibytes)
            .map_or(KIBIBYTES_IN_FLIGHT, |wanted| wanted.min(KIBIBYTES_IN_FLIGHT));
        let permit = runtime.block_on(memory.clone().acquire_many_owned(kibibytes));
        shipment.memory = permit.ok();
    };
    Builder::new()
        .name("import-reader".to_owned())
        .spawn(move || reading::read_all(&inputs, &progress, &reserve, &send))
        .map_err(ImportError::Thread)
}

fn read_key(path: &Path) -> Result<Redacted<String>, ImportError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ImportError::Unreadable { path: path.to_owned(), source })?;
    let key = text.trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ImportError::NoKey { path: path.to_owned() });
    }
    Ok(Redacted::new(key.to_owned()))
}

/// Before anything is sent: a report that cannot be written is noticed while nothing is lost.
fn create(path: &Path) -> Result<(PathBuf, File), ImportError> {
    match File::create(path) {
        Ok(file) => Ok((path.to_owned(), file)),
        Err(source) => Err(ImportError::Report { path: path.to_owned(), source }),
    }
}
