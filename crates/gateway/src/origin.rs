//! Where a connection comes from, as far as its requests need to know.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::HeaderValue;
use pingora::proxy::Session;

use crate::addresses::forwarded_values;
use crate::certificates::PeerCertificate;
use crate::wire::Wire;

/// What is the same for every request of a connection.
#[derive(Debug)]
pub(crate) struct Origin {
    peer: SocketAddr,
    /// `Forwarded` and `X-Forwarded-For` for what is passed on.
    forwarded: HeaderValue,
    forwarded_for: HeaderValue,
    /// `Strict-Transport-Security`, where browsers are told so.
    hsts: Option<HeaderValue>,
    /// The certificate that the client showed.
    certificate: Option<Arc<PeerCertificate>>,
    /// Requests that the client left before they were answered.
    abandoned: AtomicU32,
}

/// What protects a connection.
#[derive(Debug)]
pub(crate) enum Protection {
    /// Nothing does.
    None,
    /// TLS.
    Tls {
        /// For how many seconds browsers are told to use nothing else.
        hsts_seconds: Option<u32>,
        /// The certificate that the client showed, if it did.
        certificate: Option<PeerCertificate>,
    },
}

impl Origin {
    pub(crate) fn new(peer: SocketAddr, protection: Protection) -> Self {
        let (scheme, hsts_seconds, certificate) = match protection {
            Protection::None => ("http", None, None),
            Protection::Tls { hsts_seconds, certificate } => ("https", hsts_seconds, certificate),
        };
        let (forwarded, forwarded_for) = forwarded_values(peer.ip(), scheme);
        Self {
            peer,
            forwarded,
            forwarded_for,
            hsts: hsts_seconds.map(max_age),
            certificate: certificate.map(Arc::new),
            abandoned: AtomicU32::new(0),
        }
    }

    /// The client's address.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The value of `Forwarded` for this connection's requests.
    pub(crate) fn forwarded(&self) -> &HeaderValue {
        &self.forwarded
    }

    /// The value of `X-Forwarded-For` for this connection's requests.
    pub(crate) fn forwarded_for(&self) -> &HeaderValue {
        &self.forwarded_for
    }

    /// The value of `Strict-Transport-Security`, where there is one.
    pub(crate) fn hsts(&self) -> Option<&HeaderValue> {
        self.hsts.as_ref()
    }

    /// The certificate that the client showed, where it showed one.
    pub(crate) fn certificate(&self) -> Option<&Arc<PeerCertificate>> {
        self.certificate.as_ref()
    }

    /// Counts a request that the client left.
    pub(crate) fn abandon(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests the client left so far.
    pub(crate) fn abandoned(&self) -> u32 {
        self.abandoned.load(Ordering::Relaxed)
    }
}

/// The origin of a session: the connection beneath it has it, or in HTTP/2 its head.
pub(crate) fn origin(session: &Session) -> Option<&Arc<Origin>> {
    match session.downstream_session.stream() {
        Some(stream) => Some((**stream).as_any().downcast_ref::<Wire>()?.origin()),
        None => session.req_header().extensions.get(),
    }
}

fn max_age(seconds: u32) -> HeaderValue {
    HeaderValue::try_from(format!("max-age={seconds}")).expect("a number is visible ASCII")
}
