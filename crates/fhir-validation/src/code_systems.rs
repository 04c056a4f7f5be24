//! Code systems that are called by another name than their own: with a slash at the end, `https`
//! for `http`, an OID (FHIR R4, 4.3 has both names), URLs of earlier FHIR versions.

use fhir_terminology::{Canonical, Grammar, Terminology};

const SNOMED: &str = "http://snomed.info/sct";

/// Code systems that R4 names and whose content it does not have, each with its OID.
const NAMED: &[(&str, &str)] = &[
    (SNOMED, "2.16.840.1.113883.6.96"),
    ("http://loinc.org", "2.16.840.1.113883.6.1"),
    ("http://unitsofmeasure.org", "2.16.840.1.113883.6.8"),
    ("http://www.nlm.nih.gov/research/umls/rxnorm", "2.16.840.1.113883.6.88"),
    ("http://hl7.org/fhir/sid/ndc", "2.16.840.1.113883.6.69"),
    ("http://hl7.org/fhir/sid/cvx", "2.16.840.1.113883.12.292"),
    ("http://hl7.org/fhir/sid/icd-10", "2.16.840.1.113883.6.3"),
    ("http://hl7.org/fhir/sid/icd-10-cm", "2.16.840.1.113883.6.90"),
    ("http://hl7.org/fhir/sid/icd-9-cm", "2.16.840.1.113883.6.103"),
    ("http://www.ama-assn.org/go/cpt", "2.16.840.1.113883.6.12"),
    ("http://nucc.org/provider-taxonomy", "2.16.840.1.113883.6.101"),
    ("http://www.whocc.no/atc", "2.16.840.1.113883.6.73"),
    ("http://dicom.nema.org/resources/ontology/DCM", "1.2.840.10008.2.16.4"),
];

/// The code system that was meant by a URL that is none's; `None` where it is one's, or nobody
/// can tell.
pub(crate) fn meant(system: &str, terminology: &Terminology) -> Option<String> {
    let is_known = |url: &str| {
        let canonical = Canonical { url, version: None };
        NAMED.iter().any(|(known, _)| *known == url)
            || Grammar::of(url).is_some()
            || terminology.code_system(canonical, None).is_ok_and(|it| it.is_some())
    };
    if is_known(system) {
        return None;
    }
    if let Some(oid) = system.strip_prefix("urn:oid:") {
        return NAMED.iter().find(|(_, of)| *of == oid).map(|(url, _)| (*url).to_owned());
    }
    // Editions and concepts of SNOMED CT have URLs too; none is a code system.
    if system.starts_with("http://snomed.info/") || system == "http://snomed.info" {
        return Some(SNOMED.to_owned());
    }
    let (_, rest) = system.trim_end_matches('/').split_once("://")?;
    let of_earlier = ["v2", "v3"].iter().find_map(|of| {
        let table = rest.strip_prefix("hl7.org/fhir/")?.strip_prefix(of)?.strip_prefix('/')?;
        Some(format!("http://terminology.hl7.org/CodeSystem/{of}-{table}"))
    });
    let hosts = [rest, rest.strip_prefix("www.").unwrap_or(rest)];
    let spelled = hosts.iter().flat_map(|it| [format!("http://{it}"), format!("https://{it}")]);
    spelled.chain(of_earlier).find(|it| is_known(it))
}

#[cfg(test)]
mod tests {
    use fhir_terminology::Terminology;

    use super::meant;

    #[test]
    fn a_code_system_is_known_by_its_usual_misspellings() {
        // VAL-131
        for (given, expected) in [
            ("http://snomed.info/sct", None),
            ("http://snomed.info/sct/", Some("http://snomed.info/sct")),
            ("https://snomed.info/sct", Some("http://snomed.info/sct")),
            ("http://snomed.info/sct/900000000000207008", Some("http://snomed.info/sct")),
            ("http://www.loinc.org", Some("http://loinc.org")),
            ("https://www.loinc.org/", Some("http://loinc.org")),
            ("http://unitsofmeasure.org/", Some("http://unitsofmeasure.org")),
            ("urn:oid:2.16.840.1.113883.6.96", Some("http://snomed.info/sct")),
            ("urn:oid:2.16.840.1.113883.6.960", None),
            ("http://www.iana.org/time-zones", Some("https://www.iana.org/time-zones")),
            (
                "http://hl7.org/fhir/v3/MaritalStatus",
                Some("http://terminology.hl7.org/CodeSystem/v3-MaritalStatus"),
            ),
            ("http://hl7.org/fhir/v2/0203", Some("http://terminology.hl7.org/CodeSystem/v2-0203")),
            ("http://hl7.org/fhir/v3/Nothing", None),
            (
                "https://hl7.org/fhir/administrative-gender",
                Some("http://hl7.org/fhir/administrative-gender"),
            ),
            ("https://clinic.example/wards/", None),
            ("urn:uuid:1", None),
        ] {
            assert_eq!(meant(given, &Terminology::r4()).as_deref(), expected, "{given}");
        }
    }
}
