//! `$validate-code` on value sets and code systems (FHIR R4, 4.8.18 and 4.9.18): whether a code is
//! right, and its display with it.
//!
//! Three answers, not two: what depends on a code system that is not here is not known, and never
//! an error. A wrong display makes a code invalid, or a warning where the caller is lenient.

use std::sync::Arc;

use fhir_core::Severity;

use crate::canonical::Canonical;
use crate::code_system::{CodeSystem, ConceptIndex};
use crate::error::TerminologyError;
use crate::expand::display;
use crate::grammar::{Grammar, form_fault};
use crate::resolved::{Member, Membership, ResolvedSet};
use crate::terminology::Terminology;
use crate::text::Languages;
use crate::value_set::ListedConcept;

/// A Coding, as far as it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each field is the element of its name")]
pub struct Coding<'a> {
    pub system: Option<&'a str>,
    pub version: Option<&'a str>,
    pub code: &'a str,
    pub display: Option<&'a str>,
}

/// How a code is judged.
#[derive(Debug, Clone, Default)]
pub struct ValidateOptions {
    /// Whether a concept for grouping alone is good where it stands.
    pub abstracts: Abstracts,
    /// Whether a wrong display makes the code invalid.
    pub displays: Displays,
    /// Languages in which a display counts; with none, every one counts.
    pub languages: Languages,
}

/// Whether a concept for grouping alone is good where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Abstracts {
    /// It is.
    #[default]
    Allowed,
    /// A record needs a concept that can be selected.
    Refused,
}

/// What a wrong display does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Displays {
    /// The code is invalid.
    #[default]
    Strict,
    /// It is remarked.
    Lenient,
}

/// Whether a code is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Valid,
    /// It is not.
    Invalid,
    /// That depends on what is not here.
    NotKnown,
}

/// What kind of finding it is; the names are those that validators use among themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is explained by its code")]
pub enum FindingKind {
    NotInValueSet,
    InvalidCode,
    InvalidDisplay,
    UnknownSystem,
    NotFound,
    CannotInfer,
    AbstractCode,
    InactiveCode,
}

impl FindingKind {
    /// The code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotInValueSet => "not-in-vs",
            Self::InvalidCode => "invalid-code",
            Self::InvalidDisplay => "invalid-display",
            Self::UnknownSystem | Self::NotFound => "not-found",
            Self::CannotInfer => "cannot-infer",
            Self::AbstractCode => "code-rule",
            Self::InactiveCode => "code-comment",
        }
    }
}

/// One thing to say about a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of finding.
    pub kind: FindingKind,
    /// What is wrong and how to mend it.
    pub text: String,
    /// The element of the Coding: `code`, `display`, `system`; empty for the whole.
    pub element: &'static str,
}

/// The outcome of a validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validation {
    /// Whether it is right.
    pub verdict: Verdict,
    /// The code system, found or given.
    pub system: Option<String>,
    /// The version used.
    pub version: Option<String>,
    /// The code.
    pub code: String,
    /// The display that it should have.
    pub display: Option<String>,
    /// Whether it is retired.
    pub inactive: bool,
    /// What there is to say.
    pub findings: Vec<Finding>,
}

impl Validation {
    fn new(coding: &Coding<'_>) -> Self {
        Self {
            verdict: Verdict::Valid,
            system: coding.system.map(str::to_owned),
            version: None,
            code: coding.code.to_owned(),
            display: None,
            inactive: false,
            findings: Vec::new(),
        }
    }

    fn say(
        &mut self,
        severity: Severity,
        kind: FindingKind,
        element: &'static str,
        text: impl Into<String>,
    ) {
        self.findings.push(Finding { severity, kind, element, text: text.into() });
        if severity == Severity::Error && self.verdict == Verdict::Valid {
            self.verdict = Verdict::Invalid;
        }
    }

    fn unknown(mut self, kind: FindingKind, element: &'static str, text: String) -> Self {
        self.say(Severity::Warning, kind, element, text);
        self.verdict = Verdict::NotKnown;
        self
    }

