//! How the PostgreSQL is reached that holds a registry.
//!
//! The same rules as for the server's store, in code of the gateway's side: TLS to any other
//! machine, by an authority that is named, and no password in any text.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use contract::Redacted;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::error::InvalidConnection;

/// How a registry's PostgreSQL is reached. `Debug` shows nothing of it but its hosts.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(crate) config: Config,
    pub(crate) transport: Transport,
}

/// How bytes travel.
#[derive(Clone)]
pub enum Transport {
    /// Over TLS, to a server that shows a certificate for its host name by this authority.
    Verified(Arc<ClientConfig>),
    /// Without TLS, to a Unix socket or a loopback address alone.
    Local,
    /// Without TLS to anywhere: hashes of keys and the password's proof pass readable.
    InsecurePlain,
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
        config.application_name("hearthgate registry");
        Ok(Self { config, transport })
    }
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
    use super::*;

    fn local(connection: &str) -> Result<PostgresOptions, InvalidConnection> {
        let password = Some(Redacted::new("hunter2".to_owned()));
        PostgresOptions::new(connection, password, Transport::Local)
    }

    #[test]
    fn a_registry_is_reached_without_tls_on_this_machine_alone() {
        for good in [
            "host=/run/postgresql dbname=a",
            "host=localhost",
            "postgresql://u@[::1]/a",
            "host=db.example hostaddr=127.0.0.1",
        ] {
            assert!(local(good).is_ok(), "{good}");
        }
        for bad in ["host=db.example", "host=localhost,db.example", "host=a hostaddr=10.0.0.1"] {
            assert_eq!(local(bad).err(), Some(InvalidConnection::PlainRemote), "{bad}");
        }
        assert_eq!(local("dbname=a").err(), Some(InvalidConnection::NoHost));
        let pem = Transport::verified_by(b"nothing").err();
        assert_eq!(pem, Some(InvalidConnection::Authority));
    }

    #[test]
    fn a_registrys_password_stands_in_no_debug_text_and_no_error() {
        let options = local("postgresql://u:other@localhost/a").unwrap();
        let printed = format!("{options:?} {:?}", options.config);
        assert!(!printed.contains("hunter2") && !printed.contains("other"), "{printed}");
        let error = local("host=localhost password=hunter2 hunter2=1").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
    }
}
