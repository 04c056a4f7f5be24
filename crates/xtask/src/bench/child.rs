//! The processes under test and their peers: this program again, told what to be.
//!
//! A child says `ready` and what must be known of it in one line, and ends when its standard
//! input does: no child outlives a run, however the run ends.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Failure, backed_up, knowledge, peers, product, runtime, store, tree};

/// What a child is.
#[derive(clap::Subcommand, Clone)]
pub(crate) enum Child {
    /// A bare handler that answers the bytes of a file.
    BareReader {
        /// Its socket.
        socket: PathBuf,
        /// The file.
        answer: PathBuf,
    },
    /// A bare handler that writes what it is sent to a raw log.
    BareWriter {
        /// Its socket.
        socket: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// The product's server.
    Server {
        /// Where its data and sockets are.
        directory: PathBuf,
    },
    /// The product's server, whose search index may have so many bytes of memory.
    ServerWithin {
        /// Where its data and sockets are.
        directory: PathBuf,
        /// Bytes.
        index_memory: usize,
    },
    /// A server that speaks the contract's channel and answers the bytes of a file.
    Stub {
        /// Where its sockets are.
        directory: PathBuf,
        /// The file.
        answer: PathBuf,
    },
    /// A store that is filled, and then waits to be killed.
    Filled {
        /// Where its data is.
        directory: PathBuf,
        /// How many versions.
        versions: u64,
    },
    /// A store that is opened and read from; tells how long that took and what memory it has.
    Opened {
        /// Where its data is.
        directory: PathBuf,
    },
    /// Full backups, one after the other.
    Backups {
        /// Of what.
        directory: PathBuf,
        /// Where to.
        to: PathBuf,
    },
    /// A bare proxy.
    BareProxy {
        /// The socket it passes requests on to.
        upstream: PathBuf,
    },
    /// A bare proxy before an upstream over TCP.
    BareTcpProxy {
        /// The upstream.
        upstream: SocketAddr,
        /// Where `certificate.pem` and `key.pem` are, to speak TLS to clients.
        certificate: Option<PathBuf>,
    },
    /// A validator of R4 and a package.
    Knowing {
        /// The package.
        package: PathBuf,
    },
    /// The product's gateway.
    Gateway {
        /// Where its registry and the server's sockets are.
        directory: PathBuf,
    },
}

impl Child {
    /// Plays the part until the standard input ends.
    pub(crate) fn run(self) -> Result<(), Failure> {
        if let Self::BareProxy { upstream } = &self {
            let address = peers::start_bare_proxy(upstream)?;
            ready(&address.to_string())?;
            return wait_for_end();
        }
        if let Self::BareTcpProxy { upstream, certificate } = &self {
            let address = peers::start_bare_tcp_proxy(*upstream, certificate.as_deref())?;
            ready(&address.to_string())?;
            return wait_for_end();
        }
        if let Self::Knowing { package } = &self {
            return knowledge::validation::knowing(package);
        }
        runtime()?.block_on(async {
            match self {
                Self::BareReader { socket, answer } => peers::bare_reader(&socket, &answer).await,
                Self::BareWriter { socket, log } => peers::bare_writer(&socket, &log).await,
                Self::Server { directory } => product::server(&directory, None).await,
                Self::ServerWithin { directory, index_memory } => {
                    product::server(&directory, Some(index_memory)).await
                }
                Self::Stub { directory, answer } => peers::stub(&directory, &answer).await,
                Self::Gateway { directory } => product::gateway(&directory).await,
                Self::Filled { directory, versions } => store::filled(&directory, versions).await,
                Self::Opened { directory } => store::opened(&directory).await,
                Self::Backups { directory, to } => backed_up::backups(directory, to).await,
                Self::BareProxy { .. } | Self::BareTcpProxy { .. } | Self::Knowing { .. } => Ok(()),
            }
        })
    }

    /// Starts a process that is this.
    pub(crate) fn start(&self) -> Result<Process, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "child"]).args(self.arguments());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().ok_or("a child has no standard output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let told = line.strip_prefix("ready ").ok_or("a child ended before it was ready")?;
        Ok(Process { process, told: told.trim().to_owned() })
    }

    fn arguments(&self) -> Vec<PathBuf> {
        let word = |word: &str| PathBuf::from(word);
        match self.clone() {
            Self::BareReader { socket, answer } => vec![word("bare-reader"), socket, answer],
            Self::BareWriter { socket, log } => vec![word("bare-writer"), socket, log],
            Self::Server { directory } => vec![word("server"), directory],
            Self::ServerWithin { directory, index_memory } => {
                vec![word("server-within"), directory, PathBuf::from(index_memory.to_string())]
            }
            Self::Stub { directory, answer } => vec![word("stub"), directory, answer],
            Self::BareProxy { upstream } => vec![word("bare-proxy"), upstream],
            Self::BareTcpProxy { upstream, certificate } => {
                let first = [word("bare-tcp-proxy"), PathBuf::from(upstream.to_string())];
                first.into_iter().chain(certificate).collect()
            }
            Self::Knowing { package } => vec![word("knowing"), package],
            Self::Gateway { directory } => vec![word("gateway"), directory],
            Self::Filled { directory, versions } => {
                vec![word("filled"), directory, PathBuf::from(versions.to_string())]
            }
            Self::Opened { directory } => vec![word("opened"), directory],
            Self::Backups { directory, to } => vec![word("backups"), directory, to],
        }
    }
}

/// Says that this child answers now, and what must be known of it.
pub(crate) fn ready(told: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    writeln!(output, "ready {told}")?;
    Ok(output.flush()?)
}

/// Waits until this child shall end.
pub(crate) fn wait_for_end() -> Result<(), Failure> {
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// The same on a runtime.
pub(crate) async fn end() {
    // Whatever comes of waiting, the child shall end.
    drop(tokio::task::spawn_blocking(wait_for_end).await);
}

/// A child that runs; it ends when this is dropped.
pub(crate) struct Process {
    process: std::process::Child,
    told: String,
}

impl Process {
    /// What it said when it was ready.
    pub(crate) fn told(&self) -> &str {
        &self.told
    }

    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// Megabytes that it has in memory, and the most that it had.
    pub(crate) fn memory(&self) -> Result<(f64, f64), Failure> {
        let told = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let megabytes = |name: &str| -> Result<f64, Failure> {
            let line = told.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes = line.and_then(|it| it.split_whitespace().next());
            let kibibytes: f64 = kibibytes.ok_or("a process without memory")?.parse()?;
            Ok(kibibytes * 1024.0 / 1e6)
        };
        Ok((megabytes("VmRSS:")?, megabytes("VmHWM:")?))
    }

    /// Processor time that it has used.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        tree::cpu(self.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It has nothing more to tell, and its parent nothing to do about how it ends.
        drop(self.process.wait());
    }
}
