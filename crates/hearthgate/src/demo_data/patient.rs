//! One patient and what is recorded of them.

use contract::Instant;
use serde_json::{Value, json};

use super::bundle::{Bundle, concept, hl7};
use super::clinic::{self, ILLNESSES, Illness, LOINC, Lasts, RXNORM, SNOMED, UCUM, VISITS};
use super::random::Random;

/// The data's own present, so that a seed gives the same bytes for ever: 2026-01-01T00:00:00Z.
const PRESENT: i64 = 1_767_225_600;
const DAY: i64 = 86_400;
const YEAR: i64 = 365 * DAY + DAY / 4;
const PATIENTS: &str = "https://hearthgate.example/demo/patient";

/// Who is written about, and the references that everything carries.
struct Subject {
    id: String,
    age: i64,
    /// Centimetres.
    height: i64,
    /// Tenths of a kilogram, at the first visit.
    weight: i64,
    reference: Value,
    organization: Value,
    practitioner: Value,
}

/// The Bundle of one patient.
pub(crate) fn bundle(random: &mut Random, id: &str) -> Bundle {
    let mut bundle = Bundle::new();
    let subject = subject(&mut bundle, random, id);
    let visits = visits(random, &subject);
    let mut illnesses: Vec<&Illness> = ILLNESSES
        .iter()
        .filter(|illness| illness.from_age <= subject.age && random.chance(22))
        .collect();
    for (at, &start) in visits.iter().enumerate() {
        let number = at + 1;
        let encounter = encounter(&mut bundle, random, &subject, number, start);
        vital_signs(&mut bundle, random, &subject, number, start, &encounter);
        // What a patient has is found one after the other, the rest at the last visit.
        let found = match illnesses.len() {
            0 => 0,
            left if number == visits.len() => left,
            _ => 1,
        };
        for illness in illnesses.drain(..found).collect::<Vec<_>>() {
            condition(&mut bundle, random, &subject, illness, start, &encounter);
            if let Some(medication) = illness.medication {
                prescription(&mut bundle, random, &subject, illness, medication, start, &encounter);
            }
        }
    }
    bundle
}

fn subject(bundle: &mut Bundle, random: &mut Random, id: &str) -> Subject {
    let organization = clinic::organization(bundle, random);
    let practitioner = clinic::practitioner(bundle, random);
    let age = random.between(4, 92);
    let born = PRESENT - age * YEAR - random.between(0, 364) * DAY;
    let gender = *random.pick(&["female", "male", "female", "male", "other"]);
    let (given, middle, family, city) =
        (random.word(), random.word(), random.word(), random.word());
    let members = json!({
        "identifier": [{ "use": "usual", "system": PATIENTS, "value": id }],
        "active": true,
        "name": [{
            "use": "official",
            "family": format!("Sample-{family}"),
            "given": [given, middle]
        }],
        "gender": gender,
        "birthDate": date(born),
        "address": [{
            "use": "home",
            "line": [format!("{} Demo Street", random.between(1, 200))],
            "city": format!("{city} (made up)"),
            "postalCode": format!("{:05}", random.between(0, 99_999))
        }],
        "generalPractitioner": [practitioner],
        "managingOrganization": organization
    });
    let reference = bundle.put(random, "Patient", id, members);
    let height =
        if age < 18 { 80 + 5 * age + random.between(-6, 6) } else { random.between(152, 194) };
    // A body mass index of 16 to 20 for children, 19 to 34 for adults.
    let index = if age < 18 { random.between(16, 20) } else { random.between(19, 34) };
    Subject {
        id: id.to_owned(),
        age,
        height,
        weight: index * height * height / 1000,
        reference,
        organization,
        practitioner,
    }
}

/// When the patient came, in the last three years, by day.
fn visits(random: &mut Random, subject: &Subject) -> Vec<i64> {
    let mut days: Vec<i64> =
        (0..random.between(2, 6)).map(|_| random.between(1, 3 * 365 - 1)).collect();
    days.sort_unstable();
    days.dedup();
    debug_assert!(subject.age > 3, "the visits are in the patient's life");
    days.into_iter()
        .rev()
        .map(|day| PRESENT - day * DAY + random.between(8 * 60, 17 * 60) * 60)
        .collect()
}

fn encounter(
    bundle: &mut Bundle,
    random: &mut Random,
    subject: &Subject,
    number: usize,
    start: i64,
) -> Value {
    let &(code, display) = random.pick(VISITS);
    let members = json!({
        "status": "finished",
        "class": {
            "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
            "code": "AMB",
            "display": "ambulatory"
        },
        "type": [concept(SNOMED, code, display)],
        "subject": subject.reference,
        "participant": [{ "individual": subject.practitioner }],
        "period": {
            "start": date_time(start),
            "end": date_time(start + random.between(10, 45) * 60)
        },
        "serviceProvider": subject.organization
    });
    let id = format!("{}-encounter-{number}", subject.id);
    bundle.put(random, "Encounter", &id, members)
}

