//! How PostgreSQL is reached, and what of this backend can be set.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fhir_core::Redacted;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::error::InvalidConnection;

/// How one tenant's store reaches PostgreSQL and holds it. `Debug` shows neither the password nor
/// anything else of the connection but its hosts.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(crate) config: Config,
    pub(crate) transport: Transport,
    /// Who this server is, for the one that is refused because of it: host and process.
    pub holder: String,
    /// What to do about a lease that another server holds.
    pub takeover: Takeover,
    /// How long a lease lasts that is not renewed. It is renewed three times as often.
    pub lease: Duration,
    /// How long one append or one read may take, reconnecting included, before it fails.
    pub patience: Duration,
    /// How long an append asks what became of a commit whose answer was lost.
    pub outcome_patience: Duration,
    /// How many connections read.
    pub read_connections: usize,
}

/// How bytes travel.
#[derive(Clone)]
pub enum Transport {
    /// Over TLS, to a server that shows a certificate for its host name by this authority.
    Verified(Arc<ClientConfig>),
    /// Without TLS, to a Unix socket or a loopback address alone.
    Local,
    /// Without TLS to anywhere: patients' data and the password's proof pass readable.
    InsecurePlain,
}

/// What to do about a lease that another server holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// It is respected until it expires.
    AfterExpiry,
    /// It is taken at once. For an operator who knows that the other server is gone: if it is
    /// not, it can append nothing more, but may show old data until it notices.
    AtOnce,
}

impl Transport {
    /// TLS with the certificates in `pem` as the only authorities.
    ///
    /// # Errors
    /// [`InvalidConnection`] when there is no certificate in it, or one that is none.
    pub fn verified_by(pem: &[u8]) -> Result<Self, InvalidConnection> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| InvalidConnection::Authority)?;
            roots.add(certificate).map_err(|_| InvalidConnection::Authority)?;
        }
        if roots.is_empty() {
            return Err(InvalidConnection::Authority);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the suites of TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self::Verified(Arc::new(config)))
    }
}

impl PostgresOptions {
    /// Options to reach the database that `connection` names, in libpq's form
    /// (`host=… user=… dbname=…` or `postgresql://…`). Its `sslmode` says nothing: `transport`
    /// does.
    ///
    /// # Errors
    /// [`InvalidConnection`], which repeats nothing of the text.
    pub fn new(
        connection: &str,
        password: Option<Redacted<String>>,
        transport: Transport,
        holder: String,
    ) -> Result<Self, InvalidConnection> {
        // The parser's own error may repeat a part of a password.
        let mut config: Config = connection.parse().map_err(|_| InvalidConnection::Text)?;
        if let Some(password) = password {
            config.password(password.expose());
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(InvalidConnection::NoHost);
        }
        let over_socket = config.get_hosts().iter().any(|host| matches!(host, Host::Unix(_)));
        match transport {
            Transport::Verified(_) if over_socket => return Err(InvalidConnection::TlsOverSocket),
            Transport::Local if !is_local(&config) => return Err(InvalidConnection::PlainRemote),
            _ => {}
        }
        config.ssl_mode(match transport {
            Transport::Verified(_) => SslMode::Require,
            Transport::Local | Transport::InsecurePlain => SslMode::Disable,
        });
        config.application_name("hearthgate");
        Ok(Self {
            config,
            transport,
            holder,
            takeover: Takeover::AfterExpiry,
            lease: Duration::from_secs(15),
            patience: Duration::from_secs(30),
            outcome_patience: Duration::from_secs(30),
            read_connections: 4,
        })
    }
}

/// Checks that `connection` is in libpq's form, says where, and holds no password: it stands in
/// a configuration file.
///
/// # Errors
/// [`InvalidConnection`], which repeats nothing of the text.
pub fn check_connection(connection: &str) -> Result<(), InvalidConnection> {
    let config: Config = connection.parse().map_err(|_| InvalidConnection::Text)?;
    if config.get_password().is_some() {
        return Err(InvalidConnection::Password);
    }
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(InvalidConnection::NoHost);
    }
    Ok(())
}

/// Whether every address is a Unix socket or this machine's own.
fn is_local(config: &Config) -> bool {
    let by_name = |host: &Host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
        Host::Unix(_) => true,
    };
    // An address given beside a name is the one that is used.
    if config.get_hostaddrs().is_empty() {
        config.get_hosts().iter().all(by_name)
    } else {
        config.get_hostaddrs().iter().all(IpAddr::is_loopback)
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PostgresOptions")
            .field("hosts", &self.config.get_hosts())
            .field("transport", &self.transport)
            .field("holder", &self.holder)
            .field("takeover", &self.takeover)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Verified(_) => "Verified",
            Self::Local => "Local",
            Self::InsecurePlain => "InsecurePlain",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{PostgresOptions, Transport};
    use crate::InvalidConnection;
    use fhir_core::Redacted;

    fn local(connection: &str) -> Result<PostgresOptions, InvalidConnection> {
        let password = Some(Redacted::new("hunter2".to_owned()));
        PostgresOptions::new(connection, password, Transport::Local, "here".to_owned())
    }

    #[test]
    fn without_tls_only_this_machine_is_reached() {
        for good in [
            "host=/run/postgresql dbname=a",
            "host=localhost",
            "host=127.0.0.1",
            "postgresql://u@[::1]/a",
            "host=db.example hostaddr=127.0.0.1",
        ] {
            assert!(local(good).is_ok(), "{good}");
        }
        for bad in [
            "host=db.example",
            "host=10.0.0.1",
            "host=localhost,db.example",
            "host=localhost hostaddr=10.0.0.1",
        ] {
            assert_eq!(local(bad).err(), Some(InvalidConnection::PlainRemote), "{bad}");
        }
        assert_eq!(local("dbname=a").err(), Some(InvalidConnection::NoHost));
    }

    #[test]
    fn a_password_stands_in_no_debug_text_and_no_error() {
        let options = local("postgresql://u:other@localhost/a").unwrap();
        let printed = format!("{options:?} {:?}", options.config);
        assert!(!printed.contains("hunter2") && !printed.contains("other"), "{printed}");
        for text in ["host=localhost password=hunter2 hunter2=1", "postgresql://u:hunter2%@h/a"] {
            let error = local(text).unwrap_err();
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn an_authority_without_a_certificate_is_refused() {
        for pem in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = Transport::verified_by(pem.as_bytes()).err();
            assert_eq!(error, Some(InvalidConnection::Authority), "{pem}");
        }
    }
}
