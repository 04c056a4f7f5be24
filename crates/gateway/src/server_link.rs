//! The server of ours on another host: where it is, and how its requests and its channel are
//! reached (docs/split.md).
//!
//! Requests go through pingora's pool, over its TLS, which believes the same certificates as `link`
//! does; questions on the channel go over `link` itself. What the name of the host is and what the
//! files hold is looked at again every second, and connections from then on go by it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use link::{Address, ConnectError, FilesError, Fingerprint, Identity, LinkFiles, LinkStream};
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};

use crate::config::UpstreamTimeouts;
use crate::errors::GatewayError;

/// Between two looks at where the server is.
const LOOK: Duration = Duration::from_secs(1);
/// How long a connection to the server may take that no request waits for.
const LONGEST_CONNECTING: Duration = Duration::from_secs(2);
/// pingora verifies nothing without a name; which it is decides nothing.
const ANY_NAME: &str = "hearthgate";
/// How long an idle connection is kept; the server keeps them longer.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(30);

/// Where a server on another host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLink {
    /// Where it takes clients' requests.
    pub requests: Address,
    /// Where it answers for its channel: another port, which no client's request reaches.
    pub channel: Address,
    /// Who the gateway is and whom it believes; in plain TCP when absent.
    pub files: Option<LinkFiles>,
}

/// The way to a server on another host.
#[derive(Debug)]
pub(crate) struct Link {
    to: ServerLink,
    identity: Option<Arc<Identity>>,
    timeouts: UpstreamTimeouts,
    /// Absent while the host's name has no address.
    peer: ArcSwapOption<HttpPeer>,
}

impl Link {
    /// Reads the files.
    pub(crate) fn load(to: ServerLink, timeouts: UpstreamTimeouts) -> Result<Self, FilesError> {
        let identity = to.files.clone().map(Identity::load).transpose()?.map(Arc::new);
        if identity.is_none() {
            tracing::warn!(
                server = %to.requests,
                "INSECURE: patients' data and the channel's secret go to the server in clear text, \
                 and whoever answers there is believed to be it"
            );
        }
        Ok(Self { to, identity, timeouts, peer: ArcSwapOption::empty() })
    }

    /// The peer for a request; `None` while nobody knows where it is.
    pub(crate) fn peer(&self) -> Option<HttpPeer> {
        self.peer.load().as_deref().cloned()
    }

    /// Connects to the server's channel.
    pub(crate) async fn connect_channel(
        &self,
        limit: Duration,
    ) -> Result<LinkStream, ConnectError> {
        link::connect(&self.to.channel, self.identity.as_ref(), limit).await
    }

    /// Whether the server takes connections for requests.
    pub(crate) async fn takes_requests(&self) -> Result<(), ConnectError> {
        let connecting =
            link::connect(&self.to.requests, self.identity.as_ref(), LONGEST_CONNECTING);
        connecting.await.map(drop)
    }

    /// What the gateway shows: its file, and its fingerprint; `None` in plain TCP.
    pub(crate) fn own_certificate(&self) -> Option<(PathBuf, Fingerprint)> {
        let (files, identity) = (self.to.files.as_ref()?, self.identity.as_ref()?);
        let fingerprint = Fingerprint::of(identity.current().certificate());
        Some((files.certificate.clone(), fingerprint))
    }

    /// Keeps to what names and files say, for as long as it is polled.
    pub(crate) async fn keep_current(&self) {
        let files = async {
            match &self.identity {
                Some(identity) => identity.keep_current().await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(files, self.keep_peer());
    }

    async fn keep_peer(&self) {
        let mut known = None;
        loop {
            let generation = self.identity.as_ref().map_or(0, |identity| identity.generation());
            let host = (self.to.requests.host(), self.to.requests.port());
            let found = match tokio::net::lookup_host(host).await {
                Ok(mut addresses) => addresses.next(),
                Err(error) => {
                    tracing::debug!(%error, "the server's name cannot be looked up");
                    None
                }
            };
            // A name that cannot be looked up for a while is where it was.
            let address = found.or(known.map(|(address, _)| address));
            if let Some(address) = address
                && known != Some((address, generation))
            {
                known = Some((address, generation));
                self.peer.store(Some(Arc::new(self.make_peer(address, generation))));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn make_peer(&self, address: SocketAddr, generation: u64) -> HttpPeer {
        let mut peer = HttpPeer::new(address, self.identity.is_some(), ANY_NAME.to_owned());
        limit(&mut peer, self.timeouts);
        peer.options.upstream_tcp_sock_tweak_hook = Some(Arc::new(|socket| {
            // Without it a lost connection is noticed later, and nothing else.
            if let Err(error) = link::watch_over(socket) {
                tracing::warn!(%error, "a connection to the server cannot be watched over");
            }
            Ok(())
        }));
        if let Some(identity) = &self.identity {
            let current = identity.current();
            let believed = current.peers().iter();
            let believed = believed.map(|peer| WrappedX509::new(peer.to_vec(), parse_x509));
            peer.options.ca = Some(believed.collect());
            peer.options.verify_hostname = false;
            let (own, key) = (current.certificate().to_vec(), current.key().secret_der().to_vec());
            peer.client_cert_key = Some(Arc::new(CertKey::new(vec![own], key)));
            // Connections of before are not used again once others are believed.
            peer.group_key = generation + 1;
        }
        peer
    }
}

/// How long the server may take.
pub(crate) fn limit(peer: &mut HttpPeer, timeouts: UpstreamTimeouts) {
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect);
    peer.options.read_timeout = Some(timeouts.read);
    peer.options.write_timeout = Some(timeouts.read);
    peer.options.idle_timeout = Some(KEPT_FOR);
}

/// How the server of ours is reached.
#[derive(Debug)]
pub(crate) enum ServerWay {
    /// Over a socket of this host.
    Socket(Box<HttpPeer>),
    /// On another host.
    Link(Arc<Link>),
}

impl ServerWay {
    /// Over the socket at `path`.
    pub(crate) fn socket(
        path: &std::path::Path,
        timeouts: UpstreamTimeouts,
    ) -> Result<Self, GatewayError> {
        let unusable = || GatewayError::SocketPath(path.to_owned());
        let text = path.to_str().ok_or_else(unusable)?;
        let mut peer = HttpPeer::new_uds(text, false, String::new()).map_err(|_| unusable())?;
        limit(&mut peer, timeouts);
        Ok(Self::Socket(Box::new(peer)))
    }

    /// The peer for a request; `None` while nobody knows where it is.
    pub(crate) fn peer(&self) -> Option<Box<HttpPeer>> {
        match self {
            Self::Socket(peer) => Some(peer.clone()),
            Self::Link(link) => link.peer().map(Box::new),
        }
    }
}
