//! Value sets that nobody wrote down: all codes of a code system, and the URLs by which SNOMED CT,
//! LOINC and UCUM name sets of theirs (FHIR R4, 4.9.6 and the pages on using them).

use crate::code_system::{CodeSystem, Naming, Status};
use crate::grammar::SNOMED;
use crate::value_set::{Filter, Include, ValueSet};

const LOINC: &str = "http://loinc.org";
const UCUM: &str = "http://unitsofmeasure.org";

/// All codes of a code system.
pub(crate) fn all_codes(system: &CodeSystem, url: &str) -> ValueSet {
    let mut set = of(url, &system.naming.url, None);
    set.include[0].version = system.naming.version.clone();
    set.naming.version = system.naming.version.clone();
    set.naming.title = system.naming.title.clone();
    set.naming.status = system.naming.status;
    set
}

/// The value set that a URL stands for by its form.
pub(crate) fn value_set(url: &str) -> Option<ValueSet> {
    let filter = |property: &str, op: &str, value: &str| {
        Some(Filter { property: property.into(), op: op.into(), value: value.into() })
    };
    if let Some((system, rest)) = url.split_once("?fhir_vs") {
        // An edition of SNOMED CT is a version of the one code system.
        let edition = system.strip_prefix(SNOMED).filter(|edition| edition.starts_with('/'));
        let filter = match rest.strip_prefix('=') {
            None if rest.is_empty() => None,
            Some("refset") => filter("concept", "in", "refset"),
            Some(query) => match query.split_once('/')? {
                ("isa", code) => filter("concept", "is-a", code),
                ("refset", code) => filter("concept", "in", code),
                ("ecl", expression) => filter("constraint", "=", expression),
                _ => return None,
            },
            None => return None,
        };
        let mut set = of(url, if edition.is_some() { SNOMED } else { system }, filter);
        set.include[0].version = edition.map(|_| system.into());
        return Some(set);
    }
    if url == "http://unitsofmeasure.org/vs" {
        return Some(of(url, UCUM, None));
    }
    match url.strip_prefix("http://loinc.org/vs")? {
        "" => Some(of(url, LOINC, None)),
        part if part.starts_with("/LL") => Some(of(url, LOINC, filter("LIST", "=", &part[1..]))),
        part if part.starts_with("/LG") => Some(of(url, LOINC, filter("parent", "=", &part[1..]))),
        part if part.starts_with("/LP") => {
            Some(of(url, LOINC, filter("ancestor", "=", &part[1..])))
        }
        _ => None,
    }
}

fn of(url: &str, system: &str, filter: Option<Filter>) -> ValueSet {
    let naming = Naming {
        url: url.into(),
        version: None,
        name: None,
        title: None,
        language: None,
        status: Status::Active,
        date: None,
    };
    let include = Include {
        system: Some(system.into()),
        filters: filter.into_iter().collect(),
        ..Include::default()
    };
    ValueSet {
        naming,
        include: vec![include],
        exclude: Vec::new(),
        inactive: None,
        locked_date: None,
        supplements: Vec::new(),
        contained: Vec::new(),
        compose: None,
    }
}
