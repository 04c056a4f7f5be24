//! The admin listener: on this machine, or between certificates.

use gateway::{CertificateFiles, ClientCertificates, Tls};

use super::Gateway;

impl Gateway {
    /// What the gateway is told about TLS on the admin listener; nothing without a certificate.
    #[must_use]
    pub fn admin_tls(&self) -> Option<Tls> {
        let certificate = self.admin_certificate_file.clone()?;
        let files = CertificateFiles { certificate, key: self.admin_key_file.clone()? };
        let clients = ClientCertificates::Required(self.admin_authority_file.clone()?);
        Some(Tls { certificates: vec![files], clients, hsts_seconds: None })
    }

    /// What these keys cannot say together.
    pub(super) fn admin_contradiction(&self) -> Option<&'static str> {
        let named =
            [&self.admin_certificate_file, &self.admin_key_file, &self.admin_authority_file];
        let count = named.iter().filter(|file| file.is_some()).count();
        if count != 0 && count != named.len() {
            Some(
                "`gateway.admin_certificate_file`, `gateway.admin_key_file` and \
                 `gateway.admin_authority_file` go together: name all three or none",
            )
        } else if count == 0 && !self.admin_listen.ip().is_loopback() {
            Some(
                "`gateway.admin_listen` is no loopback address, and operators' tokens would leave \
                 this machine readable: listen on loopback, or name \
                 `gateway.admin_certificate_file`, `gateway.admin_key_file` and \
                 `gateway.admin_authority_file`",
            )
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(listen: &str, files: [&str; 3], says: Option<&str>) {
        let file = |name: &str| (!name.is_empty()).then(|| name.into());
        let gateway = Gateway {
            admin_listen: listen.parse().unwrap(),
            admin_certificate_file: file(files[0]),
            admin_key_file: file(files[1]),
            admin_authority_file: file(files[2]),
            ..Gateway::default()
        };
        let found = gateway.admin_contradiction();
        match says {
            None => assert_eq!(found, None),
            Some(says) => assert!(found.unwrap().contains(says), "{found:?}"),
        }
        let all = files.iter().all(|name| !name.is_empty());
        assert_eq!(gateway.admin_tls().is_some(), all);
    }

    // GW-063
    #[test]
    fn another_address_than_loopback_takes_tls_and_client_certificates() {
        check("127.0.0.1:9090", ["", "", ""], None);
        check("[::1]:9090", ["", "", ""], None);
        check("127.0.0.1:9090", ["c", "k", "a"], None);
        check("10.0.0.1:9090", ["c", "k", "a"], None);
        check("0.0.0.0:9090", ["", "", ""], Some("no loopback address"));
        check("10.0.0.1:9090", ["c", "k", ""], Some("go together"));
        check("127.0.0.1:9090", ["c", "", ""], Some("go together"));
        check("127.0.0.1:9090", ["", "", "a"], Some("go together"));
    }
}