    /// Everything that is wrong, in one text.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        let texts: Vec<&str> = self.findings.iter().map(|finding| finding.text.as_str()).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// What is known of the concept: display, whether it is retired or abstract.
    fn concept(
        &mut self,
        coding: &Coding<'_>,
        concept: Option<(&Arc<CodeSystem>, ConceptIndex)>,
        listed: Option<&ListedConcept>,
        options: &ValidateOptions,
    ) {
        if let Some((of, at)) = concept {
            self.version = of.naming.version.as_deref().map(str::to_owned);
            // The code as the code system writes it.
            self.code = of.code(at).to_owned();
            self.inactive = of.is_inactive(at);
            if self.inactive {
                let text = format!("the code {} is no longer in use", coding.code);
                self.say(Severity::Warning, FindingKind::InactiveCode, "code", text);
            }
            if of.is_abstract(at) && options.abstracts == Abstracts::Refused {
                let text = format!(
                    "the code {} groups others and cannot be used itself: use one below it",
                    coding.code
                );
                self.say(Severity::Error, FindingKind::AbstractCode, "code", text);
            }
        }
        let right = display(concept, listed, &options.languages);
        self.display = right.map(str::to_owned);
        if let (Some(given), Some(right)) = (coding.display, right)
            && !has_name(given, concept, listed, options)
        {
            let severity = match options.displays {
                Displays::Strict => Severity::Error,
                Displays::Lenient => Severity::Warning,
            };
            let text = format!("the display of {} is \"{right}\", not \"{given}\"", coding.code);
            self.say(severity, FindingKind::InvalidDisplay, "display", text);
        }
    }
}

/// Whether a concept has this name, case and runs of white space not regarded. Names of a language
/// that was not asked for do not count; those without one do.
fn has_name(
    given: &str,
    concept: Option<(&Arc<CodeSystem>, ConceptIndex)>,
    listed: Option<&ListedConcept>,
    options: &ValidateOptions,
) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let given = plain(given);
    let counts = |language: &str| {
        language.is_empty()
            || options.languages.is_empty()
            || options.languages.choose([(language, "")].into_iter()).is_some()
    };
    let same = |name: &str| plain(name) == given;
    let listed_names = listed.into_iter().flat_map(|listed| {
        let further = listed.designations.iter();
        let further = further.filter(|it| counts(&it.language)).map(|it| &*it.value);
        listed.display.as_deref().into_iter().chain(further)
    });
    let mut own = concept.into_iter().flat_map(|(of, at)| {
        let further = of.designations(at).filter(|it| counts(it.language)).map(|it| it.value);
        std::iter::once(of.display(at)).chain(further)
    });
    own.any(same) || listed_names.into_iter().any(same)
}

/// Validates a code against a code system, as it was on this date where no version is named.
///
/// # Errors
/// [`TerminologyError::Malformed`] when the code system cannot be read.
pub fn validate_in_code_system(
    terminology: &Terminology,
    coding: &Coding<'_>,
    date: Option<&str>,
    options: &ValidateOptions,
) -> Result<Validation, TerminologyError> {
    let url = coding.system.unwrap_or_default();
    let canonical = Canonical { url, version: coding.version };
    let system = terminology.code_system(canonical, date)?;
    Ok(match system {
        Some(system) => validate_in(&system, coding, options),
        None => validate_elsewhere(coding, &canonical.to_string()),
    })
}

/// Validates a code against a code system that is at hand.
#[must_use]
pub fn validate_in(
    system: &Arc<CodeSystem>,
    coding: &Coding<'_>,
    options: &ValidateOptions,
) -> Validation {
    use crate::code_system::Content;
    let mut validation = Validation::new(coding);
    validation.version = system.naming.version.as_deref().map(str::to_owned);
    let url = &system.naming.url;
    match (system.find(coding.code), system.content) {
        (Some(concept), _) => {
            validation.concept(coding, Some((system, concept)), None, options);
            validation
        }
        (None, Content::Complete) => {
            let text = format!("the code {} is not in the code system {url}", coding.code);
            validation.say(Severity::Error, FindingKind::InvalidCode, "code", text);
            validation
        }
        (None, Content::NotPresent | Content::Supplement) => {
            validate_elsewhere(coding, &system.naming.canonical())
        }
        (None, Content::Fragment | Content::Example) => {
            let text = format!(
                "the code {} is not in the part of the code system {url} that is loaded here",
                coding.code
            );
            validation.unknown(FindingKind::InvalidCode, "code", text)
        }
    }
}

