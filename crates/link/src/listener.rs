//! Where a half takes connections of the other.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::identity::Identity;
use crate::socket::watch_over;
use crate::stream::{LinkStream, not_believed};
use crate::turns::{self, ShareTaken, Turn, Turns};

/// How long a handshake may take.
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(5);
/// Refusals that are remembered, so that each is said once.
const MOST_TOLD: usize = 256;
/// Pause after the system gave no connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections of whoever is believed.
#[derive(Debug)]
pub struct LinkListener {
    tcp: TcpListener,
    identity: Option<Arc<Identity>>,
    /// Handshakes, and connections that wait for one.
    shaking: JoinSet<Shaken>,
    turns: Turns,
    told: HashSet<(IpAddr, String)>,
    told_in: u64,
}

/// What a handshake came to.
type Shaken = Result<(LinkStream, SocketAddr), (SocketAddr, io::Error)>;

impl LinkListener {
    /// Listens at `address`; in plain TCP, for anyone, without an identity.
    ///
    /// # Errors
    /// What the system says.
    pub async fn bind(address: SocketAddr, identity: Option<Arc<Identity>>) -> io::Result<Self> {
        let tcp = TcpListener::bind(address).await?;
        let (shaking, turns, told) = (JoinSet::new(), Turns::new(), HashSet::new());
        Ok(Self { tcp, identity, shaking, turns, told, told_in: 0 })
    }

    /// Where it listens, port 0 resolved.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The next connection of whoever is believed. Handshakes go on beside each other, each address
    /// with its share of them, and one that fails is told in the log.
    pub async fn accept(&mut self) -> (LinkStream, SocketAddr) {
        loop {
            let may_begin = self.shaking.len() < turns::MOST + turns::MOST_WAITING;
            tokio::select! {
                Some(shaken) = self.shaking.join_next(), if !self.shaking.is_empty() => {
                    match shaken {
                        Ok(Ok(connection)) => return connection,
                        Ok(Err((address, error))) => self.tell(address, reason(&error)),
                        // Nobody aborts one, and a panic was said where it was.
                        Err(_) => {}
                    }
                }
                accepted = self.tcp.accept(), if may_begin => match accepted {
                    Ok((stream, address)) => match self.identity.clone() {
                        Some(identity) => self.begin(stream, address, identity),
                        None => {
                            if watch_over(&stream).is_ok() {
                                return (LinkStream::plain(stream), address);
                            }
                        }
                    },
                    Err(error) => {
                        tracing::warn!(%error, "the link cannot accept");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    /// Begins a handshake, once it is its turn.
    fn begin(&mut self, stream: TcpStream, address: SocketAddr, identity: Arc<Identity>) {
        if self.turns.became_full() {
            tracing::warn!(
                target: "hearthgate::security",
                %address,
                "all handshakes of the link are taken, and connections wait: a firewall should let \
                 the other half alone reach its ports"
            );
        }
        match self.turns.take(address.ip()) {
            Ok(turn) => {
                self.shaking.spawn(shake(stream, address, identity, turn));
            }
            Err(ShareTaken) => {
                let reason = "too many connections of its address wait for their handshakes";
                self.tell(address, reason.to_owned());
            }
        }
    }

    /// Says once who was refused and why, until the certificates that are believed are others.
    fn tell(&mut self, address: SocketAddr, reason: String) {
        let generation = self.identity.as_ref().map_or(0, |identity| identity.generation());
        if generation != self.told_in || self.told.len() >= MOST_TOLD {
            self.told.clear();
            self.told_in = generation;
        }
        if self.told.insert((address.ip(), reason.clone())) {
            tracing::warn!(
                target: "hearthgate::security",
                %address,
                reason,
                "a connection over the link was refused"
            );
        }
    }
}

fn reason(error: &io::Error) -> String {
    not_believed(error).map_or_else(|| error.to_string(), |reason| reason.to_string())
}

async fn shake(
    stream: TcpStream,
    address: SocketAddr,
    identity: Arc<Identity>,
    turn: Turn,
) -> Shaken {
    let _its_turn = turn.comes().await;
    let failed = |error| (address, error);
    stream.set_nodelay(true).and_then(|()| watch_over(&stream)).map_err(failed)?;
    let generation = identity.generation();
    let shaking = TlsAcceptor::from(identity.current().server.clone()).accept(stream);
    let shaken = tokio::time::timeout(LONGEST_HANDSHAKE, shaking).await;
    let stream = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
    let stream = LinkStream::tls(stream.into(), &identity, generation);
    let stream = stream.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
    Ok((stream, address))
}
