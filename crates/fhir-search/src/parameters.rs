//! Search parameters as they are looked up: by resource type and code.
//!
//! A definition may be for several types, or for all of them: each type has a [`Parameter`] of
//! its own, since the expression of each is compiled for it.

use std::collections::HashMap;
use std::sync::Arc;

use fhir_schema::conformance::SearchParameter;
use fhir_schema::{DefinitionSet, Schema};

/// SearchParameter.type (FHIR R4 3.1.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A number.
    Number,
    /// A date, time or period.
    Date,
    /// Text that a person reads.
    String,
    /// A code, with its system or without.
    Token,
    /// A reference to another resource.
    Reference,
    /// Several values that stand together.
    Composite,
    /// A number with a unit.
    Quantity,
    /// A URI.
    Uri,
    /// What is defined for it alone, as `near`.
    Special,
}

impl Kind {
    /// Its code in SearchParameter.type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Date => "date",
            Self::String => "string",
            Self::Token => "token",
            Self::Reference => "reference",
            Self::Composite => "composite",
            Self::Quantity => "quantity",
            Self::Uri => "uri",
            Self::Special => "special",
        }
    }

    fn of(code: &str) -> Option<Self> {
        const ALL: [Kind; 9] = [
            Kind::Number,
            Kind::Date,
            Kind::String,
            Kind::Token,
            Kind::Reference,
            Kind::Composite,
            Kind::Quantity,
            Kind::Uri,
            Kind::Special,
        ];
        ALL.into_iter().find(|kind| kind.as_str() == code)
    }
}

/// Which parameter of which type, within one [`Parameters`]: meaningless in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterId(u32);

impl ParameterId {
    /// Its place among all parameters, from 0.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One search parameter of one resource type.
#[derive(Debug)]
pub struct Parameter {
    /// Which it is.
    pub id: ParameterId,
    /// The type of the resources that it finds.
    pub resource_type: Arc<str>,
    /// What kind of values it has.
    pub kind: Kind,
    /// The definition, which other types may share.
    pub definition: Arc<SearchParameter>,
}

impl Parameter {
    /// Its name in a query.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.definition.code
    }
}

/// The search parameters of every resource type of a FHIR version, those of packages among them.
#[derive(Debug, Default)]
pub struct Parameters {
    all: Vec<Arc<Parameter>>,
    by_type: HashMap<Box<str>, HashMap<Box<str>, Arc<Parameter>>>,
}

impl Parameters {
    /// Those that `definitions` have for the types of `schema`. Of two definitions of one code for
    /// one type the later package's counts, and of one package's the one with the greater URL.
    #[must_use]
    pub fn new(definitions: &DefinitionSet, schema: &Schema) -> Self {
        let mut parameters = Self::default();
        for definition in definitions.search_parameters() {
            let Some(kind) = Kind::of(&definition.kind) else {
                continue;
            };
            for base in &definition.base {
                parameters.add_for_base(base, kind, definition, schema);
            }
        }
        parameters
    }

    fn add_for_base(
        &mut self,
        base: &str,
        kind: Kind,
        definition: &Arc<SearchParameter>,
        schema: &Schema,
    ) {
        if !schema.is_abstract(base) {
            self.add(base, kind, definition);
            return;
        }
        for resource_type in schema.resource_types() {
            if is_of(schema, resource_type, base) {
                self.add(resource_type, kind, definition);
            }
        }
    }

    fn add(&mut self, resource_type: &str, kind: Kind, definition: &Arc<SearchParameter>) {
        let Ok(index) = u32::try_from(self.all.len()) else {
            return;
        };
        let parameter = Arc::new(Parameter {
            id: ParameterId(index),
            resource_type: resource_type.into(),
            kind,
            definition: Arc::clone(definition),
        });
        self.all.push(Arc::clone(&parameter));
        let of_type = self.by_type.entry(resource_type.into()).or_default();
        of_type.insert((&*definition.code).into(), parameter);
    }

    /// The parameter with this code of a type.
    #[must_use]
    pub fn get(&self, resource_type: &str, code: &str) -> Option<&Arc<Parameter>> {
        self.by_type.get(resource_type)?.get(code)
    }

    /// Every parameter of a type, in no order.
    pub fn of_type(&self, resource_type: &str) -> impl Iterator<Item = &Arc<Parameter>> {
        self.by_type.get(resource_type).into_iter().flat_map(HashMap::values)
    }
}

/// Whether a resource type is `base` or derived from it.
fn is_of(schema: &Schema, resource_type: &str, base: &str) -> bool {
    let mut at = Some(resource_type);
    while let Some(name) = at {
        if name == base {
            return true;
        }
        at = schema.base_type(name);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{Kind, Parameters};
    use fhir_schema::{DefinitionSet, Schema};

    fn r4() -> Parameters {
        Parameters::new(DefinitionSet::r4(), Schema::r4())
    }

    #[test]
    fn a_parameter_of_an_abstract_type_is_one_of_each_type_derived_from_it() {
        let parameters = r4();
        for of in ["Patient", "Bundle", "Observation"] {
            assert_eq!(parameters.get(of, "_id").map(|it| it.kind), Some(Kind::Token), "{of}");
        }
        // A Bundle is no DomainResource.
        assert!(parameters.get("Patient", "_text").is_some());
        assert!(parameters.get("Bundle", "_text").is_none());
    }

    #[test]
    fn a_code_is_looked_up_within_its_type() {
        let parameters = r4();
        let patient = parameters.get("Observation", "patient").unwrap();
        assert_eq!((patient.kind, &*patient.resource_type), (Kind::Reference, "Observation"));
        assert!(parameters.get("Observation", "Patient").is_none());
        assert!(parameters.get("Organization", "patient").is_none());
        assert!(parameters.of_type("Observation").count() > 40);
    }
}
