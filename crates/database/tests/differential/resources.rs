//! Resources by chance.

use super::chance::Chance;
use super::values::{
    CODES, DATES, LATITUDES, LONGITUDES, NUMBERS, SYSTEMS, TEXTS, TIMES, UNITS, URIS,
};

/// The members of a resource of a type, with commas between.
fn members(chance: &mut Chance, of: &str) -> String {
    let mut all = vec![meta(chance)];
    let mut add = |member: Option<String>| all.extend(member);
    match of {
        "Patient" => {
            add(maybe(chance, "name", |it| format!("[{},{}]", name(it), name(it))));
            add(maybe(chance, "birthDate", |it| quoted(it.one(&DATES))));
            add(maybe(chance, "gender", |it| quoted(it.one(&["male", "female"]))));
            add(maybe(chance, "active", |it| it.one(&["true", "false"]).to_owned()));
            add(maybe(chance, "identifier", |it| format!("[{}]", identifier(it))));
            add(maybe(chance, "generalPractitioner", |it| many(it, &["Organization"])));
            add(maybe(chance, "managingOrganization", |it| refers(it, &["Organization"])));
            add(maybe(chance, "telecom", |it| {
                format!("[{{\"system\":\"phone\",\"value\":{}}}]", quoted(it.one(&CODES)))
            }));
            add(maybe(chance, "deceasedDateTime", |it| quoted(it.one(&TIMES))));
            add(maybe(chance, "address", |it| {
                format!("[{{\"city\":{},\"use\":\"home\"}}]", quoted(it.one(&TEXTS)))
            }));
        }
        "Observation" => {
            add(Some("\"status\":\"final\"".to_owned()));
            add(maybe(chance, "code", concept));
            add(maybe(chance, "subject", |it| refers(it, &["Patient", "Group", "Location"])));
            add(maybe(chance, "performer", |it| many(it, &["Organization", "Patient"])));
            add(maybe(chance, "hasMember", |it| many(it, &["Observation"])));
            add(maybe(chance, "category", |it| format!("[{}]", concept(it))));
            add(maybe(chance, "encounter", |it| refers(it, &["Encounter"])));
            add(maybe(chance, "identifier", |it| format!("[{}]", identifier(it))));
            add(when(chance, "effective"));
            add(value(chance));
            add(maybe(chance, "component", |it| {
                let component = |it: &mut Chance| {
                    let value = value(it).map(|value| format!(",{value}")).unwrap_or_default();
                    format!("{{\"code\":{}{value}}}", concept(it))
                };
                format!("[{},{}]", component(it), component(it))
            }));
        }
        "Condition" => {
            add(Some(format!("\"subject\":{}", refers(chance, &["Patient", "Group"]))));
            add(maybe(chance, "code", concept));
            add(maybe(chance, "clinicalStatus", concept));
            add(maybe(chance, "encounter", |it| refers(it, &["Encounter"])));
            add(maybe(chance, "onsetAge", quantity));
            add(maybe(chance, "abatementString", |it| quoted(it.one(&TEXTS))));
            add(maybe(chance, "recordedDate", |it| quoted(it.one(&TIMES))));
            add(maybe(chance, "evidence", |it| {
                format!("[{{\"detail\":{}}}]", many(it, &["Observation"]))
            }));
        }
        "Organization" => {
            add(maybe(chance, "name", |it| quoted(it.one(&TEXTS))));
            add(maybe(chance, "alias", |it| format!("[{}]", quoted(it.one(&TEXTS)))));
            add(maybe(chance, "partOf", |it| refers(it, &["Organization"])));
            add(maybe(chance, "type", |it| format!("[{}]", concept(it))));
        }
        "MedicationRequest" => {
            add(Some(format!("\"subject\":{}", refers(chance, &["Patient"]))));
            add(Some("\"status\":\"active\",\"intent\":\"order\"".to_owned()));
            if chance.once_in(2) {
                let (a, b) = (members(chance, "Medication"), members(chance, "Medication"));
                add(Some(format!(
                    "\"contained\":[{{\"resourceType\":\"Medication\",\"id\":\"a\",{a}}},\
                     {{\"resourceType\":\"Medication\",\"id\":\"b\",{b}}}],\
                     \"medicationReference\":{{\"reference\":\"#a\"}}"
                )));
            } else {
                add(maybe(chance, "medicationReference", |it| refers(it, &["Medication"])));
            }
            add(maybe(chance, "authoredOn", |it| quoted(it.one(&TIMES))));
            add(maybe(chance, "encounter", |it| refers(it, &["Encounter"])));
        }
        "Medication" => {
            add(maybe(chance, "code", concept));
            add(maybe(chance, "status", |it| quoted(it.one(&["active", "inactive"]))));
            add(maybe(chance, "manufacturer", |it| refers(it, &["Organization"])));
        }
        "Group" => {
            add(Some("\"type\":\"person\",\"actual\":true".to_owned()));
            add(maybe(chance, "member", |it| {
                format!("[{{\"entity\":{}}}]", refers(it, &["Patient", "Group"]))
            }));
            add(maybe(chance, "characteristic", |it| {
                format!(
                    "[{{\"code\":{},\"valueCodeableConcept\":{},\"exclude\":false}}]",
                    concept(it),
                    concept(it)
                )
            }));
        }
        "List" => {
            add(Some("\"status\":\"current\",\"mode\":\"working\"".to_owned()));
            add(maybe(chance, "entry", |it| {
                let item = |it: &mut Chance| refers(it, &["Patient", "Observation", "Condition"]);
                format!("[{{\"item\":{}}},{{\"item\":{}}}]", item(it), item(it))
            }));
            add(maybe(chance, "title", |it| quoted(it.one(&TEXTS))));
            add(maybe(chance, "subject", |it| refers(it, &["Patient"])));
        }
        "Encounter" => {
            add(Some("\"status\":\"finished\",\"class\":{\"code\":\"AMB\"}".to_owned()));
            add(maybe(chance, "subject", |it| refers(it, &["Patient"])));
            add(maybe(chance, "partOf", |it| refers(it, &["Encounter"])));
            add(maybe(chance, "period", period));
            add(maybe(chance, "length", quantity));
        }
        "Location" => {
            add(maybe(chance, "name", |it| quoted(it.one(&TEXTS))));
            add(maybe(chance, "partOf", |it| refers(it, &["Location"])));
            add(maybe(chance, "position", |it| {
                let (latitude, longitude) = (it.one(&LATITUDES), it.one(&LONGITUDES));
                format!("{{\"latitude\":{latitude},\"longitude\":{longitude}}}")
            }));
        }
        "QuestionnaireResponse" => {
            add(Some("\"status\":\"completed\"".to_owned()));
            add(maybe(chance, "questionnaire", |it| {
                let version = it.one(&["", "", "|1", "|1.0"]);
                quoted(&format!("{}{version}", it.one(&URIS[..3])))
            }));
            add(maybe(chance, "subject", |it| refers(it, &["Patient"])));
            if chance.once_in(3) {
                let (inner, subject) = (members(chance, "Observation"), members(chance, "Patient"));
                add(Some(format!(
                    "\"contained\":[{{\"resourceType\":\"Observation\",\"id\":\"a\",{inner}}},\
                     {{\"resourceType\":\"Patient\",\"id\":\"c\",{subject}}}]"
                )));
            }
        }
        "RiskAssessment" => {
            add(Some("\"status\":\"final\"".to_owned()));
            add(maybe(chance, "subject", |it| refers(it, &["Patient", "Group"])));
            add(maybe(chance, "prediction", |it| {
                let number = it.one(&NUMBERS);
                match it.below(3) {
                    0 => format!(
                        "[{{\"probabilityRange\":{{\"low\":{{\"value\":{number}}},\
                         \"high\":{{\"value\":{}}}}}}}]",
                        it.one(&NUMBERS)
                    ),
                    _ => format!("[{{\"probabilityDecimal\":{number}}}]"),
                }
            }));
        }
        _ => {
            add(Some("\"status\":\"active\"".to_owned()));
            add(maybe(chance, "url", |it| quoted(it.one(&URIS))));
            add(maybe(chance, "version", |it| quoted(it.one(&["1", "1.0", "2"]))));
            add(maybe(chance, "name", |it| quoted(it.one(&TEXTS))));
            add(maybe(chance, "date", |it| quoted(it.one(&TIMES))));
        }
    }
    all.join(",")
}

