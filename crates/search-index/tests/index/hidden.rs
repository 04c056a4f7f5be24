//! Of what may not be seen nothing is told: not by what is found, nor by what it costs, nor by
//! where a search stops for costing too much.

use fhir_core::{Instant, ResourceType};
use proptest::prelude::*;
use search_index::{
    Context, Cursor, Search, SearchError, Visible, VisiblePart, VisibleTypes, VisibleWithin,
};
use store::T;

use crate::support::{CONTEXT, Site, query};
use crate::visibility::{of_patients, of_types};

/// What is written: of resources of which each has a number among its own.
#[derive(Debug, Clone)]
enum Write {
    Put { id: u8, kind: u8, patient: u8, value: u8 },
    Delete { id: u8 },
}

fn write() -> impl Strategy<Value = Write> {
    let put = (0_u8..16, any::<u8>(), 0_u8..2, 0_u8..6)
        .prop_map(|(id, kind, patient, value)| Write::Put { id, kind, patient, value });
    prop_oneof![8 => put, 1 => (0_u8..16).prop_map(|id| Write::Delete { id })]
}

const TYPES: [&str; 5] =
    ["Patient", "Observation", "MedicationRequest", "DocumentReference", "List"];

/// Of the resources that may be seen the first is a patient, and so on; others have other ids, and
/// may be of other types too.
fn put(site: &mut Site, write: &Write, hidden: bool) {
    let (Write::Put { id, .. } | Write::Delete { id }) = write;
    let of = TYPES[usize::from(*id) % TYPES.len()];
    let name = if hidden { format!("h{id}") } else { format!("v{id}") };
    let Write::Put { kind, patient, value, .. } = write else {
        if of != "Patient" || hidden {
            site.delete(of, &name);
        }
        return;
    };
    let patient = if hidden { format!("h{}", patient * 5) } else { format!("v{}", patient * 5) };
    let status = if hidden { "registered" } else { "final" };
    let units = ["mg", "g", "furlong", "[in_i]"];
    let unit = units[usize::from(kind / 4) % units.len()];
    // What is hidden refers to what is seen too, and has values under other parameters.
    let other = format!("Observation/v{}", 1 + 5 * (kind % 3));
    let json = match of {
        "Patient" => format!(
            r#"{{"resourceType":"Patient","id":"{name}","active":{},"birthDate":"19{}0",
                "name":[{{"family":"Fam{value}"}},{{"family":"Other{}"}}]}}"#,
            kind % 2 == 0,
            1 + value,
            kind % 3
        ),
        "Observation" => {
            let more = match kind % 4 {
                0 => format!(r#","effectiveDateTime":"2020-01-0{}""#, 1 + value),
                1 => format!(
                    r#","valueQuantity":{{"value":{value},"system":"http://unitsofmeasure.org","code":"{unit}"}}"#
                ),
                2 => format!(
                    r#","hasMember":[{{"reference":"{other}"}},{{"reference":"Observation/h6"}}]"#
                ),
                _ => format!(
                    r#","effectivePeriod":{{"start":"2020-01-0{}","end":"2021"}},"device":{{"reference":"Device/{value}"}}"#,
                    1 + value
                ),
            };
            format!(
                r#"{{"resourceType":"Observation","id":"{name}","status":"{status}",
                    "code":{{"coding":[{{"system":"s","code":"c{value}"}},{{"system":"s","code":"d{}"}}]}},
                    "subject":{{"reference":"Patient/{patient}"}}{more}}}"#,
                kind % 5
            )
        }
        "MedicationRequest" => format!(
            r##"{{"resourceType":"MedicationRequest","id":"{name}","status":"active","intent":"order",
                "contained":[{{"resourceType":"Medication","id":"m","status":"active",
                    "code":{{"coding":[{{"code":"m{value}"}}]}}}}],
                "medicationReference":{{"reference":"#m"}},"subject":{{"reference":"Patient/{patient}"}}}}"##
        ),
        "DocumentReference" => format!(
            r#"{{"resourceType":"DocumentReference","id":"{name}","status":"current","description":"text {value}",
                "subject":{{"reference":"Patient/{patient}"}},
                "context":{{"related":[{{"reference":"{other}"}}]}}}}"#
        ),
        _ => format!(
            r#"{{"resourceType":"List","id":"{name}","status":"current","mode":"working","title":"t{value}",
                "subject":{{"reference":"Patient/{patient}"}},
                "entry":[{{"item":{{"reference":"{other}"}}}}]}}"#
        ),
    };
    site.put(&json);
}

