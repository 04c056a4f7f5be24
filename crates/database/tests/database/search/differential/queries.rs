//! Queries by chance, of every kind of parameter.

use fhir_search::{Component, Kind, Parameter};

use super::super::EXTRACTOR;
use super::values::{CODES, DATES, IDS, NUMBERS, SYSTEMS, TEXTS, TIMES, TYPES, UNITS, URIS};
use crate::random::Chance;

/// The codes of parameters that resources here have values of.
const USUAL: [&str; 61] = [
    "_id",
    "_lastUpdated",
    "_tag",
    "_profile",
    "name",
    "family",
    "given",
    "birthdate",
    "gender",
    "active",
    "identifier",
    "general-practitioner",
    "organization",
    "telecom",
    "death-date",
    "address",
    "address-city",
    "code",
    "subject",
    "patient",
    "performer",
    "has-member",
    "category",
    "encounter",
    "date",
    "value-quantity",
    "value-concept",
    "value-string",
    "value-date",
    "component-code",
    "component-value-quantity",
    "combo-code",
    "combo-value-quantity",
    "code-value-quantity",
    "combo-code-value-quantity",
    "component-code-value-concept",
    "code-value-string",
    "code-value-date",
    "clinical-status",
    "onset-age",
    "abatement-string",
    "recorded-date",
    "evidence-detail",
    "partof",
    "type",
    "medication",
    "authoredon",
    "status",
    "manufacturer",
    "member",
    "characteristic",
    "characteristic-value",
    "item",
    "title",
    "part-of",
    "length",
    "near",
    "probability",
    "url",
    "version",
    "questionnaire",
];

/// A request as after the base of a URL. It may be one that cannot be read.
pub(super) fn request(chance: &mut Chance) -> String {
    let of = chance.one(&TYPES);
    let mut conditions = Vec::new();
    let path = match chance.below(10) {
        0 => format!("Patient/{}/{of}", chance.one(&IDS)),
        1 => {
            conditions.push(format!("_type={of},{}", chance.one(&TYPES)));
            String::new()
        }
        _ => of.to_owned(),
    };
    let many = if path.is_empty() { 1 } else { chance.below(3) };
    for _ in 0..many {
        let of = if path.is_empty() { "Resource" } else { of };
        conditions.extend(condition(chance, of, 2));
    }
    if chance.once_in(3) {
        let minus = chance.one(&["", "-"]);
        let key = parameter(chance, of);
        let code = if chance.once_in(20) { "_score" } else { key.code() };
        conditions.push(format!("_sort={minus}{code}"));
        if chance.once_in(3) {
            let last = conditions.last_mut().unwrap();
            *last = format!("{last},-{}", parameter(chance, of).code());
        }
    }
    for _ in 0..chance.below(3) {
        conditions.extend(include(chance, of));
    }
    if chance.once_in(6) {
        conditions.push(format!("_contained={}", chance.one(&["true", "both"])));
        if chance.once_in(2) {
            conditions.push("_containedType=contained".to_owned());
        }
    }
    format!("{path}?{}", conditions.join("&"))
}

fn parameter(chance: &mut Chance, of: &str) -> &'static Parameter {
    let of_type = EXTRACTOR.parameters().of_type(of);
    let usual: Vec<&'static Parameter> =
        of_type.iter().map(|it| &**it).filter(|it| USUAL.contains(&it.code())).collect();
    if usual.is_empty() || chance.once_in(8) {
        let all: Vec<&'static Parameter> = of_type.iter().map(|it| &**it).collect();
        return chance.one(&all);
    }
    chance.one(&usual)
}

/// A parameter with its value, chained or not.
fn condition(chance: &mut Chance, of: &str, depth: u32) -> Option<String> {
    if of == "Resource" {
        let code = chance.one(&["_id", "_lastUpdated", "_tag", "_profile"]);
        let known = EXTRACTOR.parameters().get("Patient", code)?;
        return Some(format!("{code}={}", value(chance, known)));
    }
    match chance.below(16) {
        0..=2 if depth > 0 => {
            let from = chance.one(&TYPES);
            let link = reference_parameter(chance, from)?;
            let rest = condition(chance, from, depth - 1)?;
            if rest.starts_with("_list") || rest.starts_with("_filter") {
                return None;
            }
            Some(format!("_has:{from}:{}:{rest}", link.code()))
        }
        3..=6 if depth > 0 => {
            let link = reference_parameter(chance, of)?;
            let known = TYPES
                .into_iter()
                .filter(|of| link.definition.targets.iter().any(|it| **it == **of));
            let known: Vec<&str> = known.collect();
            let target = if known.is_empty() { chance.one(&TYPES) } else { chance.one(&known) };
            let rest = condition(chance, target, depth - 1)?;
            Some(format!("{}:{target}.{rest}", link.code()))
        }
        7 if depth == 2 && of == "Condition" => Some("_list=$current-problems".to_owned()),
        7 if depth == 2 => Some(format!("_list={}", chance.one(&IDS))),
        8 if depth == 2 => {
            let both = [filter(chance, of), filter(chance, of)];
            let between = chance.one(&[" and ", " or "]);
            Some(match chance.below(3) {
                0 => format!("_filter=not ({})", both[0]),
                1 => format!("_filter={}", both[0]),
                _ => format!("_filter={}", both.join(between)),
            })
        }
        _ => {
            let parameter = parameter(chance, of);
            let code = parameter.code().to_owned();
            if chance.once_in(8) {
                return Some(format!("{code}:missing={}", chance.one(&["true", "false"])));
            }
            let mut values = value(chance, parameter);
            if chance.once_in(4) {
                values = format!("{values},{}", value(chance, parameter));
            }
            let modifiers: &[&str] = match parameter.kind {
                Kind::String => &[":exact", ":contains"],
                Kind::Token => &[":not", ":text", ":of-type", ":not"],
                Kind::Reference => &[":identifier", ":below", ":above", ":Patient", ":not"],
                Kind::Uri => &[":below", ":above", ":not"],
                _ => &[""],
            };
            if chance.once_in(4) {
                let modifier = chance.one(modifiers);
                let values = match modifier {
                    ":identifier" => token(chance),
                    ":text" => chance.one(&TEXTS).to_owned(),
                    ":of-type" => {
                        let (system, code) = (chance.one(&SYSTEMS), chance.one(&CODES));
                        format!("{system}|{code}|{}", chance.one(&CODES))
                    }
                    _ => values,
                };
                return Some(format!("{code}{modifier}={values}"));
            }
            Some(format!("{code}={values}"))
        }
    }
}

