//! `$validate-code` on code systems (FHIR R4, 4.8.18.2) and value sets (4.9.18.2).

use fhir_core::{Issue, IssueCode, OperationOutcome, Severity};

use super::Surroundings;
use super::asked::Asked;
use super::input::{Input, OwnedCoding, refuse};
use super::output::Output;
use crate::error::TerminologyError;
use crate::layer::{Entry, Kind};
use crate::terminology::Terminology;
use crate::validate::{
    Abstracts, Coding, Displays, FindingKind, ValidateOptions, Validation, Verdict, validate_in,
    validate_in_code_system,
};

const IN_CODE_SYSTEM: &[&str] = &[
    "url",
    "codeSystem",
    "code",
    "version",
    "display",
    "coding",
    "codeableConcept",
    "date",
    "abstract",
    "displayLanguage",
    "lenient-display-validation",
    "tx-resource",
];
const IN_VALUE_SET: &[&str] = &[
    "url",
    "context",
    "valueSet",
    "valueSetVersion",
    "code",
    "system",
    "systemVersion",
    "display",
    "coding",
    "codeableConcept",
    "date",
    "abstract",
    "displayLanguage",
    "inferSystem",
    "system-version",
    "check-system-version",
    "force-system-version",
    "exclude-system",
    "useSupplement",
    "lenient-display-validation",
    "tx-resource",
];

/// The ways to say which code.
const WAYS: &[&str] = &["code", "coding", "codeableConcept"];

fn options(input: &Input<'_>) -> Result<ValidateOptions, TerminologyError> {
    Ok(ValidateOptions {
        abstracts: match input.boolean("abstract")? {
            Some(false) => Abstracts::Refused,
            _ => Abstracts::Allowed,
        },
        displays: match input.boolean("lenient-display-validation")? {
            Some(true) => Displays::Lenient,
            _ => Displays::Strict,
        },
        languages: super::languages(input)?,
    })
}

/// What is to be validated, and where its elements stand.
struct Subject<'a> {
    codings: Vec<OwnedCoding<'a>>,
    path: &'static str,
    several: bool,
}

fn subject<'a>(input: &Input<'a>) -> Result<Option<Subject<'a>>, TerminologyError> {
    if let Some(coding) = input.coding("coding")? {
        return Ok(Some(Subject { codings: vec![coding], path: "Coding", several: false }));
    }
    let concept = input.concept("codeableConcept")?;
    Ok(concept.map(|codings| Subject { codings, path: "CodeableConcept", several: true }))
}

fn nothing_given() -> TerminologyError {
    let problem = "say which code: code, coding or codeableConcept";
    refuse(IssueCode::Required, "http.code", problem)
}

pub(super) fn in_code_system(
    terminology: &Terminology,
    input: &Input<'_>,
) -> Result<Vec<u8>, TerminologyError> {
    input.only(IN_CODE_SYSTEM)?;
    input.one_of(WAYS)?;
    let options = options(input)?;
    let at_hand = match input.instance {
        Some(instance) => Some(Entry::new(instance)?.code_system()?),
        None => match input.resource("codeSystem", Kind::CodeSystem)? {
            Some(entry) => Some(entry.code_system()?),
            None => None,
        },
    };
    let (code, display, date) = (input.text("code")?, input.text("display")?, input.text("date")?);
    let mut asked = Asked::of_parameters(input, "url")?;
    if let Some(system) = &at_hand {
        asked.agree_with(&system.naming, "http.url")?;
    }
    let check = |coding: &Coding<'_>| match &at_hand {
        Some(system) => Ok(validate_in(system, coding, &options)),
        None => validate_in_code_system(terminology, coding, date.as_deref(), &options),
    };
    if let Some(code) = code.as_deref() {
        if at_hand.is_none() && asked.url().is_none() {
            let problem = "say which code system: url, or codeSystem with the resource";
            return Err(refuse(IssueCode::Required, "http.url", problem));
        }
        let coding = Coding {
            system: asked.url(),
            version: asked.version(),
            code,
            display: display.as_deref(),
        };
        return Ok(answer(&check(&coding)?, ""));
    }
    let Some(subject) = subject(input)? else { return Err(nothing_given()) };
    let mut best: Option<(usize, Validation)> = None;
    for (at, coding) in subject.codings.iter().enumerate() {
        let mut coding = coding.as_coding();
        let wanted = asked.url();
        // Codings of other code systems are not what is asked about.
        if let (Some(wanted), Some(own)) = (wanted, coding.system)
            && wanted != own
        {
            if subject.several {
                continue;
            }
            let problem = format!("the coding is of {own}, and url is {wanted}");
            return Err(refuse(IssueCode::Invalid, "http.coding", problem));
        }
        coding.system = coding.system.or(wanted);
        coding.version = asked.version().or(coding.version);
        let validation = check(&coding)?;
        let better = best.as_ref().is_none_or(|(_, it)| it.verdict != Verdict::Valid);
        if better && (best.is_none() || validation.verdict == Verdict::Valid) {
            best = Some((at, validation));
        }
    }
    match best {
        Some((at, validation)) => Ok(answer(&validation, &path(&subject, at))),
        None => Err(nothing_given()),
    }
}

