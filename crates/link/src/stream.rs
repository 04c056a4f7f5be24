//! A connection between the halves, and how one is made.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, CertificateError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use crate::address::Address;
use crate::files::ANY_NAME;
use crate::identity::Identity;
use crate::socket::watch_over;
use crate::verify::NotBelieved;

/// A connection between the halves. It ends when the certificate that the other one showed is not
/// believed any more.
#[derive(Debug)]
pub struct LinkStream {
    transport: Transport,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls { stream: Box<TlsStream<TcpStream>>, believed: Believed },
}

/// By what the other half was believed, and when that was looked at.
#[derive(Debug)]
struct Believed {
    identity: Arc<Identity>,
    certificate: CertificateDer<'static>,
    generation: u64,
}

impl Believed {
    /// Whether the certificate is held still.
    fn holds(&mut self) -> bool {
        let generation = self.identity.generation();
        if generation == self.generation {
            return true;
        }
        let holds = self.identity.believes(&self.certificate);
        if holds {
            self.generation = generation;
        }
        holds
    }
}

/// Why there is no connection to the other half.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("{0} cannot be reached")]
    Unreachable(Address, #[source] io::Error),
    /// It took too long.
    #[error("{0} does not answer within {1:?}")]
    TimedOut(Address, Duration),
    /// Whoever answers is not believed.
    #[error("{0} is not believed")]
    NotBelieved(Address, #[source] NotBelieved),
    /// TLS cannot be spoken with whoever answers.
    #[error("TLS with {0} failed; see that its link is TLS too, and that this is its port")]
    Handshake(Address, #[source] io::Error),
}

/// Connects to the other half, in plain TCP without an identity.
///
/// # Errors
/// [`ConnectError`]; an other half that does not believe this one tells that at the first reading
/// ([`refused_by_other`]).
pub async fn connect(
    address: &Address,
    identity: Option<&Arc<Identity>>,
    limit: Duration,
) -> Result<LinkStream, ConnectError> {
    let connecting = async {
        let unreachable = |error| ConnectError::Unreachable(address.clone(), error);
        let stream = TcpStream::connect((address.host(), address.port())).await;
        let stream = stream.map_err(unreachable)?;
        stream.set_nodelay(true).and_then(|()| watch_over(&stream)).map_err(unreachable)?;
        let Some(identity) = identity else {
            return Ok(LinkStream { transport: Transport::Plain(stream) });
        };
        let generation = identity.generation();
        let name = ServerName::try_from(ANY_NAME).expect("it is a name");
        let shaking = TlsConnector::from(identity.current().client.clone()).connect(name, stream);
        let stream = shaking.await.map_err(|error| match not_believed(&error) {
            Some(reason) => ConnectError::NotBelieved(address.clone(), reason),
            None => ConnectError::Handshake(address.clone(), error),
        })?;
        LinkStream::tls(stream.into(), identity, generation)
            .ok_or_else(|| unreachable(io::ErrorKind::InvalidData.into()))
    };
    let connected = tokio::time::timeout(limit, connecting).await;
    connected.unwrap_or_else(|_| Err(ConnectError::TimedOut(address.clone(), limit)))
}

impl LinkStream {
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self { transport: Transport::Plain(stream) }
    }

    /// After a handshake that was begun in this generation; `None` where the other half showed no
    /// certificate, which no handshake lets be.
    pub(crate) fn tls(
        stream: TlsStream<TcpStream>,
        identity: &Arc<Identity>,
        generation: u64,
    ) -> Option<Self> {
        let shown = stream.get_ref().1.peer_certificates()?.first()?;
        let certificate = shown.clone().into_owned();
        let believed = Believed { identity: Arc::clone(identity), certificate, generation };
        Some(Self { transport: Transport::Tls { stream: Box::new(stream), believed } })
    }

    /// The connection, unless its other end is not believed any more.
    fn believed(&mut self) -> io::Result<Pin<&mut dyn Carries>> {
        match &mut self.transport {
            Transport::Plain(stream) => Ok(Pin::new(stream)),
            Transport::Tls { stream, believed } => match believed.holds() {
                true => Ok(Pin::new(&mut **stream)),
                false => Err(io::ErrorKind::ConnectionAborted.into()),
            },
        }
    }
}

/// What carries bytes both ways.
trait Carries: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Carries for T {}

impl AsyncRead for LinkStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.believed()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for LinkStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.believed()?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.believed()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.believed()?.poll_shutdown(context)
    }
}

/// Why the other half was not believed, if that is what an error of a handshake says.
pub(crate) fn not_believed(error: &io::Error) -> Option<NotBelieved> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return None;
    };
    other.0.downcast_ref::<NotBelieved>().cloned()
}

/// Whether an error says that the other half refused this one's certificate.
#[must_use]
pub fn refused_by_other(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // What an I/O error wraps is not its source.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = error.downcast_ref().or_else(|| wrapped.and_then(|inner| inner.downcast_ref()));
        if let Some(rustls::Error::AlertReceived(alert)) = tls {
            use AlertDescription::{
                AccessDenied, BadCertificate, CertificateRequired, CertificateUnknown, UnknownCA,
            };
            return matches!(
                alert,
                AccessDenied
                    | BadCertificate
                    | CertificateRequired
                    | CertificateUnknown
                    | UnknownCA
            );
        }
        next = error.source();
    }
    false
}
