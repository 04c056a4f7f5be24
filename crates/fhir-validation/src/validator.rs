//! What validates: definitions, terminology, and programs compiled as they are needed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use fhir_core::json::{Document, Value};
use fhir_core::{IssueCode, Severity};
use fhir_schema::structure::StructureDefinition;
use fhir_schema::{DefinitionSet, Schema};
use fhir_terminology::Terminology;

use crate::comments;
use crate::host::Surroundings;
use crate::issue::{Issue, Place, locate};
use crate::names::Names;
use crate::options::{Comments, Options};
use crate::program::Program;
use crate::vital_signs::VitalSignProfiles;
use crate::walk::Run;

/// Index of a definition.
pub(crate) type ProgramAt = u32;

struct Slot {
    structure: Arc<StructureDefinition>,
    program: OnceLock<Program>,
}

/// Validates resources. It is made once and used from any thread.
pub struct Validator<'s> {
    schema: &'s Schema,
    definitions: DefinitionSet,
    terminology: Terminology,
    slots: Vec<Slot>,
    by_definition: HashMap<(Arc<str>, Option<Arc<str>>), ProgramAt>,
    types: Names<Arc<str>, ProgramAt>,
    vital_signs: VitalSignProfiles,
}

impl<'s> Validator<'s> {
    /// A validator for these definitions. `schema` is that of the same FHIR version. Nothing is
    /// compiled yet.
    #[must_use]
    pub fn new(schema: &'s Schema, definitions: DefinitionSet, terminology: Terminology) -> Self {
        let mut slots = Vec::new();
        let mut by_definition = HashMap::new();
        for structure in definitions.structures() {
            let key = (Arc::clone(&structure.url), structure.version.clone());
            by_definition.insert(key, slots.len() as ProgramAt);
            slots.push(Slot { structure: Arc::clone(structure), program: OnceLock::new() });
        }
        let mut types = Names::default();
        for name in schema.type_names() {
            if let Some(structure) = definitions.type_structure(name) {
                let key = (Arc::clone(&structure.url), structure.version.clone());
                types.insert(name.into(), by_definition[&key]);
            }
        }
        let vital_signs = VitalSignProfiles::of(&definitions);
        Self { schema, definitions, terminology, slots, by_definition, types, vital_signs }
    }

    pub(crate) fn schema(&self) -> &Schema {
        self.schema
    }

    pub(crate) fn terminology(&self) -> &Terminology {
        &self.terminology
    }

    pub(crate) fn definitions(&self) -> &DefinitionSet {
        &self.definitions
    }

    pub(crate) fn vital_signs(&self) -> &VitalSignProfiles {
        &self.vital_signs
    }

    pub(crate) fn program(&self, at: ProgramAt) -> &Program {
        let slot = &self.slots[at as usize];
        slot.program
            .get_or_init(|| Program::compile(&slot.structure, &self.definitions, self.schema))
    }

    pub(crate) fn type_program(&self, name: &str) -> Option<&Program> {
        self.types.get(name).map(|at| self.program(*at))
    }

    fn program_of(&self, structure: &StructureDefinition) -> Option<&Program> {
        let key = (Arc::clone(&structure.url), structure.version.clone());
        self.by_definition.get(&key).map(|at| self.program(*at))
    }

    /// The program of a profile or type, by a canonical in a resource.
    pub(crate) fn profile(&self, canonical: &str) -> Option<&Program> {
        self.program_of(self.definitions.structure(canonical)?)
    }

    /// The program that a definition means by a canonical.
    pub(crate) fn profile_from(
        &self,
        from: &StructureDefinition,
        canonical: &str,
    ) -> Option<&Program> {
        self.program_of(self.definitions.structure_from(from, canonical)?)
    }

    /// Whether a profile with this canonical is loaded.
    #[must_use]
    pub fn has_profile(&self, canonical: &str) -> bool {
        self.definitions.structure(canonical).is_some()
    }

    /// Reads and validates a resource in JSON. A byte order mark before it is passed over, and no
    /// offset counts it.
    #[must_use]
    pub fn validate_json(&self, json: &[u8], options: &Options<'_>) -> Vec<Issue> {
        let json = json.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(json);
        let json = match options.comments {
            Comments::Refuse => Cow::Borrowed(json),
            Comments::PassOver => comments::pass_over(json),
        };
        match Document::parse(&json) {
            Ok(document) => self.validate(document.root(), options),
            Err(error) => {
                let rest = json.get(error.offset..).unwrap_or_default();
                let text = match rest {
                    [b'/', b'/' | b'*', ..] => "JSON has no comments; take this one out".to_owned(),
                    _ => error.problem.to_string(),
                };
                vec![Issue {
                    severity: Severity::Fatal,
                    code: IssueCode::Structure,
                    expression: error.expression.clone(),
                    place: Place { offset: error.offset, line: error.line, column: error.column },
                    rule: "json".to_owned(),
                    text,
                }]
            }
        }
    }

    /// Validates a resource. The issues stand in the order of a walk through it, which is the same
    /// whenever it is done.
    #[must_use]
    pub fn validate(&self, resource: Value<'_>, options: &Options<'_>) -> Vec<Issue> {
        let mut issues = self.find(resource, options);
        locate(&mut issues, resource.document_text());
        issues
    }

    /// As [`Validator::validate`], with offsets alone, and lines and columns of 0: for whoever
    /// validates many resources of one text.
    #[must_use]
    pub fn find(&self, resource: Value<'_>, options: &Options<'_>) -> Vec<Issue> {
        let surroundings = Surroundings::new(self, resource, options);
        let mut run = Run::new(&surroundings, options);
        run.root(resource, options.profiles);
        run.into_issues()
    }
}

impl std::fmt::Debug for Validator<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Validator")
            .field("fhir_version", &self.definitions.fhir_version())
            .field("definitions", &self.slots.len())
            .finish_non_exhaustive()
    }
}
