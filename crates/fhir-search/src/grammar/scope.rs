//! Which types are searched: by the URL, `_type` and compartment (FHIR R4, 3.1.1.1 and 5.4).

use std::sync::Arc;

use fhir_core::ResourceType;
use fhir_schema::conformance::{CompartmentDefinition, CompartmentResource};

use super::{Asked, Fault, Piece, Reader, quoted};
use crate::{Compartment, Kind, Membership, Parameter, Place, QueryError, QueryProblem, TypeQuery};

/// What a compartment's definition calls the resource that the compartment is about.
const ITSELF: &str = "{def}";

impl Reader<'_> {
    /// The types that a request searches, with nothing asked of them yet.
    pub(super) fn scope(&self, asked: &Asked<'_>) -> Result<Vec<TypeQuery>, QueryError> {
        let by_url = |problem| QueryError {
            parameter: asked.compartment.as_ref().map_or_else(String::new, url).into(),
            place: Place::Name(0),
            problem,
        };
        let compartment = match &asked.compartment {
            Some(compartment) => Some(self.compartment(compartment).ok_or_else(|| {
                by_url(QueryProblem::UnknownCompartment(compartment.resource_type.as_str().into()))
            })?),
            None => None,
        };
        if let Some(resource_type) = &asked.resource_type {
            let of_type = self.type_query(resource_type.clone(), compartment);
            return Ok(vec![of_type.map_err(by_url)?]);
        }
        let listed =
            asked.parameters.iter().find(|(name, value)| name == "_type" && !value.is_empty());
        if let Some((name, value)) = listed {
            return self
                .listed(Piece::new(value, 0), compartment)
                .map_err(|fault| fault.into_error(name, value));
        }
        let every = self.schema.resource_types().filter_map(|it| ResourceType::new(it).ok());
        // Of a whole compartment those types are meant that it has.
        Ok(every.filter_map(|it| self.type_query(it, compartment).ok()).collect())
    }

    /// The types of `_type`.
    fn listed(
        &self,
        value: Piece<'_>,
        compartment: Option<&CompartmentDefinition>,
    ) -> Result<Vec<TypeQuery>, Fault> {
        let mut types: Vec<TypeQuery> = Vec::new();
        for name in value.split(b',') {
            let resource_type = self.resource_type(name.text).map_err(|it| name.fault(it))?;
            if types.iter().all(|it| it.resource_type != resource_type) {
                let of_type = self.type_query(resource_type, compartment);
                types.push(of_type.map_err(|it| name.fault(it))?);
            }
        }
        Ok(types)
    }

    fn type_query(
        &self,
        resource_type: ResourceType,
        compartment: Option<&CompartmentDefinition>,
    ) -> Result<TypeQuery, QueryProblem> {
        if !self.schema.is_resource_type(resource_type.as_str()) {
            return Err(QueryProblem::UnknownType(resource_type.as_str().into()));
        }
        let membership = match compartment {
            Some(compartment) => Some(self.membership(&resource_type, compartment)?),
            None => None,
        };
        Ok(TypeQuery { resource_type, clauses: Vec::new(), membership })
    }

    /// What puts resources of a type into a compartment.
    fn membership(
        &self,
        resource_type: &ResourceType,
        compartment: &CompartmentDefinition,
    ) -> Result<Membership, QueryProblem> {
        let name = resource_type.as_str();
        let itself = name == &*compartment.code;
        let codes = compartment
            .resources
            .iter()
            .find(|it| &*it.code == name)
            .map_or(&[][..], |CompartmentResource { params, .. }| params);
        let parameters: Vec<Arc<Parameter>> = codes
            .iter()
            .filter(|code| &***code != ITSELF)
            .filter_map(|code| self.parameters.get(name, code))
            .filter(|parameter| parameter.kind == Kind::Reference)
            .cloned()
            .collect();
        if parameters.is_empty() && !itself {
            return Err(QueryProblem::NotInCompartment {
                resource_type: name.into(),
                compartment: (&*compartment.code).into(),
            });
        }
        Ok(Membership { parameters, itself })
    }

    /// The definition of a kind of compartment. Examples in packages have the same code, and the
    /// one that says most is the real one.
    fn compartment(&self, compartment: &Compartment) -> Option<&CompartmentDefinition> {
        self.definitions
            .compartments()
            .filter(|it| &*it.code == compartment.resource_type.as_str())
            .max_by_key(|it| it.resources.len())
            .map(|it| &**it)
    }

    /// A resource type that exists.
    pub(super) fn resource_type(&self, name: &str) -> Result<ResourceType, QueryProblem> {
        match ResourceType::new(name) {
            Ok(resource_type) if self.schema.is_resource_type(name) => Ok(resource_type),
            _ => Err(QueryProblem::UnknownType(quoted(name))),
        }
    }
}

fn url(compartment: &Compartment) -> String {
    format!("{}/{}", compartment.resource_type, compartment.id)
}
