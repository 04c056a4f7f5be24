//! Values that resources have and queries ask for: few, so that queries find something.

use crate::random::Chance;

pub(super) const IDS: [&str; 6] = ["a", "b", "c", "D", "d", "e5"];
pub(super) const DATES: [&str; 6] =
    ["2020", "2020-02", "2020-02-29", "2020-03-01", "2019-12-31", "2021-07"];
pub(super) const TIMES: [&str; 6] = [
    "2020-02-29T10:00:00Z",
    "2020-02-29T10:00:00.123+02:00",
    "2019-12-31T23:59:59-05:00",
    "2020-03-01T00:00:00Z",
    "2020-02",
    "2020-02-29",
];
pub(super) const SYSTEMS: [&str; 3] = ["http://loinc.org", "http://snomed.info/sct", "urn:s"];
pub(super) const CODES: [&str; 6] = ["8480-6", "8462-4", "73211009", "Ab", "aB", "final"];
pub(super) const TEXTS: [&str; 7] =
    ["Blood Pressure", "Blutdruck", "Müller", "Muller-Lüdenscheidt", "van der Meer", "ÅSA", "Anna"];
pub(super) const NUMBERS: [&str; 7] = ["1", "1.5", "1500", "120", "120.0", "0.12", "-3e1"];
/// The unit, and its code in UCUM where it is of that.
pub(super) const UNITS: [(&str, Option<&str>); 6] = [
    ("kg", Some("kg")),
    ("g", Some("g")),
    ("mmHg", Some("mm[Hg]")),
    ("kPa", Some("kPa")),
    ("kg", None),
    ("tablet", None),
];
pub(super) const URIS: [&str; 6] = [
    "http://a.example/p",
    "http://a.example/p|1.0",
    "http://a.example/p/q",
    "https://own.example/fhir/StructureDefinition/a",
    "StructureDefinition/a",
    "urn:oid:1.2",
];
pub(super) const TYPES: [&str; 14] = [
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
    pub(super) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    /// Whether something happens that does once in so many times.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// What a reference to a resource of one of these types may be.
    pub(super) fn reference(&mut self, types: &[&str]) -> String {
        let (of, id) = (self.one(types), self.one(&IDS));
        match self.below(10) {
            0 => format!("https://own.example/fhir/{of}/{id}"),
            1 => format!("{of}/{id}/_history/{}", 1 + self.below(3)),
            2 => format!("https://other.example/fhir/{of}/{id}"),
            3 => format!("{of}/dangling"),
            _ => format!("{of}/{id}"),
        }
    }
}
