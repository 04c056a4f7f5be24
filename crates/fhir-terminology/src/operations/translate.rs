//! `ConceptMap/$translate` (FHIR R4, 4.10.13.1).

use fhir_core::IssueCode;

use super::input::{Input, refuse};
use super::output::Output;
use crate::error::TerminologyError;
use crate::layer::{Entry, Kind};
use crate::terminology::Terminology;
use crate::translate::{Direction, Match, TranslateRequest};
use crate::validate::Coding;

const PARAMETERS: &[&str] = &[
    "url",
    "conceptMap",
    "conceptMapVersion",
    "code",
    "system",
    "version",
    "source",
    "coding",
    "codeableConcept",
    "target",
    "targetsystem",
    "dependency",
    "reverse",
    "tx-resource",
];

pub(super) fn perform(
    terminology: &Terminology,
    input: &Input<'_>,
) -> Result<Vec<u8>, TerminologyError> {
    input.only(PARAMETERS)?;
    let (code, system, version) =
        (input.text("code")?, input.text("system")?, input.text("version")?);
    let coding = input.coding("coding")?;
    let concept = input.concept("codeableConcept")?;
    input.one_of(&["code", "coding", "codeableConcept"])?;
    let codings: Vec<Coding<'_>> = if let Some(code) = code.as_deref() {
        vec![Coding { system: system.as_deref(), version: version.as_deref(), code, display: None }]
    } else if let Some(coding) = &coding {
        vec![coding.as_coding()]
    } else if let Some(concept) = &concept {
        concept.iter().map(super::input::OwnedCoding::as_coding).collect()
    } else {
        let problem = "say which code: code and system, coding or codeableConcept";
        return Err(refuse(IssueCode::Required, "http.code", problem));
    };
    let (source, target, target_system) =
        (input.text("source")?, input.text("target")?, input.text("targetsystem")?);
    let dependencies = input.dependencies();
    let request = TranslateRequest {
        source: source.as_deref(),
        target: target.as_deref(),
        target_system: target_system.as_deref(),
        direction: match input.boolean("reverse")? {
            Some(true) => Direction::Reverse,
            _ => Direction::Forward,
        },
        dependencies: dependencies.iter().map(|(of, value)| (&**of, &**value)).collect(),
    };
    let at_hand = match input.instance {
        Some(instance) => Some(Entry::new(instance)?),
        None => input.resource("conceptMap", Kind::ConceptMap)?,
    };
    let map = match at_hand {
        Some(entry) => Some(entry.concept_map()?),
        None => match super::canonical(input, "url", "conceptMapVersion")? {
            Some(canonical) => Some(terminology.map(&canonical)?),
            None => None,
        },
    };
    let translate = |coding: &Coding<'_>| match &map {
        Some(map) => terminology.translate(map, coding, &request),
        None => terminology.translate_by_all(coding, &request),
    };
    Ok(answer(&codings.iter().flat_map(translate).collect::<Vec<_>>()).into_json())
}

fn answer(matches: &[Match]) -> Output {
    let mut output = Output::new();
    let found = matches.iter().any(Match::is_one);
    output.boolean("result", found);
    if !found {
        output.text("message", "valueString", "no map here has a translation of this code");
    }
    for found in matches {
        let mut parts = Output::new();
        parts.text("equivalence", "valueCode", &found.equivalence);
        if found.code.as_deref().is_some_and(|code| !code.is_empty()) {
            let fields = [
                ("system", found.system.as_deref()),
                ("version", found.version.as_deref()),
                ("code", found.code.as_deref()),
                ("display", found.display.as_deref()),
            ];
            parts.coding("concept", &fields);
        }
        for product in &found.product {
            let mut of = Output::new();
            of.text("element", "valueUri", &product.property);
            let fields = [
                ("system", product.system.as_deref()),
                ("code", Some(&*product.value)),
                ("display", product.display.as_deref()),
            ];
            of.coding("concept", &fields);
            parts.parts("product", of);
        }
        parts.text("source", "valueUri", &found.map);
        output.parts("match", parts);
    }
    output
}
