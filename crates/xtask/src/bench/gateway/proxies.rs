//! The upstream and the proxies before it: what each is told, and how it is started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::binary::hearthgate;
use integration_tests::site::free_address;
use integration_tests::tools::{Absent, Tool};

use super::nginx;
use super::program::Program;
use crate::bench::Failure;
use crate::bench::child::{Child, Process};

/// As many as the gateway lets a connection have unless told otherwise.
pub(crate) const REQUESTS_OF_A_CONNECTION: u32 = 10_000;
/// The most connections of a proxy: what idle ones are counted with comes from one address.
const CONNECTIONS: u32 = 16_000;
/// Bytes of the two files.
const SMALL: usize = 2 << 10;
const LARGE: usize = 1 << 20;
/// Where all of it is asked for.
pub(crate) const PATH: &str = "/bench";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Upstream,
    Nginx,
    NginxWithLog,
    HaProxy,
    BarePingora,
    Gateway,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Upstream,
        Self::Nginx,
        Self::NginxWithLog,
        Self::HaProxy,
        Self::BarePingora,
        Self::Gateway,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Upstream => "the upstream itself, plain",
            Self::Nginx => "nginx",
            Self::NginxWithLog => "nginx with its access log",
            Self::HaProxy => "HAProxy",
            Self::BarePingora => "bare pingora proxy",
            Self::Gateway => "gateway",
        }
    }

    /// The upstream is no proxy, and what a log takes no idle connection does.
    pub(crate) fn is_measured_idle(self) -> bool {
        !matches!(self, Self::Upstream | Self::NginxWithLog)
    }

    /// Its files' names.
    fn word(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Nginx => "nginx",
            Self::NginxWithLog => "nginx-log",
            Self::HaProxy => "haproxy",
            Self::BarePingora => "pingora",
            Self::Gateway => "gateway",
        }
    }
}

/// How clients speak to a proxy; it speaks to the upstream in plain HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Plain,
    Tls,
}

impl Scheme {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "TLS",
        }
    }
}

/// What is on in each, for whoever reads the figures.
pub(crate) fn what_is_on(threads: usize) -> String {
    format!(
        "\nProxies before one nginx that serves files, {threads} threads each.\n\
         \x20 nginx, HAProxy and the bare pingora proxy pass on, and do nothing else; one nginx \
         writes its access log.\n\
         \x20 The gateway is `hearthgate gateway` with its defaults: one route to an upstream of \
         others, an API key asked and judged\n\
         \x20 for each request, the limits of connections, framing checked, its access log (to a \
         file; it cannot be switched off) and metrics.\n"
    )
}

enum Running {
    Program(Program),
    Child(Process),
}

/// A proxy that runs; it ends when this is dropped.
pub(crate) struct Proxy {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) scheme: Scheme,
    /// The key that it asks for.
    pub(crate) key: Option<String>,
    running: Option<Running>,
    /// The process, where it is not one of its own.
    id: u32,
    /// The most connections that it takes.
    pub(crate) most: u32,
}

impl Proxy {
    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        match &self.running {
            Some(Running::Program(program)) => program.id(),
            Some(Running::Child(child)) => child.id(),
            None => self.id,
        }
    }
}

/// What all of them share: a directory, an upstream, a certificate.
pub(crate) struct Site {
    pub(crate) directory: PathBuf,
    pub(crate) threads: usize,
    pub(crate) upstream: SocketAddr,
    certificate: PathBuf,
    key: PathBuf,
    both: PathBuf,
    program: Program,
    nginx: PathBuf,
}

impl Site {
    /// Starts the upstream and makes the certificate.
    pub(crate) fn prepare(directory: &Path) -> Result<Self, Failure> {
        let directory = directory.canonicalize()?;
        // Told before anything is measured.
        for tool in [Tool::Wrk, Tool::H2load] {
            let _ = tool.path()?;
        }
        let nginx = Tool::Nginx.path().map_err(|absent| format!("{absent}: it is the upstream"))?;
        let files = directory.join("files/bench");
        std::fs::create_dir_all(&files)?;
        std::fs::write(files.join("small"), "x".repeat(SMALL))?;
        std::fs::write(files.join("large"), "x".repeat(LARGE))?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let (upstream, behind) = (free_address(), free_address());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let configuration = directory.join("upstream.conf");
        std::fs::write(&configuration, nginx::upstream(&directory, threads, upstream, behind))?;
        let mut command = Command::new(&nginx);
        command.args(["-e", "stderr", "-p"]).arg(&directory).arg("-c").arg(&configuration);
        let site = Self {
            threads,
            upstream,
            certificate: directory.join("certificate.pem"),
            key: directory.join("key.pem"),
            both: directory.join("both.pem"),
            program: Program::start(&directory, "upstream", &command)?,
            nginx,
            directory,
        };
        site.program.listens(upstream)?;
        private(&site.certificate, &certificate)?;
        private(&site.key, &key)?;
        private(&site.both, &format!("{certificate}{key}"))?;
        Ok(site)
    }

