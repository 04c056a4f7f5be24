//! Values that resources have and queries ask for: few, so that queries find something.

use super::chance::Chance;

/// Ids that most resources have, and most references.
pub(super) const IDS: [&str; 6] = ["a", "b", "c", "D", "d", "e5"];
/// Those of the others.
const MORE_IDS: [&str; 21] = [
    "f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "g0", "g1", "g2", "g3", "g4", "g5",
    "g6", "g7", "g8", "g9", "A",
];
/// Patients that are only of their own, and may be purged.
pub(super) const OWN_PATIENTS: [&str; 3] = ["own-0", "own-1", "own-2"];
pub(super) const DATES: [&str; 9] = [
    "2020",
    "2020-02",
    "2020-02-29",
    "2020-03-01",
    "2019-12-31",
    "2021-07",
    "1899-12-31",
    "2019",
    "2021-07-04",
];
pub(super) const TIMES: [&str; 11] = [
    "2020-02-29T10:00:00Z",
    "2020-02-29T10:00:00.123+02:00",
    "2020-02-29T08:00:00.123456Z",
    "2019-12-31T23:59:59-05:00",
    "2020-03-01T00:00:00Z",
    "2020-01-01T00:00:00+14:00",
    "2020",
    "2020-02",
    "2020-02-29",
    "9999-12-31",
    "2026-12-24T18:00:00Z",
];
/// As a query may say it and no resource.
pub(super) const ASKED_TIMES: [&str; 7] = [
    "2020-02-29T10:00Z",
    "2020-02-29T10:00",
    "2020-02-29T08:00:00",
    "2020-02-29T08:00:00.123Z",
    "2020-02-29T08:00:00.123456789Z",
    "2019-12-31T23:59-05:00",
    "2020-03-01T00:00 02:00",
];
pub(super) const SYSTEMS: [&str; 3] = ["http://loinc.org", "http://snomed.info/sct", "urn:s"];
pub(super) const CODES: [&str; 6] = ["8480-6", "8462-4", "73211009", "Ab", "aB", "final"];
pub(super) const TEXTS: [&str; 9] = [
    "Blood Pressure",
    "Blutdruck",
    "Müller",
    "Muller-Lüdenscheidt",
    "van der Meer",
    "ÅSA",
    "Anna",
    "Straße 5, links",
    "I\u{307}stanbul",
];
pub(super) const NUMBERS: [&str; 14] = [
    "1",
    "1.5",
    "1500",
    "120",
    "120.0",
    "0.12",
    "-3e1",
    "0",
    "1e3",
    "1.50",
    "1.499",
    "0.0015",
    "123456789012345678",
    "-0.5",
];
/// The unit, and its code in UCUM where it is of that.
pub(super) const UNITS: [(&str, Option<&str>); 14] = [
    ("kg", Some("kg")),
    ("g", Some("g")),
    ("mg", Some("mg")),
    ("pound", Some("[lb_av]")),
    ("mmHg", Some("mm[Hg]")),
    ("kPa", Some("kPa")),
    ("percent", Some("%")),
    ("year", Some("a")),
    ("month", Some("mo")),
    ("degree", Some("Cel")),
    ("degree F", Some("[degF]")),
    ("mmol/l", Some("mmol/L")),
    ("kg", None),
    ("tablet", None),
];
pub(super) const URIS: [&str; 7] = [
    "http://a.example/p",
    "http://a.example/p|1.0",
    "http://a.example/p/q",
    "http://a.example/pq",
    "https://own.example/fhir/StructureDefinition/a",
    "StructureDefinition/a",
    "urn:oid:1.2",
];
pub(super) const LATITUDES: [&str; 5] = ["52.5", "52.6", "-33.9", "89.99", "0"];
pub(super) const LONGITUDES: [&str; 7] =
    ["13.4", "13.41", "16.4", "-0.1", "179.95", "-179.95", "0"];
/// The types of the resources.
pub(crate) const TYPES: [&str; 14] = [
    "Patient",
    "Observation",
    "Condition",
    "Organization",
    "MedicationRequest",
    "Medication",
    "Group",
    "List",
    "Encounter",
    "Location",
    "RiskAssessment",
    "ValueSet",
    "Questionnaire",
    "QuestionnaireResponse",
];

impl Chance {
    /// The id of a resource, or what is asked for as one.
    pub(super) fn id(&mut self) -> &'static str {
        if self.once_in(6) { self.one(&MORE_IDS) } else { self.one(&IDS) }
    }

    /// What a reference to a resource of one of these types may be.
    pub(super) fn reference(&mut self, types: &[&str]) -> String {
        let (of, id) = (self.one(types), self.id());
        match self.below(10) {
            0 => format!("https://own.example/fhir/{of}/{id}"),
            1 => format!("{of}/{id}/_history/{}", 1 + self.below(3)),
            2 => format!("https://other.example/fhir/{of}/{id}"),
            3 => format!("{of}/dangling"),
            _ => format!("{of}/{id}"),
        }
    }
}
