//! Which code system or value set an operation is asked about, where several parameters may say it.

use fhir_core::IssueCode;

use super::input::{Input, refuse};
use crate::canonical::Canonical;
use crate::code_system::Naming;
use crate::error::TerminologyError;

/// A code system, or a value set, as it was named so far.
#[derive(Debug, Default)]
pub(super) struct Asked {
    url: Option<String>,
    version: Option<String>,
}

impl Asked {
    /// As a canonical says.
    pub(super) fn of(named: Option<&str>) -> Self {
        let named = named.map(Canonical::parse);
        let version = named.and_then(|it| it.version);
        Self { url: named.map(|it| it.url.to_owned()), version: version.map(str::to_owned) }
    }

    /// As `name` (a canonical) and the parameter `version` say.
    pub(super) fn of_parameters(input: &Input<'_>, name: &str) -> Result<Self, TerminologyError> {
        let named = super::canonical(input, name, "version")?;
        let asked = Self::of(named.as_deref());
        let version = input.text("version")?.map(|version| version.into_owned());
        Ok(Self { version: asked.version.or(version), ..asked })
    }

    /// Says it again, at this place: it must be the same as before, as far as both say it.
    pub(super) fn agree(
        &mut self,
        url: Option<&str>,
        version: Option<&str>,
        expression: &str,
    ) -> Result<(), TerminologyError> {
        let said = [(&mut self.url, url, "canonicals"), (&mut self.version, version, "versions")];
        for (before, now, what) in said {
            match (&*before, now.filter(|now| !now.is_empty())) {
                (Some(before), Some(now)) if before != now => {
                    let problem = format!("{before} and {now} are different {what}: name one");
                    return Err(refuse(IssueCode::Invalid, expression, problem));
                }
                (None, Some(now)) => *before = Some(now.to_owned()),
                _ => {}
            }
        }
        Ok(())
    }

    /// The same with a resource that is at hand.
    pub(super) fn agree_with(
        &mut self,
        naming: &Naming,
        expression: &str,
    ) -> Result<(), TerminologyError> {
        self.agree(Some(&naming.url), naming.version.as_deref(), expression)
    }

    /// The URL that was named.
    pub(super) fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// The version that was named.
    pub(super) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// What was named.
    pub(super) fn canonical(&self) -> Option<Canonical<'_>> {
        Some(Canonical { url: self.url.as_deref()?, version: self.version.as_deref() })
    }
}
