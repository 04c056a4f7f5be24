//! What `_list` names (FHIR R4, 3.1.1.4.8): a List by its id, or one of the lists that a server
//! makes (2.29.2). What is on those is told by what the resources say, as [`LISTS`] has it.

use fhir_core::ResourceId;

use super::{Fault, Piece, Reading, quoted};
use crate::{Clause, QueryProblem};

/// A list that the server makes.
struct Made {
    name: &'static str,
    /// By type, what must hold of a resource to be on it.
    of: &'static [(&'static str, &'static [Criterion])],
}

/// A parameter with its modifier, and values of which one suffices.
type Criterion = (&'static str, Option<&'static str>, &'static [&'static str]);

/// What is wrong, or was entered in error, is on no list of what is so.
const UNREFUTED_CONDITION: Criterion = (
    "verification-status",
    Some("not"),
    &[
        "http://terminology.hl7.org/CodeSystem/condition-ver-status|refuted",
        "http://terminology.hl7.org/CodeSystem/condition-ver-status|entered-in-error",
    ],
);
const UNREFUTED_ALLERGY: Criterion = (
    "verification-status",
    Some("not"),
    &[
        "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification|refuted",
        "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification|entered-in-error",
    ],
);
const ACTIVE_ALLERGY: Criterion = (
    "clinical-status",
    None,
    &["http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical|active"],
);

const LISTS: [Made; 4] = [
    Made {
        name: "$current-problems",
        of: &[(
            "Condition",
            &[
                (
                    "clinical-status",
                    None,
                    &[
                        "http://terminology.hl7.org/CodeSystem/condition-clinical|active",
                        "http://terminology.hl7.org/CodeSystem/condition-clinical|recurrence",
                        "http://terminology.hl7.org/CodeSystem/condition-clinical|relapse",
                    ],
                ),
                UNREFUTED_CONDITION,
                // What was diagnosed at a visit is on the list of problems only once it is put
                // there.
                (
                    "category",
                    Some("not"),
                    &[
                        "http://terminology.hl7.org/CodeSystem/condition-category|encounter-diagnosis",
                    ],
                ),
            ],
        )],
    },
    Made {
        name: "$current-medications",
        of: &[
            ("MedicationStatement", &[("status", None, &["active"])]),
            (
                "MedicationRequest",
                &[
                    ("status", None, &["active"]),
                    ("intent", Some("not"), &["proposal", "plan", "option"]),
                ],
            ),
        ],
    },
    Made {
        name: "$current-allergies",
        of: &[("AllergyIntolerance", &[ACTIVE_ALLERGY, UNREFUTED_ALLERGY])],
    },
    Made {
        name: "$current-drug-allergies",
        of: &[(
            "AllergyIntolerance",
            &[ACTIVE_ALLERGY, UNREFUTED_ALLERGY, ("category", None, &["medication"])],
        )],
    },
];

impl Reading<'_> {
    /// What must hold of a resource of a type to be on a list.
    pub(super) fn list(&mut self, resource_type: &str, value: Piece<'_>) -> Result<Clause, Fault> {
        if value.text.starts_with('$') {
            return self.made(resource_type, value);
        }
        let id = value.text.strip_prefix("List/").unwrap_or(value.text);
        ResourceId::new(id).map(Clause::List).map_err(|_| {
            let mend = "write the id of a List, as 42, or a list that the server makes, as \
                        $current-problems";
            value.fault(QueryProblem::invalid("list", mend))
        })
    }

    fn made(&mut self, resource_type: &str, value: Piece<'_>) -> Result<Clause, Fault> {
        let Some(made) = LISTS.iter().find(|it| it.name == value.text) else {
            let known = LISTS.map(|it| it.name).join(", ").into();
            let name = quoted(value.text);
            return Err(value.fault(QueryProblem::UnknownList { name, known }));
        };
        let Some((_, criteria)) = made.of.iter().find(|(of, _)| *of == resource_type) else {
            let types: Vec<&str> = made.of.iter().map(|(of, _)| *of).collect();
            return Err(value.fault(QueryProblem::NotOnList {
                name: made.name,
                resource_type: resource_type.into(),
                types: types.join(", ").into(),
            }));
        };
        let clauses = criteria.iter().map(|(code, modifier, values)| {
            // What may be wrong with these is wrong where the list is named.
            let piece = |text| Piece::new(text, value.at);
            let values: Vec<Piece<'_>> = values.iter().copied().map(piece).collect();
            self.tests.clear();
            self.leaf(resource_type, piece(code), modifier.map(piece), &values)
        });
        let clauses = clauses.collect::<Result<Vec<_>, _>>();
        self.tests.clear();
        clauses.map(Clause::All)
    }
}
