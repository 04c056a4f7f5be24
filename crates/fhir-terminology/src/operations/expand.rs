//! `ValueSet/$expand` (FHIR R4, 4.9.18.1).

use fhir_core::json::write_string;

use super::Surroundings;
use super::input::Input;
use super::output::{member, object};
use crate::error::TerminologyError;
use crate::expand::{Contains, ExpandRequest, Expansion, ExpansionLimits, Nesting};
use crate::resolved::ResolvedSet;
use crate::terminology::Terminology;
use crate::text::TextFilter;

/// The parameters that `$expand` takes.
pub const PARAMETERS: &[&str] = &[
    "url",
    "valueSet",
    "valueSetVersion",
    "context",
    "contextDirection",
    "filter",
    "date",
    "offset",
    "count",
    "includeDesignations",
    "designation",
    "includeDefinition",
    "activeOnly",
    "excludeNested",
    "excludeNotForUI",
    "excludePostCoordinated",
    "displayLanguage",
    "exclude-system",
    "system-version",
    "check-system-version",
    "force-system-version",
    "useSupplement",
    "tx-resource",
];

/// Those that are said again in the expansion, with the type of their values.
const ECHOED: &[(&str, &str)] = &[
    ("filter", "valueString"),
    ("date", "valueDateTime"),
    ("offset", "valueInteger"),
    ("count", "valueInteger"),
    ("includeDesignations", "valueBoolean"),
    ("activeOnly", "valueBoolean"),
    ("excludeNested", "valueBoolean"),
    ("excludeNotForUI", "valueBoolean"),
    ("displayLanguage", "valueCode"),
];

pub(super) fn perform(
    terminology: &Terminology,
    input: &Input<'_>,
    surroundings: Surroundings<'_>,
) -> Result<Vec<u8>, TerminologyError> {
    input.only(PARAMETERS)?;
    let set = super::value_set(terminology, input, surroundings.structures)?;
    let designations = input.texts("designation")?;
    let request = ExpandRequest {
        filter: input.text("filter")?.as_deref().and_then(TextFilter::new),
        offset: input.number("offset")?.unwrap_or(0),
        count: input.number("count")?,
        active_only: input.boolean("activeOnly")?.unwrap_or(false),
        include_designations: input.boolean("includeDesignations")?.unwrap_or(false)
            || !designations.is_empty(),
        designations,
        exclude_abstract: input.boolean("excludeNotForUI")?.unwrap_or(false),
        languages: super::languages(input)?,
        nesting: match input.boolean("excludeNested")? {
            Some(false) => Nesting::Nested,
            _ => Nesting::Flat,
        },
        properties: Vec::new(),
    };
    // No code here is put together from others, so that none is left out.
    input.boolean("excludePostCoordinated")?;
    let with_definition = input.boolean("includeDefinition")?.unwrap_or(false);
    let expansion = set.expand(&request, ExpansionLimits::default())?;
    write(&set, &expansion, input, &request, surroundings, with_definition.then_some(()))
}

fn write(
    set: &ResolvedSet,
    expansion: &Expansion<'_>,
    input: &Input<'_>,
    request: &ExpandRequest,
    surroundings: Surroundings<'_>,
    definition: Option<()>,
) -> Result<Vec<u8>, TerminologyError> {
    let mut out = b"{\"resourceType\":\"ValueSet\"".to_vec();
    let naming = &set.naming;
    let texts = [
        ("url", Some(&*naming.url).filter(|url| !url.is_empty())),
        ("version", naming.version.as_deref()),
        ("name", naming.name.as_deref()),
        ("title", naming.title.as_deref()),
    ];
    for (name, value) in texts {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            member(&mut out, name, value);
        }
    }
    member(&mut out, "status", naming.status.as_str());
    if let (Some(()), Some(compose)) = (definition, &set.compose) {
        out.extend_from_slice(b",\"compose\":");
        out.extend_from_slice(compose.as_bytes());
    }
    out.extend_from_slice(b",\"expansion\":{\"identifier\":");
    write_string(surroundings.identifier, &mut out);
    member(&mut out, "timestamp", surroundings.timestamp);
    out.extend_from_slice(format!(",\"total\":{}", expansion.total).as_bytes());
    if request.count.is_some() || request.offset > 0 {
        out.extend_from_slice(format!(",\"offset\":{}", request.offset).as_bytes());
    }
    let parameters = parameters(set, input)?;
    if !parameters.is_empty() {
        out.extend_from_slice(b",\"parameter\":[");
        out.extend(parameters.join(&b','));
        out.push(b']');
    }
    contains(&expansion.contains, &mut out);
    out.extend_from_slice(b"}}");
    Ok(out)
}

fn parameters(set: &ResolvedSet, input: &Input<'_>) -> Result<Vec<Vec<u8>>, TerminologyError> {
    let mut parameters = Vec::new();
    for (name, of) in ECHOED {
        let Some(value) = input.text(name)?.filter(|value| !value.is_empty()) else { continue };
        let mut out = object(&[("name", Some(name))]);
        out.pop();
        // As they were understood: "007" is no number in JSON.
        let understood = match *of {
            "valueBoolean" => input.boolean(name)?.map(|value| value.to_string()),
            "valueInteger" => input.number(name)?.map(|value| value.to_string()),
            _ => None,
        };
        match understood {
            Some(understood) => {
                out.extend_from_slice(format!(",\"{of}\":{understood}").as_bytes());
            }
            None => member(&mut out, of, &value),
        }
        out.push(b'}');
        parameters.push(out);
    }
    for used in &set.used_supplements {
        parameters.push(object(&[("name", Some("used-supplement")), ("valueUri", Some(used))]));
    }
    for used in set.used_systems() {
        let name = if used.contains('|') { "version" } else { "used-codesystem" };
        parameters.push(object(&[("name", Some(name)), ("valueUri", Some(&used))]));
        if name == "version" {
            let fields = [("name", Some("used-codesystem")), ("valueUri", Some(&*used))];
            parameters.push(object(&fields));
        }
    }
    Ok(parameters)
}

fn contains(list: &[Contains<'_>], out: &mut Vec<u8>) {
    if list.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"contains\":[");
    for (at, item) in list.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let fields =
            [("system", Some(item.system)), ("code", Some(item.code)), ("display", item.display)];
        out.extend(object(&fields));
        out.pop();
        if item.is_abstract {
            out.extend_from_slice(b",\"abstract\":true");
        }
        if item.is_inactive {
            out.extend_from_slice(b",\"inactive\":true");
        }
        if !item.designations.is_empty() {
            out.extend_from_slice(b",\"designation\":[");
            for (at, designation) in item.designations.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                let language = (!designation.language.is_empty()).then_some(designation.language);
                let mut written = object(&[("language", language)]);
                written.pop();
                let mut separator = if written.len() > 1 { "," } else { "" };
                if !designation.use_code.is_empty() {
                    let usage = object(&[
                        ("system", Some(designation.use_system)),
                        ("code", Some(designation.use_code)),
                    ]);
                    written.extend_from_slice(separator.as_bytes());
                    written.extend_from_slice(b"\"use\":");
                    written.extend(usage);
                    separator = ",";
                }
                written.extend_from_slice(separator.as_bytes());
                written.extend_from_slice(b"\"value\":");
                write_string(designation.value, &mut written);
                written.push(b'}');
                out.extend(written);
            }
            out.push(b']');
        }
        contains(&item.contains, out);
        out.push(b'}');
    }
    out.push(b']');
}