    /// Starts a proxy, where it is installed.
    pub(crate) fn start(
        &self,
        kind: Kind,
        scheme: Scheme,
    ) -> Result<Result<Proxy, Absent>, Failure> {
        let name = format!("{}-{}", kind.word(), scheme.name());
        let address = free_address();
        let certificate = (scheme == Scheme::Tls).then_some((&*self.certificate, &*self.key));
        let configuration = self.directory.join(format!("{name}.conf"));
        let command = match kind {
            Kind::Upstream => {
                return Ok(Ok(Proxy {
                    kind,
                    address: self.upstream,
                    scheme: Scheme::Plain,
                    key: None,
                    running: None,
                    id: self.program.id(),
                    most: CONNECTIONS,
                }));
            }
            Kind::BarePingora => {
                let child = Child::BareTcpProxy {
                    upstream: self.upstream,
                    certificate: certificate.map(|_| self.directory.clone()),
                };
                let child = child.start()?;
                let address = child.told().parse()?;
                let running = Some(Running::Child(child));
                let most = CONNECTIONS;
                return Ok(Ok(Proxy { kind, address, scheme, key: None, running, id: 0, most }));
            }
            Kind::Nginx | Kind::NginxWithLog => {
                let log = self.directory.join(format!("{name}.log"));
                let log = (kind == Kind::NginxWithLog).then_some(&*log);
                let text = nginx::proxy(self, &name, address, certificate, log);
                std::fs::write(&configuration, text)?;
                let mut command = Command::new(&self.nginx);
                command.args(["-e", "stderr", "-p"]).arg(&self.directory);
                command.arg("-c").arg(&configuration);
                command
            }
            Kind::HaProxy => {
                let program = match Tool::HaProxy.path() {
                    Ok(program) => program,
                    Err(absent) => return Ok(Err(absent)),
                };
                std::fs::write(&configuration, self.haproxy(address, scheme, of_haproxy()?))?;
                let mut command = Command::new(program);
                command.arg("-db").arg("-f").arg(&configuration);
                command
            }
            Kind::Gateway => {
                std::fs::write(&configuration, self.gateway(scheme))?;
                let mut command = Command::new(hearthgate());
                command.arg("gateway").arg("--config").arg(&configuration);
                command.arg("--data").arg(self.directory.join(format!("{name}-data")));
                command.args(["--listen", &address.to_string(), "--admin", "127.0.0.1:0"]);
                command.arg("--owner-key-file").arg(self.directory.join(format!("{name}.key")));
                command
            }
        };
        let program = Program::start(&self.directory, &name, &command)?;
        program.listens(address)?;
        let key = match kind {
            Kind::Gateway => Some(program.line_in(&self.directory.join(format!("{name}.key")))?),
            _ => None,
        };
        let running = Some(Running::Program(program));
        let most = if kind == Kind::HaProxy { of_haproxy()? } else { CONNECTIONS };
        Ok(Ok(Proxy { kind, address, scheme, key, running, id: 0, most }))
    }

    fn haproxy(&self, listen: SocketAddr, scheme: Scheme, most: u32) -> String {
        let tls = match scheme {
            Scheme::Plain => String::new(),
            Scheme::Tls => format!(" ssl crt {}", self.both.display()),
        };
        format!(
            "global\n  nbthread {}\n  maxconn {most}\n\
             defaults\n  mode http\n  timeout connect 2s\n  timeout client 75s\n  \
             timeout server 75s\n  timeout http-keep-alive 75s\n  http-reuse always\n\
             frontend here\n  bind {listen}{tls}\n  default_backend behind\n\
             backend behind\n  server one {}\n",
            self.threads, self.upstream
        )
    }

    /// The gateway's defaults, but for what one address may do: all clients here are one.
    fn gateway(&self, scheme: Scheme) -> String {
        let tls = match scheme {
            Scheme::Plain => String::new(),
            Scheme::Tls => format!(
                "[[gateway.tls.certificates]]\ncertificate = \"{}\"\nkey = \"{}\"\n",
                self.certificate.display(),
                self.key.display()
            ),
        };
        format!(
            "[gateway]\nserver = false\nconnections_per_address = {CONNECTIONS}\n{tls}\
             [[gateway.routes]]\nname = \"bench\"\npath = \"{PATH}\"\nupstream = \"behind\"\n\
             content = \"other\"\n\
             [gateway.upstreams.behind]\nendpoints = [{{ address = \"{}\" }}]\n\
             enforces = \"none\"\n",
            self.upstream
        )
    }
}

/// The most connections of HAProxy, which starts only where two files are allowed for each.
fn of_haproxy() -> Result<u32, Failure> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let files = files.and_then(|limit| limit.split_whitespace().next());
    let files = files.ok_or("the system does not say how many files may be open")?;
    // A number, or that there is no limit.
    let files = files.parse::<u32>().unwrap_or(u32::MAX);
    Ok(CONNECTIONS.min(files.saturating_sub(100) / 2))
}

/// Writes a file that is for its owner alone.
fn private(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