/// With what is seen and, in between, what is hidden, settled now and then. Says also at which
/// position the half of what is seen was there.
fn site(seen: &[Write], hidden: &[Write], settles: u8) -> (Site, T) {
    let mut site = Site::default();
    site.put(r#"{"resourceType":"Patient","id":"v0"}"#);
    site.put(r#"{"resourceType":"Patient","id":"v5"}"#);
    let mut others = hidden.iter();
    let each = hidden.len() / seen.len().max(1) + 1;
    let mut half = site.t();
    for (at, write) in seen.iter().enumerate() {
        put(&mut site, write, false);
        if at == seen.len() / 2 {
            half = site.t();
        }
        others.by_ref().take(each).for_each(|write| put(&mut site, write, true));
        match (settles >> (at % 8)) & 1 {
            0 => {}
            _ if at % 2 == 0 => site.settle(),
            _ => {
                site.index.close_tail();
                site.index.settle(Instant::MIN);
            }
        }
    }
    (site, half)
}

fn finals() -> Visible {
    let clauses = query("Observation?status=http://hl7.org/fhir/observation-status|final");
    let observation = ResourceType::new("Observation").unwrap();
    let types = VisibleTypes::These(
        [(observation, clauses.types.into_iter().next().unwrap().clauses)].into(),
    );
    Visible::Any(vec![VisiblePart { types, within: VisibleWithin::Anywhere }])
}

const QUERIES: &[&str] = &[
    "Observation?",
    "Observation?code=c1",
    "Observation?code=s|c1,s|d2&status=final",
    "Observation?code:not=c1",
    "Observation?date=ge2020-01-02&date=lt2020-01-05",
    "Observation?date=ge2020-01-02&code=c1,c2",
    "Observation?value-quantity=gt1|http://unitsofmeasure.org|mg",
    "Observation?value-quantity=ge1|http://unitsofmeasure.org|g&value-quantity=lt4|http://unitsofmeasure.org|g",
    "Observation?value-quantity=ne3",
    "Observation?value-quantity:missing=true&date:missing=false",
    "Observation?device=Device/1",
    "Observation?device:missing=true",
    "Observation?focus=Observation/v1&code=c1",
    "Observation?focus:missing=true&date=ge2020",
    "Observation?specimen.type=x&code=c1",
    "Observation?method=x&code=c1",
    "Observation?has-member=Observation/h1",
    "Observation?has-member.code=c1",
    "Observation?patient.name=fam1&code=c1",
    "Observation?patient.name:contains=am",
    "Observation?subject=Patient/h0,Patient/v0",
    "Observation?subject=Patient/nobody&code=c1",
    "Observation?_id=v1,h1,v6&code=c1",
    "Observation?_list=h4",
    "Observation?_list=v4&code=c1",
    "Observation?_sort=-date,code",
    "Observation?_sort=value-quantity&code=c0,c1,c2",
    "Observation?_sort=-_lastUpdated",
    "Observation?_sort=_id&_include=Observation:subject&_include=Observation:has-member",
    "Observation?_lastUpdated=gt2000&_revinclude=*",
    "Observation?_include=*&_include:iterate=*",
    "Patient?",
    "Patient?name=fam1",
    "Patient?name:contains=am1",
    "Patient?name=fam&name=other",
    "Patient?_has:Observation:subject:code=c1",
    "Patient?_has:Observation:subject:date=ge2020-01-03&active=true",
    "Patient?_has:MedicationRequest:subject:medication.code=m1",
    "Patient?_id=v0&_revinclude=*",
    "Patient?_id=v0,v5&_revinclude=Observation:subject&_include:iterate=Observation:has-member",
    "Patient?birthdate=ge1930&_sort=family",
    "Patient/v0/Observation?code=c1",
    "Patient/h0/Observation?code=c1",
    "Patient/v0/*?",
    "Patient/unknown/Observation?code=c1",
    "MedicationRequest?medication.code=m1",
    "Medication?_contained=true",
    "Medication?_contained=both&code=m1",
    "Medication?_contained=true&_containedType=container&status=active",
    "DocumentReference?description:contains=xt",
    "DocumentReference?related:Observation.code=c1",
    "List?item:Observation.code=c2",
    "List?title:contains=t&status=current",
];

/// What is found, page by page and with what is included, and what it costs; of a budget.
type Told = Result<(Vec<String>, u64), SearchError>;

fn told(site: &Site, t: T, visible: &Visible, url: &str, budget: u64) -> (Told, u64) {
    let context = Context { budget, ..CONTEXT };
    match site.index.search(t, visible, context) {
        Ok(search) => (pages(&search, url), search.cost()),
        Err(error) => (Err(error), 0),
    }
}

fn pages(search: &Search<'_>, url: &str) -> Told {
    let query = query(url);
    let found = search.find(&query)?;
    let (mut all, mut after) = (Vec::new(), None::<Cursor>);
    loop {
        let page = found.page(after.as_ref(), 3)?;
        let included = search.include(&page.hits, &query.includes, 4)?;
        for hit in page.hits.iter().chain(&included.hits) {
            all.push(format!("{}/{} {:?}", hit.resource_type, hit.id, hit.contained));
        }
        all.push(format!("{}", included.is_cut));
        after = page.next;
        if after.is_none() {
            return Ok((all, found.total()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    // SRCH-253, LEAK-05, LEAK-16, LEAK-17
    #[test]
    fn what_is_hidden_changes_no_answer_no_cost_and_no_refusal(
        seen in prop::collection::vec(write(), 1..40),
        one in prop::collection::vec(write(), 0..120),
        other in prop::collection::vec(write(), 0..30),
        settles in (any::<u8>(), any::<u8>()),
    ) {
        let (first, second) = (site(&seen, &one, settles.0), site(&seen, &other, settles.1));
        for visible in [of_patients(&["v0", "v5"]), finals()] {
            for (t, of) in [(first.0.t(), second.0.t()), (first.1, second.1)] {
                for url in QUERIES {
                    let told = |budget| (
                        told(&first.0, t, &visible, url, budget),
                        told(&second.0, of, &visible, url, budget),
                    );
                    let (one, other) = told(u64::MAX);
                    prop_assert_eq!(&one, &other, "{}", url);
                    let (Ok(_), cost) = one else { continue };
                    for budget in [cost.saturating_sub(1), cost / 2] {
                        let (one, other) = told(budget);
                        prop_assert_eq!(&one, &other, "{} of {}", url, budget);
                        prop_assert!(cost == 0 || one.0.is_err(), "{} of {}", url, budget);
                    }
                }
            }
        }
    }

    /// What is kept of settled segments is what would be worked out anew.
    #[test]
    fn what_was_asked_before_changes_no_answer(
        seen in prop::collection::vec(write(), 1..40),
        hidden in prop::collection::vec(write(), 0..40),
        later in prop::collection::vec((write(), any::<bool>()), 0..20),
        settles in any::<u8>(),
    ) {
        let many: Vec<String> = (0..12).map(|at| format!("v{at}")).collect();
        let many: Vec<&str> = many.iter().map(|it| &**it).collect();
        let visibles =
            [of_patients(&["v0"]), of_patients(&many), finals(), of_types(&["Patient", "Observation"])];
        let (mut asked, half) = site(&seen, &hidden, settles);
        let (mut fresh, _) = site(&seen, &hidden, settles);
        for visible in &visibles {
            for url in QUERIES {
                let _kept = told(&asked, asked.t(), visible, url, u64::MAX);
            }
        }
        for (write, is_hidden) in &later {
            put(&mut asked, write, *is_hidden);
            put(&mut fresh, write, *is_hidden);
        }
        for t in [half, asked.t()] {
            for visible in &visibles {
                for url in QUERIES {
                    let (one, other) = (
                        told(&asked, t, visible, url, u64::MAX),
                        told(&fresh, t, visible, url, u64::MAX),
                    );
                    prop_assert_eq!(one, other, "{}", url);
                }
            }
        }
    }
}
