//! `CodeSystem/$lookup` (FHIR R4, 4.8.18.1).

use fhir_core::IssueCode;

use super::asked::Asked;
use super::input::{Input, refuse};
use super::output::{Output, object};
use crate::code_system::{Designation, PropertyValue};
use crate::error::TerminologyError;
use crate::lookup::{Found, Looked};
use crate::terminology::Terminology;

const PARAMETERS: &[&str] =
    &["code", "system", "version", "coding", "date", "displayLanguage", "property", "tx-resource"];

pub(super) fn perform(
    terminology: &Terminology,
    input: &Input<'_>,
) -> Result<Vec<u8>, TerminologyError> {
    input.only(PARAMETERS)?;
    input.one_of(&["code", "coding"])?;
    let coding = input.coding("coding")?;
    let coding = coding.as_ref().map(super::input::OwnedCoding::as_coding);
    let code = input.text("code")?;
    let code = code.as_deref().or(coding.map(|it| it.code));
    let mut asked = Asked::of_parameters(input, "system")?;
    if let Some(coding) = &coding {
        asked.agree(coding.system, coding.version, "http.coding")?;
    }
    let (Some(code), Some(canonical)) = (code, asked.canonical()) else {
        let problem = "say which code: code and system, or coding";
        return Err(refuse(IssueCode::Required, "http.code", problem));
    };
    let date = input.text("date")?;
    let found = match terminology.lookup(canonical, code, date.as_deref())? {
        Looked::Up(found) => found,
        Looked::Formed(grammar) => {
            let mut output = Output::new();
            output.text("name", "valueString", grammar.name());
            output.text("display", "valueString", code);
            return Ok(output.into_json());
        }
    };
    let wanted = input.texts("property")?;
    Ok(answer(&found, &wanted, &super::languages(input)?).into_json())
}

fn answer(found: &Found, wanted: &[String], languages: &crate::text::Languages) -> Output {
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|it| it == name);
    let (system, concept) = (&found.system, found.concept);
    let mut output = Output::new();
    output.text("name", "valueString", system.naming.shown());
    output.text_if("version", "valueString", system.naming.version.as_deref());
    let display = crate::expand::display(Some((system, concept)), None, languages);
    output.text("display", "valueString", display.unwrap_or(system.code(concept)));
    if system.is_abstract(concept) {
        output.boolean("abstract", true);
    }
    let all = std::iter::once((system, concept))
        .chain(found.supplements.iter().map(|(system, concept)| (system, *concept)));
    for (of, at) in all.clone() {
        for designation in of.designations(at) {
            let of_language = format!("lang.{}", designation.language);
            if wants("designation") || wants(&of_language) {
                output.parts("designation", parts_of(&designation));
            }
        }
    }
    let mut property = |name: &str, value: &PropertyValue<'_>, description: Option<&str>| {
        if wants(name) {
            let mut parts = Output::new();
            parts.text("code", "valueCode", name);
            parts.property("value", value);
            parts.text_if("description", "valueString", description);
            output.parts("property", parts);
        }
    };
    if !system.definition(concept).is_empty() {
        property("definition", &PropertyValue::String(system.definition(concept)), None);
    }
    property("inactive", &PropertyValue::Boolean(system.is_inactive(concept)), None);
    for &parent in system.parents(concept) {
        let display = Some(system.display(parent));
        property("parent", &PropertyValue::Code(system.code(parent)), display);
    }
    for &child in system.children(concept) {
        let display = Some(system.display(child));
        property("child", &PropertyValue::Code(system.code(child)), display);
    }
    for (of, at) in all {
        let values = of.values(at);
        for (name, value) in
            values.filter(|(name, _)| !matches!(*name, "parent" | "child" | "inactive"))
        {
            let description = of.property(name).and_then(|it| it.description.as_deref());
            property(name, &value, description);
        }
    }
    output
}

fn parts_of(designation: &Designation<'_>) -> Output {
    let mut parts = Output::new();
    parts.text_if("language", "valueCode", Some(designation.language));
    if !designation.use_code.is_empty() {
        let usage = object(&[
            ("system", Some(designation.use_system)),
            ("code", Some(designation.use_code)),
        ]);
        parts.raw("use", "valueCoding", &usage);
    }
    parts.text("value", "valueString", designation.value);
    parts
}