fn reference_parameter(chance: &mut Chance, of: &str) -> Option<&'static Parameter> {
    let of_type = EXTRACTOR.parameters().of_type(of);
    let links: Vec<&'static Parameter> = of_type
        .iter()
        .map(|it| &**it)
        .filter(|it| it.kind == Kind::Reference && USUAL.contains(&it.code()))
        .collect();
    (!links.is_empty()).then(|| chance.one(&links))
}

fn token(chance: &mut Chance) -> String {
    let (system, code) = (chance.one(&SYSTEMS), chance.one(&CODES));
    match chance.below(5) {
        0 => format!("{system}|"),
        1 => format!("|{code}"),
        2 | 3 => format!("{system}|{code}"),
        _ => chance.one(&["male", "true", "active", code, code]).to_owned(),
    }
}

/// A value that a parameter may be asked for with, encoded as far as it must be.
fn value(chance: &mut Chance, parameter: &Parameter) -> String {
    value_of(chance, parameter.kind, parameter.code(), &parameter.components)
}

fn value_of(chance: &mut Chance, kind: Kind, code: &str, components: &[Component]) -> String {
    const PREFIXES: [&str; 12] = ["", "", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap", ""];
    let prefix = chance.one(&PREFIXES);
    match kind {
        _ if code == "_id" => chance.one(&IDS).to_owned(),
        _ if code == "_lastUpdated" => {
            format!("{prefix}{}", chance.one(&["2027", "2026", "2027-01-15T08:00:00Z"]))
        }
        Kind::Number => format!("{prefix}{}", chance.one(&NUMBERS)),
        Kind::Date => {
            let date = if chance.once_in(2) { chance.one(&DATES) } else { chance.one(&TIMES) };
            format!("{prefix}{}", date.replace('+', "%2B"))
        }
        Kind::String => {
            let text = chance.one(&TEXTS);
            let length = 1 + usize::try_from(chance.below(text.len() as u64)).unwrap();
            text[..text.ceil_char_boundary(length)].to_lowercase()
        }
        Kind::Token => token(chance),
        Kind::Reference => match chance.below(3) {
            0 => chance.one(&IDS).to_owned(),
            _ if code == "questionnaire" => chance.one(&URIS).to_owned(),
            _ => chance.reference(&TYPES),
        },
        Kind::Composite => {
            let parts = components.iter().map(|part| value_of(chance, part.kind, "", &[]));
            parts.collect::<Vec<_>>().join("$")
        }
        Kind::Quantity => {
            let (number, (unit, code)) = (chance.one(&NUMBERS), chance.one(&UNITS));
            match (chance.below(3), code) {
                (0, _) => format!("{prefix}{number}"),
                (1, Some(code)) => {
                    format!("{prefix}{number}|http://unitsofmeasure.org|{code}")
                }
                _ => format!("{prefix}{number}||{unit}"),
            }
        }
        Kind::Uri => chance.one(&URIS).to_owned(),
        Kind::Special => format!("52.5|13.4|{}|km", chance.one(&["1", "10", "500"])),
    }
}

fn filter(chance: &mut Chance, of: &str) -> String {
    let parameter = parameter(chance, of);
    let operator = chance.one(&["eq", "ne", "gt", "lt", "co", "sw", "ss", "re", "ge", "le", "pr"]);
    if operator == "pr" {
        return format!("{} pr {}", parameter.code(), chance.one(&["true", "false"]));
    }
    let value = match parameter.kind {
        Kind::String | Kind::Uri => format!("\"{}\"", chance.one(&TEXTS)),
        Kind::Token => token(chance),
        Kind::Number | Kind::Quantity => chance.one(&NUMBERS).to_owned(),
        Kind::Date => chance.one(&DATES).to_owned(),
        _ => chance.reference(&TYPES),
    };
    format!("{} {operator} {value}", parameter.code())
}

fn include(chance: &mut Chance, of: &str) -> Option<String> {
    let iterate = chance.one(&["", "", ":iterate"]);
    if chance.once_in(8) {
        return Some(format!("_include{iterate}=*"));
    }
    if chance.once_in(2) {
        let link = reference_parameter(chance, of)?;
        let target = chance.one(&["", "", ":Patient", ":Organization"]);
        return Some(format!("_include{iterate}={of}:{}{target}", link.code()));
    }
    let from = chance.one(&TYPES);
    let link = reference_parameter(chance, from)?;
    Some(format!("_revinclude{iterate}={from}:{}", link.code()))
}
