//! `CodeSystem/$subsumes` (FHIR R4, 4.8.18.3).

use fhir_core::IssueCode;

use super::asked::Asked;
use super::input::{Input, refuse};
use super::output::Output;
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
    input.one_of(&["codeA", "codingA"])?;
    input.one_of(&["codeB", "codingB"])?;
    let codings = [input.coding("codingA")?, input.coding("codingB")?];
    let codes = [input.text("codeA")?, input.text("codeB")?];
    let code = |at: usize| {
        let coding = codings[at].as_ref().map(super::input::OwnedCoding::as_coding);
        codes[at].as_deref().or(coding.map(|it| it.code))
    };
    let (Some(one), Some(other)) = (code(0), code(1)) else {
        let problem = "say which codes: codeA and codeB, or codingA and codingB";
        return Err(refuse(IssueCode::Required, "http.codeA", problem));
    };
    let mut asked = Asked::of_parameters(input, "system")?;
    for (coding, place) in codings.iter().zip(["http.codingA", "http.codingB"]) {
        if let Some(coding) = coding.as_ref().map(super::input::OwnedCoding::as_coding) {
            asked.agree(coding.system, coding.version, place)?;
        }
    }
    let system = if let Some(instance) = input.instance {
        let system = Entry::new(instance)?.code_system()?;
        asked.agree_with(&system.naming, "http.system")?;
        system
    } else {
        let Some(canonical) = asked.canonical() else {
            let problem = "say which code system: system";
            return Err(refuse(IssueCode::Required, "http.system", problem));
        };
        terminology.code_system(canonical, None)?.ok_or_else(|| {
            let canonical = canonical.to_string();
            TerminologyError::UnknownCanonical { kind: "CodeSystem", canonical }
        })?
    };
    let outcome = crate::lookup::subsumes(&system, one, other)?;
    let mut output = Output::new();
    output.text("outcome", "valueCode", outcome.as_str());
    Ok(output.into_json())
}