fn path(subject: &Subject<'_>, at: usize) -> String {
    if subject.several { format!("{}.coding[{at}]", subject.path) } else { subject.path.to_owned() }
}

pub(super) fn in_value_set(
    terminology: &Terminology,
    input: &Input<'_>,
    surroundings: Surroundings<'_>,
) -> Result<Vec<u8>, TerminologyError> {
    input.only(IN_VALUE_SET)?;
    input.one_of(WAYS)?;
    let options = options(input)?;
    let set = super::value_set(terminology, input, surroundings.structures)?;
    let (code, system, version, display) = (
        input.text("code")?,
        input.text("system")?,
        input.text("systemVersion")?,
        input.text("display")?,
    );
    let (validation, path) = if let Some(code) = code.as_deref() {
        let (system, version) = (system.as_deref(), version.as_deref());
        let coding = Coding { system, version, code, display: display.as_deref() };
        (set.validate(&coding, &options), String::new())
    } else {
        let Some(subject) = subject(input)? else { return Err(nothing_given()) };
        let codings: Vec<_> = subject.codings.iter().map(OwnedCoding::as_coding).collect();
        let (at, validation) =
            set.validate_concept(&codings, &options).ok_or_else(nothing_given)?;
        let path = path(&subject, at);
        (validation, path)
    };
    // A code of the value set that its code system does not know is told as the set's outcome
    // alone where the code system is not here.
    Ok(answer(&validation, &path))
}

fn answer(validation: &Validation, path: &str) -> Vec<u8> {
    let mut output = Output::new();
    // A part of a code system does not speak against a code that it lacks.
    let in_part = validation.verdict == Verdict::NotKnown
        && validation.findings.iter().all(|finding| finding.kind == FindingKind::InvalidCode);
    output.boolean("result", validation.verdict == Verdict::Valid || in_part);
    output.text_if("message", "valueString", validation.message().as_deref());
    output.text_if("display", "valueString", validation.display.as_deref());
    output.text("code", "valueCode", &validation.code);
    output.text_if("system", "valueUri", validation.system.as_deref());
    output.text_if("version", "valueString", validation.version.as_deref());
    if validation.inactive {
        output.boolean("inactive", true);
    }
    if !validation.findings.is_empty() {
        let issues = validation.findings.iter().map(|finding| {
            let code = match finding.kind {
                FindingKind::UnknownSystem | FindingKind::NotFound => IssueCode::NotFound,
                FindingKind::InactiveCode | FindingKind::AbstractCode => IssueCode::BusinessRule,
                FindingKind::InvalidDisplay => IssueCode::Invalid,
                _ => IssueCode::CodeInvalid,
            };
            let severity = match (validation.verdict, finding.severity) {
                // What could not be checked makes the result false, so it is an error here.
                (Verdict::NotKnown, Severity::Warning) if !in_part => Severity::Error,
                (_, severity) => severity,
            };
            let dot = if path.is_empty() || finding.element.is_empty() { "" } else { "." };
            let issue = Issue { severity, ..Issue::error(code, finding.text.as_str()) };
            issue.at(format!("{path}{dot}{}", finding.element))
        });
        let outcome = OperationOutcome { issues: issues.collect() };
        output.raw_resource("issues", &outcome.to_json());
    }
    output.into_json()
}
