//! The public base URL: what every link is built on.

use std::str::FromStr;

/// `http://host/fhir`, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicBase {
    url: String,
    /// Where the path begins in `url`.
    path: usize,
}

/// The text is no base URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a public base is like https://host/fhir: http or https, a host, no query or fragment")]
pub struct InvalidPublicBase;

impl PublicBase {
    /// The whole URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Its path: empty, or `/fhir`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.url[self.path..]
    }

    /// What follows the base's path in `path`: empty or beginning with a slash.
    #[must_use]
    pub fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.path())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    /// The URL relative to this base, when `url` lies under it (http and https are one,
    /// FHIR R4 3.1.0.1.2); a URL that is relative already stays itself.
    #[must_use]
    pub fn relative<'a>(&self, url: &'a str) -> Option<&'a str> {
        // A scheme stands before everything else: criteria may name a system that is a URL.
        let absolute =
            url.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', '?', '#']));
        let Some((_, rest)) = absolute else {
            return Some(url.strip_prefix('/').unwrap_or(url));
        };
        let (_, own) = self.url.split_once("://").unwrap_or(("", &self.url));
        let rest = rest.strip_prefix(own)?;
        match rest.as_bytes().first() {
            None | Some(b'?') => Some(rest),
            Some(b'/') => Some(&rest[1..]),
            Some(_) => None,
        }
    }
}

impl FromStr for PublicBase {
    type Err = InvalidPublicBase;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = text.trim_end_matches('/');
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let rest = rest.ok_or(InvalidPublicBase)?;
        let host = rest.split('/').next().unwrap_or_default();
        let plain =
            rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"\\<>".contains(&byte));
        if host.is_empty() || !plain || rest.contains("//") {
            return Err(InvalidPublicBase);
        }
        let path = url.len() - rest.len() + host.len();
        Ok(Self { url: url.to_owned(), path })
    }
}

#[cfg(test)]
mod tests {
    use super::PublicBase;

    fn base(text: &str) -> PublicBase {
        text.parse().unwrap()
    }

    #[test]
    fn a_base_has_no_slash_at_its_end() {
        // HTTP-001
        assert_eq!(base("http://h:8080/fhir/").as_str(), "http://h:8080/fhir");
        assert_eq!(base("https://h").path(), "");
        assert_eq!(base("https://h/a/b").path(), "/a/b");
        for bad in
            ["", "h/fhir", "ftp://h", "http://", "http:///fhir", "http://h/a?b", "http://h//a"]
        {
            assert!(bad.parse::<PublicBase>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_follows_the_base_is_found() {
        let base = base("http://h/fhir");
        assert_eq!(base.strip("/fhir"), Some(""));
        assert_eq!(base.strip("/fhir/Patient"), Some("/Patient"));
        assert_eq!(base.strip("/fhirPatient"), None);
        assert_eq!(base.strip("/other"), None);
    }

    #[test]
    fn entry_urls_are_relative_to_the_base_or_equal_to_it() {
        // HTTP-161
        let base = base("http://h/fhir");
        for url in
            ["Patient/1", "/Patient/1", "http://h/fhir/Patient/1", "https://h/fhir/Patient/1"]
        {
            assert_eq!(base.relative(url), Some("Patient/1"), "{url}");
        }
        let criteria = "Patient?identifier=http://other/ids|1";
        for url in [criteria, &format!("/{criteria}"), &format!("https://h/fhir/{criteria}")] {
            assert_eq!(base.relative(url), Some(criteria), "{url}");
        }
        for url in ["http://other/fhir/Patient/1", "http://h/fhirx/Patient/1", "urn://h"] {
            assert_eq!(base.relative(url), None, "{url}");
        }
    }
}
