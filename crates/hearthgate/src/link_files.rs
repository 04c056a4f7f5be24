//! `hearthgate link`: the certificates with which halves on two hosts know each other
//! (docs/split.md).
//!
//! Each is signed by its own key, and good until the other half's copy is taken away.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rcgen::{CertificateParams, DnType, KeyPair};

/// The most gateways that certificates are made for at once.
const MOST_GATEWAYS: u16 = 64;

/// What can be made.
#[derive(Debug, Subcommand)]
pub enum LinkCommand {
    /// Make certificates and keys of a server and its gateways: a directory to copy to each host
    Create(Create),
    /// Make one certificate with its key, to take the place of another or for one more gateway
    Identity(One),
}

/// `hearthgate link create`.
#[derive(Debug, Args)]
pub struct Create {
    /// The directory to make
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// How many gateways there are
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_GATEWAYS)))]
    gateways: u16,
}

/// `hearthgate link identity`.
#[derive(Debug, Args)]
pub struct One {
    /// The directory to make
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LinkFilesError {
    /// The directory or a file in it.
    #[error("cannot make {}; name a directory that is not there yet", path.display())]
    File {
        /// What could not be made.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The library.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
}

impl LinkCommand {
    /// Makes what was asked for, and says what to do with it.
    ///
    /// # Errors
    /// [`LinkFilesError`]; nothing that was there is written over.
    pub fn run(&self) -> Result<String, LinkFilesError> {
        match self {
            Self::Create(create) => create.run(),
            Self::Identity(one) => one.run(),
        }
    }
}

impl Create {
    fn run(&self) -> Result<String, LinkFilesError> {
        let root = &self.directory;
        make_directory(root)?;
        let server = Identity::make("Hearthgate server")?;
        let (mut gateways, mut places) = (String::new(), String::new());
        for number in 1..=self.gateways {
            let name = match self.gateways {
                1 => "gateway".to_owned(),
                _ => format!("gateway-{number}"),
            };
            let place = root.join(&name);
            let gateway = Identity::make("Hearthgate gateway")?;
            gateway.write(&place)?;
            write(&place.join("servers.crt"), &server.certificate, PUBLIC)?;
            gateways.push_str(&gateway.certificate);
            let fingerprint = &gateway.fingerprint;
            places.push_str(&format!("  {}  {fingerprint}\n", place.display()));
        }
        let place = root.join("server");
        server.write(&place)?;
        write(&place.join("gateways.crt"), &gateways, PUBLIC)?;
        let (place, fingerprint) = (place.display(), &server.fingerprint);
        Ok(format!(
            "Made, with the fingerprints of their certificates:\n  {place}  {fingerprint}\n{places}\
             Copy each directory to its host as /etc/hearthgate/link, for the account of the service \
             alone, and then remove it here. On the server's host:\n\n\
             [server.link]\n\
             listen = \"ADDRESS:9443\"\n\
             channel_listen = \"ADDRESS:9444\"\n\
             certificate_file = \"/etc/hearthgate/link/link.crt\"\n\
             key_file = \"/etc/hearthgate/link/link.key\"\n\
             gateways_file = \"/etc/hearthgate/link/gateways.crt\"\n\n\
             On each gateway's:\n\n\
             [gateway.link]\n\
             server = \"HOST:9443\"\n\
             channel = \"HOST:9444\"\n\
             certificate_file = \"/etc/hearthgate/link/link.crt\"\n\
             key_file = \"/etc/hearthgate/link/link.key\"\n\
             servers_file = \"/etc/hearthgate/link/servers.crt\"\n"
        ))
    }
}

impl One {
    fn run(&self) -> Result<String, LinkFilesError> {
        let identity = Identity::make("Hearthgate")?;
        identity.write(&self.directory)?;
        let (place, fingerprint) = (self.directory.display(), &identity.fingerprint);
        Ok(format!(
            "Made {place}/link.crt and {place}/link.key, with the fingerprint {fingerprint}.\n\
             First append link.crt to what the other half believes (servers.crt or gateways.crt \
             there), then put both files in the place of the old ones; take the old certificate out \
             there at the end. No restart is needed.\n"
        ))
    }
}

/// A certificate with its key, in PEM.
struct Identity {
    certificate: String,
    key: String,
    fingerprint: String,
}

impl Identity {
    fn make(name: &str) -> Result<Self, LinkFilesError> {
        let mut params = CertificateParams::new(["hearthgate".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let made = params.self_signed(&key)?;
        let fingerprint = link::Fingerprint::of(made.der()).to_string();
        Ok(Self { certificate: made.pem(), key: key.serialize_pem(), fingerprint })
    }

    fn write(&self, directory: &Path) -> Result<(), LinkFilesError> {
        make_directory(directory)?;
        write(&directory.join("link.crt"), &self.certificate, PUBLIC)?;
        write(&directory.join("link.key"), &self.key, SECRET)
    }
}

/// Modes of files that anyone may read, and that nobody else may.
const PUBLIC: u32 = 0o644;
const SECRET: u32 = 0o600;

fn make_directory(path: &Path) -> Result<(), LinkFilesError> {
    let made = fs::DirBuilder::new().mode(0o700).create(path);
    made.map_err(|source| LinkFilesError::File { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), LinkFilesError> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|source| LinkFilesError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_made_lets_each_gateway_and_the_server_know_each_other_and_nothing_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let create = || Create { directory: dir.path().join("made"), gateways: 3 };
        let said = create().run().unwrap();
        let load = |half: &str, peers: &str| {
            let place = dir.path().join("made").join(half);
            let key = place.join("link.key");
            assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
            let (certificate, peers) = (place.join("link.crt"), place.join(peers));
            link::Identity::load(link::LinkFiles { certificate, key, peers }).unwrap().current()
        };
        let server = load("server", "gateways.crt");
        for number in 1..=3 {
            let gateway = load(&format!("gateway-{number}"), "servers.crt");
            assert_eq!(gateway.peers(), std::slice::from_ref(server.certificate()));
            assert!(server.peers().contains(gateway.certificate()));
            let fingerprint = link::Fingerprint::of(gateway.certificate()).to_string();
            assert!(said.contains(&fingerprint), "{said}");
        }
        assert_eq!(server.peers().len(), 3);
        assert!(matches!(create().run(), Err(LinkFilesError::File { .. })));
    }
}
