//! A small FHIR package, made here.

use serde_json::{Value, json};

/// The profile in the package: a Patient with a birth date.
pub(crate) const PROFILE: &str = "http://x/StructureDefinition/born";
/// The code system in it.
pub(crate) const COLOURS: &str = "http://x/CodeSystem/colours";
/// The search parameter in it: `colour` of a Patient, a token.
pub(crate) const COLOUR: &str = "http://x/SearchParameter/colour";
/// The guide in it, as a canonical.
pub(crate) const GUIDE: &str = "http://x/ImplementationGuide/test|1.0.0";

/// `test#1.0.0` as a tgz.
pub(crate) fn tgz() -> Vec<u8> {
    tgz_of("Red")
}

/// The same name and version, with another display of its code.
pub(crate) fn tgz_of(display: &str) -> Vec<u8> {
    let files = [
        (
            "package.json",
            json!({ "name": "test", "version": "1.0.0", "fhirVersions": ["4.0.1"],
                "dependencies": { "hl7.fhir.r4.core": "4.0.1", "absent": "2.0.0" } }),
        ),
        (
            "StructureDefinition-born.json",
            json!({ "resourceType": "StructureDefinition", "id": "born", "url": PROFILE,
                "version": "1.0.0", "name": "Born", "status": "active", "fhirVersion": "4.0.1",
                "kind": "resource", "abstract": false, "type": "Patient",
                "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Patient",
                "derivation": "constraint",
                "differential": { "element": [
                    { "id": "Patient", "path": "Patient" },
                    { "id": "Patient.birthDate", "path": "Patient.birthDate", "min": 1 },
                ] } }),
        ),
        (
            "CodeSystem-colours.json",
            json!({ "resourceType": "CodeSystem", "id": "colours", "url": COLOURS,
                "version": "1.0.0", "status": "active", "content": "complete",
                "concept": [{ "code": "red", "display": display }] }),
        ),
        (
            "SearchParameter-colour.json",
            json!({ "resourceType": "SearchParameter", "id": "colour", "url": COLOUR,
                "version": "1.0.0", "name": "colour", "status": "active", "description": "Colour",
                "code": "colour", "base": ["Patient"], "type": "token",
                "expression": "Patient.extension('http://x/colour').value" }),
        ),
        (
            "ImplementationGuide-test.json",
            json!({ "resourceType": "ImplementationGuide", "id": "test", "version": "1.0.0",
                "url": GUIDE.split_once('|').expect("a version").0 }),
        ),
    ];
    archive(&files)
}

/// `searched#1.0.0`: search parameters of patients, each a code and its expression.
pub(crate) fn searched(parameters: &[(&str, &str)]) -> Vec<u8> {
    let manifest = json!({ "name": "searched", "version": "1.0.0", "fhirVersions": ["4.0.1"] });
    let parameters = parameters.iter().map(|(code, expression)| {
        let parameter = json!({ "resourceType": "SearchParameter", "id": code, "name": code,
            "url": format!("http://x/SearchParameter/{code}"), "status": "active",
            "description": code, "code": code, "base": ["Patient"], "type": "date",
            "expression": expression });
        (format!("SearchParameter-{code}.json"), parameter)
    });
    let files: Vec<_> =
        [("package.json".to_owned(), manifest)].into_iter().chain(parameters).collect();
    let files: Vec<_> = files.iter().map(|(name, json)| (&**name, json.clone())).collect();
    archive(&files)
}

/// A package as a tgz, of a name that FHIR versions' own packages have.
pub(crate) fn core(name: &str, version: &str) -> Vec<u8> {
    archive(&[("package.json", json!({ "name": name, "version": version }))])
}

fn archive(files: &[(&str, Value)]) -> Vec<u8> {
    let packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(packed);
    for (name, content) in files {
        let content = content.to_string();
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        let path = format!("package/{name}");
        archive.append_data(&mut header, path, content.as_bytes()).expect("written to memory");
    }
    archive.into_inner().and_then(|packed| packed.finish()).expect("written to memory")
}
