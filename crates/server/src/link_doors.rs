//! The two ports for gateways on other hosts: one that carries clients' requests, one for the channel.
//! What is answered there is what is answered on the two sockets (docs/split.md).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::serve::Listener;
use link::{Identity, LinkFiles, LinkListener, LinkStream};

use crate::run::RunError;

/// Where gateways on other hosts are answered.
#[derive(Debug, Clone)]
pub struct LinkDoors {
    /// Where clients' requests come, vouched for by a gateway.
    pub requests: SocketAddr,
    /// Where gateways fetch the channel's secret and tell what they denied.
    pub channel: SocketAddr,
    /// Who the server is and which gateways it believes; in plain TCP, to anyone, when absent.
    pub files: Option<LinkFiles>,
}

/// Both ports, bound.
pub(crate) struct Bound {
    pub(crate) requests: LinkDoor,
    pub(crate) channel: LinkDoor,
    pub(crate) identity: Option<Arc<Identity>>,
}

impl LinkDoors {
    pub(crate) async fn bind(self) -> Result<Bound, RunError> {
        let identity = self.files.map(Identity::load).transpose();
        let identity = identity.map_err(|error| RunError::Link(Box::new(error)))?.map(Arc::new);
        let bind = async |address| {
            let bound = LinkListener::bind(address, identity.clone()).await;
            bound.map(LinkDoor).map_err(|source| RunError::BindLink { address, source })
        };
        let bound = Bound {
            requests: bind(self.requests).await?,
            channel: bind(self.channel).await?,
            identity: identity.clone(),
        };
        if identity.is_none() {
            tracing::warn!(
                requests = %self.requests,
                channel = %self.channel,
                "INSECURE: whoever reaches these ports is taken for the gateway and may read and \
                 write everything, in clear text"
            );
        }
        Ok(bound)
    }
}

/// Takes connections of gateways.
pub(crate) struct LinkDoor(LinkListener);

impl Listener for LinkDoor {
    type Io = LinkStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        self.0.accept().await
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// Keeps to what the files say, for as long as it is polled.
pub(crate) async fn keep_current(identity: Option<Arc<Identity>>) {
    match identity {
        Some(identity) => identity.keep_current().await,
        None => std::future::pending().await,
    }
}