fn vital_signs(
    bundle: &mut Bundle,
    random: &mut Random,
    subject: &Subject,
    visit: usize,
    start: i64,
    encounter: &Value,
) {
    let weight = subject.weight + random.between(-20, 20);
    // Tenths: kilograms by square metres, rounded.
    let index =
        (weight * 10_000 + subject.height * subject.height / 2) / (subject.height * subject.height);
    let systolic = random.between(98, 158);
    let diastolic = random.between(58, 94).min(systolic - 20);
    let measured = [
        ("height", "8302-2", "Body height", quantity(json!(subject.height), "cm", "cm")),
        ("weight", "29463-7", "Body weight", quantity(tenths(weight), "kg", "kg")),
        (
            "bmi",
            "39156-5",
            "Body mass index (BMI) [Ratio]",
            quantity(tenths(index), "kg/m2", "kg/m2"),
        ),
        (
            "heart-rate",
            "8867-4",
            "Heart rate",
            quantity(json!(random.between(54, 104)), "beats/minute", "/min"),
        ),
        (
            "respiratory-rate",
            "9279-1",
            "Respiratory rate",
            quantity(json!(random.between(12, 22)), "breaths/minute", "/min"),
        ),
        (
            "temperature",
            "8310-5",
            "Body temperature",
            quantity(tenths(random.between(361, 386)), "C", "Cel"),
        ),
    ];
    for (name, code, display, value) in measured {
        let id = format!("{}-visit-{visit}-{name}", subject.id);
        let mut members = observation(subject, code, display, start, encounter);
        members["valueQuantity"] = value;
        bundle.put(random, "Observation", &id, members);
    }
    let component = |code, display, pressure: i64| {
        json!({
            "code": concept(LOINC, code, display),
            "valueQuantity": quantity(json!(pressure), "mmHg", "mm[Hg]")
        })
    };
    let mut members = observation(
        subject,
        "85354-9",
        "Blood pressure panel with all children optional",
        start,
        encounter,
    );
    members["component"] = json!([
        component("8480-6", "Systolic blood pressure", systolic),
        component("8462-4", "Diastolic blood pressure", diastolic)
    ]);
    let id = format!("{}-visit-{visit}-blood-pressure", subject.id);
    bundle.put(random, "Observation", &id, members);
}

fn observation(
    subject: &Subject,
    code: &str,
    display: &str,
    start: i64,
    encounter: &Value,
) -> Value {
    json!({
        "status": "final",
        "category": [hl7("observation-category", "vital-signs")],
        "code": concept(LOINC, code, display),
        "subject": subject.reference,
        "encounter": encounter,
        "effectiveDateTime": date_time(start + 300),
        "performer": [subject.practitioner]
    })
}

fn condition(
    bundle: &mut Bundle,
    random: &mut Random,
    subject: &Subject,
    illness: &Illness,
    start: i64,
    encounter: &Value,
) {
    let (code, display) = illness.snomed;
    let end = match illness.lasts {
        Lasts::Days(days) => Some(start + days * DAY).filter(|&end| end < PRESENT),
        Lasts::ForLife => None,
    };
    let (status, category) = match illness.lasts {
        Lasts::ForLife => ("active", "problem-list-item"),
        Lasts::Days(_) if end.is_some() => ("resolved", "encounter-diagnosis"),
        Lasts::Days(_) => ("active", "encounter-diagnosis"),
    };
    let mut members = json!({
        "clinicalStatus": hl7("condition-clinical", status),
        "verificationStatus": hl7("condition-ver-status", "confirmed"),
        "category": [hl7("condition-category", category)],
        "code": concept(SNOMED, code, display),
        "subject": subject.reference,
        "encounter": encounter,
        "onsetDateTime": date_time(start),
        "recordedDate": date_time(start),
        "recorder": subject.practitioner
    });
    if let Some(end) = end {
        members["abatementDateTime"] = json!(date_time(end));
    }
    let id = format!("{}-condition-{code}", subject.id);
    bundle.put(random, "Condition", &id, members);
}

fn prescription(
    bundle: &mut Bundle,
    random: &mut Random,
    subject: &Subject,
    illness: &Illness,
    (code, display): (&str, &str),
    start: i64,
    encounter: &Value,
) {
    let over = matches!(illness.lasts, Lasts::Days(days) if start + days * DAY < PRESENT);
    let times = random.between(1, 3);
    let members = json!({
        "status": if over { "completed" } else { "active" },
        "intent": "order",
        "medicationCodeableConcept": concept(RXNORM, code, display),
        "subject": subject.reference,
        "encounter": encounter,
        "authoredOn": date_time(start),
        "requester": subject.practitioner,
        "dosageInstruction": [{
            "sequence": 1,
            "text": format!("1 tablet, {times} times a day"),
            "timing": { "repeat": { "frequency": times, "period": 1, "periodUnit": "d" } },
            "doseAndRate": [{ "doseQuantity": quantity(json!(1), "tablet", "{tbl}") }]
        }]
    });
    let id = format!("{}-medication-{code}", subject.id);
    bundle.put(random, "MedicationRequest", &id, members);
}

fn quantity(value: Value, unit: &str, code: &str) -> Value {
    json!({ "value": value, "unit": unit, "system": UCUM, "code": code })
}

/// A number given in tenths.
fn tenths(number: i64) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "a measurement in tenths has few digits")]
    let number = number as f64 / 10.0;
    json!(number)
}

fn date_time(seconds: i64) -> String {
    let text = Instant::from_micros(seconds * 1_000_000).to_string();
    format!("{}Z", &text[..19])
}

fn date(seconds: i64) -> String {
    let mut text = date_time(seconds);
    text.truncate(10);
    text
}
