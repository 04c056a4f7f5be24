//! URIs (FHIR R4, 3.1.1.4.15).

use super::Of;
use crate::grammar::modifier::Modifier;
use crate::grammar::{Fault, Piece, Reader};
use crate::{QueryProblem, UriTest};
use fhir_core::Reference;

impl Reader<'_> {
    pub(super) fn uri(
        &self,
        of: &Of<'_>,
        modifier: Option<&Modifier>,
        value: Piece<'_>,
    ) -> Result<UriTest, Fault> {
        let is_profile = &*of.definition.code == "_profile";
        let hierarchical = |uri: Box<str>| {
            if !uri.starts_with("urn:") {
                return Ok(uri);
            }
            let mend =
                "only URLs with a path have something above and below; leave the modifier out";
            Err(value.fault(QueryProblem::invalid("URL with a path", mend)))
        };
        let whole = || value.unescape(self.handling).map(Box::<str>::from);
        match modifier {
            Some(Modifier::Below) if is_profile => match self.canonical(value)? {
                (url, Some(version)) => Ok(UriTest::VersionBelow { url, version }),
                (url, None) => hierarchical(url).map(UriTest::Below),
            },
            Some(Modifier::Below) => hierarchical(whole()?).map(UriTest::Below),
            Some(Modifier::Above) => hierarchical(whole()?).map(UriTest::Above),
            _ if is_profile => {
                if let Ok(Reference::Relative(target)) = Reference::parse(value.text) {
                    return Ok(UriTest::OfResource {
                        resource_type: target.resource_type,
                        id: target.id,
                    });
                }
                let (url, version) = self.canonical(value)?;
                Ok(UriTest::Canonical { url, version })
            }
            _ => whole().map(UriTest::Is),
        }
    }

    /// `url` or `url|version`.
    pub(super) fn canonical(
        &self,
        value: Piece<'_>,
    ) -> Result<(Box<str>, Option<Box<str>>), Fault> {
        let plain = |piece: Piece<'_>| piece.unescape(self.handling).map(Box::<str>::from);
        let parts: Vec<Piece<'_>> = value.split(b'|').collect();
        match parts[..] {
            [url] => Ok((plain(url)?, None)),
            [url, version] if !url.text.is_empty() => {
                let version = plain(version)?;
                Ok((plain(url)?, Some(version).filter(|it| !it.is_empty())))
            }
            _ => {
                let mend = "write url or url|version";
                Err(value.fault(QueryProblem::invalid("canonical URL", mend)))
            }
        }
    }
}