/// A member that is there two times of three.
fn maybe(chance: &mut Chance, name: &str, value: impl Fn(&mut Chance) -> String) -> Option<String> {
    (!chance.once_in(3)).then(|| format!("\"{name}\":{}", value(chance)))
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn meta(chance: &mut Chance) -> String {
    let (tag, profile) = (coding(chance), quoted(chance.one(&URIS)));
    format!("\"meta\":{{\"tag\":[{tag}],\"profile\":[{profile}]}}")
}

fn coding(chance: &mut Chance) -> String {
    let mut members = Vec::new();
    if !chance.once_in(4) {
        members.push(format!("\"system\":\"{}\"", chance.one(&SYSTEMS)));
    }
    if !chance.once_in(6) || members.is_empty() {
        members.push(format!("\"code\":\"{}\"", chance.one(&CODES)));
    }
    if chance.once_in(2) {
        members.push(format!("\"display\":\"{}\"", chance.one(&TEXTS)));
    }
    format!("{{{}}}", members.join(","))
}

fn concept(chance: &mut Chance) -> String {
    let text = quoted(chance.one(&TEXTS));
    match chance.below(4) {
        0 => format!("{{\"text\":{text}}}"),
        1 => format!("{{\"coding\":[{},{}],\"text\":{text}}}", coding(chance), coding(chance)),
        _ => format!("{{\"coding\":[{}]}}", coding(chance)),
    }
}

fn identifier(chance: &mut Chance) -> String {
    let (concept, value) = (concept(chance), chance.one(&CODES));
    let system = chance.one(&SYSTEMS);
    match chance.below(3) {
        0 => format!("{{\"value\":\"{value}\"}}"),
        1 => format!("{{\"system\":\"{system}\",\"type\":{concept},\"value\":\"{value}\"}}"),
        _ => format!("{{\"system\":\"{system}\",\"value\":\"{value}\"}}"),
    }
}

fn name(chance: &mut Chance) -> String {
    let (family, given) = (chance.one(&TEXTS), chance.one(&TEXTS));
    format!("{{\"family\":\"{family}\",\"given\":[\"{given}\"]}}")
}

fn refers(chance: &mut Chance, types: &[&str]) -> String {
    match chance.below(8) {
        0 => format!("{{\"identifier\":{}}}", identifier(chance)),
        1 => {
            let (reference, identifier) = (chance.reference(types), identifier(chance));
            format!("{{\"reference\":\"{reference}\",\"identifier\":{identifier}}}")
        }
        _ => format!("{{\"reference\":\"{}\"}}", chance.reference(types)),
    }
}

fn many(chance: &mut Chance, types: &[&str]) -> String {
    format!("[{},{}]", refers(chance, types), refers(chance, types))
}

fn period(chance: &mut Chance) -> String {
    let (start, end) = (chance.one(&TIMES), chance.one(&TIMES));
    match chance.below(3) {
        0 => format!("{{\"start\":\"{start}\"}}"),
        1 => format!("{{\"end\":\"{end}\"}}"),
        _ => format!("{{\"start\":\"{start}\",\"end\":\"{end}\"}}"),
    }
}

fn when(chance: &mut Chance, name: &str) -> Option<String> {
    match chance.below(4) {
        0 => None,
        1 => Some(format!("\"{name}Period\":{}", period(chance))),
        _ => Some(format!("\"{name}DateTime\":\"{}\"", chance.one(&TIMES))),
    }
}

fn quantity(chance: &mut Chance) -> String {
    let (number, (unit, code)) = (chance.one(&NUMBERS), chance.one(&UNITS));
    let code =
        code.map(|code| format!(",\"system\":\"http://unitsofmeasure.org\",\"code\":\"{code}\""));
    let comparator = if chance.once_in(5) { ",\"comparator\":\"<\"" } else { "" };
    let code = code.unwrap_or_default();
    format!("{{\"value\":{number},\"unit\":\"{unit}\"{code}{comparator}}}")
}

fn value(chance: &mut Chance) -> Option<String> {
    Some(match chance.below(6) {
        0 => return None,
        1 => format!("\"valueCodeableConcept\":{}", concept(chance)),
        2 => format!("\"valueString\":\"{}\"", chance.one(&TEXTS)),
        3 => format!("\"valueDateTime\":\"{}\"", chance.one(&TIMES)),
        _ => format!("\"valueQuantity\":{}", quantity(chance)),
    })
}

/// A resource's name and its JSON.
pub(crate) fn resource(chance: &mut Chance, of: &str) -> (String, String) {
    let name = format!("{of}/{}", chance.id());
    (name, format!("{{\"resourceType\":\"{of}\",{}}}", members(chance, of)))
}

/// The names and JSON of resources of one patient alone, who can be purged: the patient, and what
/// is said of nobody else.
pub(crate) fn of_one_patient(chance: &mut Chance, id: &str) -> Vec<(String, String)> {
    let birth = chance.one(&DATES);
    let patient = format!(
        "{{\"resourceType\":\"Patient\",{},\"birthDate\":\"{birth}\",\"name\":[{}]}}",
        meta(chance),
        name(chance)
    );
    let observations = (0..3).map(|number| {
        let value = value(chance).map(|value| format!(",{value}")).unwrap_or_default();
        let json = format!(
            "{{\"resourceType\":\"Observation\",{},\"status\":\"final\",\"code\":{},\
             \"subject\":{{\"reference\":\"Patient/{id}\"}}{value}}}",
            meta(chance),
            concept(chance)
        );
        (format!("Observation/{id}-{number}"), json)
    });
    let observations: Vec<_> = observations.collect();
    [(format!("Patient/{id}"), patient)].into_iter().chain(observations).collect()
}
