//! What patients have in common: the clinic and its practitioners, and the codes in use.

use serde_json::{Value, json};

use super::bundle::Bundle;
use super::random::Random;

pub(crate) const SNOMED: &str = "http://snomed.info/sct";
pub(crate) const LOINC: &str = "http://loinc.org";
pub(crate) const RXNORM: &str = "http://www.nlm.nih.gov/research/umls/rxnorm";
pub(crate) const UCUM: &str = "http://unitsofmeasure.org";

const ORGANIZATIONS: &str = "https://hearthgate.example/demo/organization";
const PRACTITIONERS: &str = "https://hearthgate.example/demo/practitioner";
const PRACTITIONER_COUNT: i64 = 6;

/// Why a patient comes.
pub(crate) const VISITS: &[(&str, &str)] = &[
    ("185349003", "Encounter for check up"),
    ("185345009", "Encounter for symptom"),
    ("390906007", "Follow-up encounter"),
];

/// What a patient can have.
#[derive(Debug)]
pub(crate) struct Illness {
    pub(crate) snomed: (&'static str, &'static str),
    /// RxNorm.
    pub(crate) medication: Option<(&'static str, &'static str)>,
    pub(crate) from_age: i64,
    pub(crate) lasts: Lasts,
}

/// How long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasts {
    /// Days.
    Days(i64),
    ForLife,
}

pub(crate) const ILLNESSES: &[Illness] = &[
    Illness {
        snomed: ("38341003", "Hypertensive disorder"),
        medication: Some(("197361", "Amlodipine 5 MG Oral Tablet")),
        from_age: 35,
        lasts: Lasts::ForLife,
    },
    Illness {
        snomed: ("44054006", "Diabetes mellitus type 2"),
        medication: Some((
            "860975",
            "24 HR Metformin hydrochloride 500 MG Extended Release Oral Tablet",
        )),
        from_age: 30,
        lasts: Lasts::ForLife,
    },
    Illness {
        snomed: ("55822004", "Hyperlipidemia"),
        medication: Some(("312961", "Simvastatin 20 MG Oral Tablet")),
        from_age: 40,
        lasts: Lasts::ForLife,
    },
    Illness {
        snomed: ("64859006", "Osteoporosis"),
        medication: Some(("904419", "Alendronic acid 10 MG Oral Tablet")),
        from_age: 60,
        lasts: Lasts::ForLife,
    },
    Illness {
        snomed: ("271737000", "Anemia"),
        medication: None,
        from_age: 10,
        lasts: Lasts::Days(120),
    },
    Illness {
        snomed: ("43878008", "Streptococcal sore throat"),
        medication: Some(("834102", "Penicillin V Potassium 500 MG Oral Tablet")),
        from_age: 12,
        lasts: Lasts::Days(10),
    },
    Illness {
        snomed: ("195662009", "Acute viral pharyngitis"),
        medication: Some(("313782", "Acetaminophen 325 MG Oral Tablet")),
        from_age: 12,
        lasts: Lasts::Days(8),
    },
    Illness {
        snomed: ("444814009", "Viral sinusitis"),
        medication: None,
        from_age: 3,
        lasts: Lasts::Days(14),
    },
];

/// Adds the clinic to a Bundle; a reference to it.
pub(crate) fn organization(bundle: &mut Bundle, random: &mut Random) -> Value {
    bundle.once(
        random,
        "Organization",
        (ORGANIZATIONS, "clinic"),
        json!({ "active": true, "name": "Hearthgate Demo Clinic" }),
    )
}

/// Adds one of the clinic's practitioners to a Bundle; a reference to them.
pub(crate) fn practitioner(bundle: &mut Bundle, random: &mut Random) -> Value {
    let number = random.between(1, PRACTITIONER_COUNT);
    // The same in every Bundle that names them, whatever its seed.
    let mut own = Random::of(0, number.unsigned_abs());
    let (given, family) = (own.word(), own.word());
    bundle.once(
        random,
        "Practitioner",
        (PRACTITIONERS, &format!("practitioner-{number}")),
        json!({
            "active": true,
            "name": [{
                "use": "official",
                "family": format!("Sample-{family}"),
                "given": [given],
                "prefix": ["Dr."]
            }]
        }),
    )
}
