//! What is kept on the disk, for this account alone: the account, and the certificate with its key
//! in one file, so that never the one is there without the other.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::Instant;
use instant_acme::{AccountCredentials, CertificateIdentifier};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::{Acme, AcmeError};
use crate::tls::{self, CertificateFiles};

const ACCOUNT: &str = "account.json";

/// An account, and at which authority it is one.
#[derive(Serialize, Deserialize)]
struct KeptAccount {
    directory: String,
    credentials: AccountCredentials,
}

/// A certificate that is there, as far as its renewal needs to know.
#[derive(Debug)]
pub(super) struct Held {
    names: Vec<String>,
    is_own: bool,
    not_before: i64,
    not_after: i64,
    /// By which its authority knows it (RFC 9773, section 4.1).
    identifier: Option<CertificateIdentifier<'static>>,
}

impl Held {
    /// Reads the file; `None` where it is not there or cannot be used.
    pub(super) fn read(files: &CertificateFiles) -> Option<Self> {
        tls::check(files).ok()?;
        let der = CertificateDer::from_pem_file(&files.certificate).ok()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
        let alternative = certificate.subject_alternative_name().ok()??;
        let names = alternative.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        });
        let key_id = certificate.extensions().iter().find_map(|it| match it.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(key) => key.key_identifier.as_ref(),
            _ => None,
        });
        let identifier = key_id.map(|key_id| CertificateIdentifier {
            authority_key_identifier: URL_SAFE_NO_PAD.encode(key_id.0).into(),
            serial: URL_SAFE_NO_PAD.encode(certificate.raw_serial()).into(),
        });
        Some(Self {
            names: names.collect(),
            is_own: certificate.issuer() == certificate.subject(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            identifier,
        })
    }

    /// Whether an authority issued it, for exactly these names.
    pub(super) fn is_issued_for(&self, names: &[String]) -> bool {
        let sorted = |names: &[String]| {
            let mut names: Vec<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
            names.sort_unstable();
            names
        };
        !self.is_own && sorted(&self.names) == sorted(names)
    }

    pub(super) fn not_after(&self) -> Instant {
        Instant::from_micros(self.not_after.saturating_mul(1_000_000))
    }

    /// When it is renewed, whatever the authority says, in seconds since 1970: with a third of its
    /// time left.
    pub(super) fn renew_at(&self) -> i64 {
        self.not_after - (self.not_after - self.not_before) / 3
    }

    /// When its authority is first asked when it is to be renewed.
    pub(super) fn first_look(&self) -> i64 {
        self.not_before + (self.not_after - self.not_before) / 20
    }

    pub(super) fn identifier(&self) -> Option<&CertificateIdentifier<'static>> {
        self.identifier.as_ref()
    }
}

fn refused(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AcmeError {
    let path = path.to_owned();
    move |source| AcmeError::Io { doing, path, source }
}

pub(super) fn make_dir(dir: &Path) -> Result<(), AcmeError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(refused("make", dir))
}

/// The account at this directory, where there is one.
pub(super) fn read_account(acme: &Acme) -> Result<Option<AccountCredentials>, AcmeError> {
    let path = acme.dir.join(ACCOUNT);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused("read", &path)(error)),
    };
    let kept: KeptAccount = serde_json::from_slice(&bytes).map_err(|_| AcmeError::Account(path))?;
    Ok((kept.directory == acme.directory.as_str()).then_some(kept.credentials))
}

pub(super) fn write_account(acme: &Acme, credentials: AccountCredentials) -> Result<(), AcmeError> {
    let path = acme.dir.join(ACCOUNT);
    let kept = KeptAccount { directory: acme.directory.as_str().to_owned(), credentials };
    let bytes = serde_json::to_vec(&kept).map_err(|_| AcmeError::Account(path.clone()))?;
    let part = write_part(&path, &bytes)?;
    put(&part, &path)
}

/// Writes a certificate that nobody believes, so that TLS is spoken until there is another.
pub(super) fn write_stand_in(acme: &Acme) -> Result<(), AcmeError> {
    let key = KeyPair::generate().map_err(AcmeError::Request)?;
    let made = CertificateParams::new(acme.names.clone()).map_err(AcmeError::Request)?;
    let certificate = made.self_signed(&key).map_err(AcmeError::Request)?;
    write_certificate(acme, &(certificate.pem() + &key.serialize_pem()))
}

/// Puts a certificate with its key, in PEM, in the place of the one that is there, once it has
/// shown that it can be used.
pub(super) fn write_certificate(acme: &Acme, pem: &str) -> Result<(), AcmeError> {
    let path = acme.files().certificate;
    let part = write_part(&path, pem.as_bytes())?;
    let files = CertificateFiles { certificate: part.clone(), key: part.clone() };
    tls::check(&files).map_err(|error| AcmeError::Unusable(Box::new(error)))?;
    put(&part, &path)
}

fn write_part(path: &Path, bytes: &[u8]) -> Result<std::path::PathBuf, AcmeError> {
    let part = path.with_extension("part");
    let write = || -> io::Result<()> {
        // One that is left over may have other rights.
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(refused("write", &part))?;
    Ok(part)
}

fn put(part: &Path, path: &Path) -> Result<(), AcmeError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let put = || {
        fs::rename(part, path)?;
        fs::File::open(dir)?.sync_all()
    };
    put().map_err(refused("write", path))
}
