//! `CodeSystem/$subsumes` (FHIR R4, 4.8.18.3).

use std::sync::Arc;

use fhir_core::IssueCode;

use super::input::{Input, refuse};
use super::output::Output;
use crate::canonical::Canonical;
use crate::error::TerminologyError;
use crate::layer::Entry;
use crate::terminology::Terminology;

const PARAMETERS: &[&str] =
    &["codeA", "codeB", "system", "version", "codingA", "codingB", "tx-resource"];

pub(super) fn perform(
    terminology: &Terminology,
    input: &Input<'_>,
) -> Result<Vec<u8>, TerminologyError> {
    input.only(PARAMETERS)?;
    let codings = [input.coding("codingA")?, input.coding("codingB")?];
    let codes = [input.text("codeA")?, input.text("codeB")?];
    let of = |at: usize| {
        let coding = codings[at].as_ref().map(super::input::OwnedCoding::as_coding);
        let code = codes[at].as_deref().or(coding.map(|it| it.code));
        (code, coding.and_then(|it| it.system))
    };
    let ((one, one_system), (other, other_system)) = (of(0), of(1));
    let (Some(one), Some(other)) = (one, other) else {
        let problem = "say which codes: codeA and codeB, or codingA and codingB";
        return Err(refuse(IssueCode::Required, "http.codeA", problem));
    };
    if let (Some(one), Some(other)) = (one_system, other_system)
        && one != other
    {
        let problem = format!("{one} and {other} are different code systems");
        return Err(refuse(IssueCode::Invalid, "http.codingB", problem));
    }
    let system = if let Some(instance) = input.instance {
        Entry::new(instance)?.code_system()?
    } else {
        let named = super::canonical(input, "system", "version")?;
        let Some(named) = named.as_deref().or(one_system).or(other_system) else {
            let problem = "say which code system: system";
            return Err(refuse(IssueCode::Required, "http.system", problem));
        };
        let canonical = Canonical::parse(named);
        terminology.code_system(canonical, None)?.ok_or_else(|| {
            TerminologyError::UnknownCanonical { kind: "CodeSystem", canonical: named.to_owned() }
        })?
    };
    let outcome = crate::lookup::subsumes(&Arc::clone(&system), one, other)?;
    let mut output = Output::new();
    output.text("outcome", "valueCode", outcome.as_str());
    Ok(output.into_json())
}