/// A code of a grammar, or of a code system that is not here.
fn validate_elsewhere(coding: &Coding<'_>, canonical: &str) -> Validation {
    let mut validation = Validation::new(coding);
    let Some(grammar) = coding.system.and_then(Grammar::of) else {
        if let Some(fault) = coding.system.and_then(|system| form_fault(system, coding.code)) {
            validation.say(fault.severity, FindingKind::InvalidCode, "code", fault.text);
            if validation.verdict == Verdict::Invalid {
                return validation;
            }
        }
        let text = format!(
            "the code system {canonical} can't be found here, so the code {} was not checked",
            coding.code
        );
        return validation.unknown(FindingKind::UnknownSystem, "system", text);
    };
    if !grammar.accepts(coding.code) {
        let text = format!("{} is no code of {}", coding.code, grammar.name());
        validation.say(Severity::Error, FindingKind::InvalidCode, "code", text);
    }
    validation
}

impl ResolvedSet {
    /// Validates a Coding, or a code without a system where the value set says which it is.
    #[must_use]
    pub fn validate(&self, coding: &Coding<'_>, options: &ValidateOptions) -> Validation {
        let validation = Validation::new(coding);
        let system = match coding.system {
            Some(system) => system,
            None => match self.systems_of(coding.code) {
                (systems, _) if systems.len() == 1 => systems[0],
                (systems, _) if !systems.is_empty() => {
                    let mut validation = validation;
                    let text = format!(
                        "the code {} stands for different things in {}: say which system it is of",
                        coding.code,
                        systems.join(" and ")
                    );
                    validation.say(Severity::Error, FindingKind::CannotInfer, "system", text);
                    return validation;
                }
                (_, Some(why)) => {
                    return validation.unknown(FindingKind::NotFound, "code", why.to_string());
                }
                (_, None) => return self.outside(validation),
            },
        };
        let mut validation = Validation { system: Some(system.to_owned()), ..validation };
        match self.check(system, coding.code) {
            Membership::Outside => self.outside(validation),
            Membership::NotKnown(why) => {
                let kind = match why {
                    TerminologyError::SystemNotLoaded { .. } => FindingKind::UnknownSystem,
                    TerminologyError::SystemInPart { .. } => FindingKind::InvalidCode,
                    _ => FindingKind::NotFound,
                };
                let text = format!(
                    "whether {} is in {} is not known: {why}",
                    coding.code,
                    self.naming.canonical()
                );
                validation.unknown(kind, "code", text)
            }
            Membership::Member(Member { code_system, listed, .. }) => {
                let concept = code_system.and_then(|(of, at)| Some((of, at?)));
                if let (Some(wanted), Some((of, _))) = (coding.version, code_system)
                    && of.naming.version.as_deref().is_some_and(|used| used != wanted)
                {
                    let text = format!(
                        "the code system {system} is used in version {}, not {wanted}",
                        of.naming.version.as_deref().unwrap_or_default()
                    );
                    validation.say(Severity::Warning, FindingKind::NotFound, "version", text);
                }
                validation.concept(coding, concept, listed, options);
                validation
            }
        }
    }

    fn outside(&self, mut validation: Validation) -> Validation {
        let of = validation.system.as_deref().unwrap_or_default();
        let bar = if of.is_empty() { "" } else { "|" };
        let text = format!(
            "the code {of}{bar}{} is not in the value set {}",
            validation.code,
            self.naming.canonical()
        );
        validation.say(Severity::Error, FindingKind::NotInValueSet, "code", text);
        validation
    }

    /// Validates the codings of a CodeableConcept: one that is in the value set is enough. The
    /// outcome is that of the first that is valid; else of the first that is not known; else of
    /// the first. With it, its place.
    #[must_use]
    pub fn validate_concept(
        &self,
        codings: &[Coding<'_>],
        options: &ValidateOptions,
    ) -> Option<(usize, Validation)> {
        let mut validations: Vec<_> =
            codings.iter().map(|coding| self.validate(coding, options)).enumerate().collect();
        let verdict = |wanted| validations.iter().position(|(_, it)| it.verdict == wanted);
        let best = verdict(Verdict::Valid).or_else(|| verdict(Verdict::NotKnown)).unwrap_or(0);
        (best < validations.len()).then(|| validations.swap_remove(best))
    }
}
