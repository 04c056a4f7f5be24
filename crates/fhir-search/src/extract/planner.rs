//! Makes the plan of a type: where the expressions of its parameters lead, as far as they are
//! paths, and what is taken there.

use std::collections::HashMap;
use std::sync::Arc;

use fhir_schema::{DefinitionSet, Element, Kind as ElementKind, Schema};
use fhirpath::{CompileError, Expression, Options};

use super::convert::Conversion;
use super::implied::Implied;
use super::plan::{
    CompositePlan, Key, Part, Place, Plan, Spot, Take, TakeItem, Target, Test, Unsupported,
    UnsupportedReason, WholeExpression,
};
use super::route::{self, Start, Step};
use super::walk::{steps_of, steps_of_component};
use crate::parameters::{Kind, Parameter};

/// A path goes where only FHIRPath can follow.
struct NotPlain;

/// Places that one path may lead to: each step to the value of an extension has fifty.
const MOST_PLACES: usize = 1000;

/// Makes the plan of a type.
pub(super) struct Planner<'p> {
    pub(super) schema: &'p Schema,
    pub(super) definitions: &'p DefinitionSet,
    pub(super) resource_type: &'p str,
    /// By canonical of the value set.
    pub(super) implied: HashMap<Arc<str>, Arc<Implied>>,
    pub(super) plan: Plan,
}

/// Where the members of a union lead, within one type.
struct Members<'p, 't> {
    places: Vec<(Start<'t>, Vec<Place<'p>>)>,
    expressions: Vec<Expression>,
}

impl<'p> Planner<'p> {
    pub(super) fn new(
        schema: &'p Schema,
        definitions: &'p DefinitionSet,
        resource_type: &'p str,
    ) -> Self {
        let plan = Plan {
            root: Target::default(),
            expressions: Vec::new(),
            composites: Vec::new(),
            last_updated: None,
            unsupported: Vec::new(),
        };
        Self { schema, definitions, resource_type, implied: HashMap::new(), plan }
    }

    /// The plan for these parameters.
    pub(super) fn plan(mut self, parameters: &[Arc<Parameter>]) -> Plan {
        for parameter in parameters {
            if parameter.code() == "_lastUpdated" && parameter.kind == Kind::Date {
                self.plan.last_updated = Some(parameter.id);
            }
            if let Err(reason) = self.add(parameter) {
                self.plan.unsupported.push(Unsupported { parameter: parameter.id, reason });
            }
        }
        self.plan
    }

    fn add(&mut self, parameter: &Parameter) -> Result<(), UnsupportedReason> {
        if let Some(flaw) = &parameter.flaw {
            return Err(flaw.clone().into());
        }
        let text = parameter.expression().ok_or(UnsupportedReason::NoExpression)?;
        let root = self.root().ok_or(UnsupportedReason::OtherType)?;
        let members = self.members(text, root, self.resource_type)?;
        if members.places.is_empty() && members.expressions.is_empty() {
            return Err(UnsupportedReason::OtherType);
        }
        match parameter.kind {
            Kind::Composite => self.add_composite(parameter, members),
            kind => self.add_values(parameter, kind, members),
        }
    }

    fn add_values(
        &mut self,
        parameter: &Parameter,
        kind: Kind,
        members: Members<'p, '_>,
    ) -> Result<(), UnsupportedReason> {
        let (mut found, mut adds) = (None, 0);
        for place in members.places.into_iter().flat_map(|(_, places)| places) {
            found = Some(place.spot.type_name);
            if let Some(conversion) = self.conversion(kind, place.spot) {
                self.plan.root.at(&place.keys).add(Take::Values(conversion), Some(parameter.id));
                adds += 1;
            }
        }
        for expression in members.expressions {
            let take = TakeItem::Values(kind);
            self.plan.expressions.push(WholeExpression {
                parameter: parameter.id,
                expression,
                take,
                steps: steps_of(parameter.origin),
            });
            adds += 1;
        }
        match (adds, found) {
            (0, Some(found)) => {
                Err(UnsupportedReason::NoValues { kind: kind.as_str(), found: found.to_owned() })
            }
            (0, None) => Err(UnsupportedReason::OtherType),
            _ => Ok(()),
        }
    }

    fn add_composite(
        &mut self,
        parameter: &Parameter,
        members: Members<'p, '_>,
    ) -> Result<(), UnsupportedReason> {
        let (mut made, mut found) = (Vec::new(), None);
        for place in members.places.into_iter().flat_map(|(_, places)| places) {
            found = Some(place.spot.type_name);
            let composite = self.composite(place.spot, parameter)?;
            // An element without one of the components gives nothing.
            if composite.parts.iter().all(|part| !part.is_empty()) {
                made.push((place.keys, composite));
            }
        }
        if made.is_empty() && members.expressions.is_empty() {
            return Err(match found {
                None => UnsupportedReason::OtherType,
                Some(found) => UnsupportedReason::NoValues {
                    kind: parameter.kind.as_str(),
                    found: found.to_owned(),
                },
            });
        }
        for (keys, composite) in made {
            let at = self.plan.composites.len();
            self.plan.composites.push(composite);
            self.plan.root.at(&keys).add(Take::Composite(at), Some(parameter.id));
        }
        for expression in members.expressions {
            let parts = parameter.components.iter().map(|component| {
                let text = &component.expression;
                let expression =
                    Expression::compile_for_anything(text, self.schema, Options::default())?;
                let expressions = vec![(expression, component.kind)];
                Ok(Part { expressions, ..Part::default() })
            });
            let parts = parts.collect::<Result<_, CompileError>>()?;
            let take = TakeItem::Composite(self.plan.composites.len());
            let steps = steps_of_component(parameter.origin);
            self.plan.composites.push(CompositePlan { element: None, parts, steps });
            self.plan.expressions.push(WholeExpression {
                parameter: parameter.id,
                expression,
                take,
                steps: steps_of(parameter.origin),
            });
        }
        Ok(())
    }

    fn composite(
        &mut self,
        spot: Spot<'p>,
        parameter: &Parameter,
    ) -> Result<CompositePlan, UnsupportedReason> {
        let context = match spot.node {
            Some(node) => self.schema.node_path(node),
            None => spot.type_name,
        };
        let mut parts = Vec::with_capacity(parameter.components.len());
        for component in parameter.components.iter() {
            let mut part = Part::default();
            let members = self.members(&component.expression, spot, context)?;
            for (start, places) in members.places {
                let target = if start == Start::Resource { &mut part.root } else { &mut part.here };
                for place in places {
                    if let Some(conversion) = self.conversion(component.kind, place.spot) {
                        target.at(&place.keys).add(Take::Values(conversion), None);
                    }
                }
            }
            let expressions = members.expressions.into_iter();
            part.expressions = expressions.map(|it| (it, component.kind)).collect();
            parts.push(part);
        }
        let element = spot.element.map(|(_, _, element)| element);
        Ok(CompositePlan { element, parts, steps: steps_of_component(parameter.origin) })
    }

    fn root(&self) -> Option<Spot<'p>> {
        let node = self.schema.resource(self.resource_type)?;
        Some(Spot { type_name: self.resource_type, node: Some(node), element: None })
    }

    /// Where an expression leads from a spot, which FHIRPath calls `context`.
    fn members<'t>(
        &self,
        text: &'t str,
        spot: Spot<'p>,
        context: &str,
    ) -> Result<Members<'p, 't>, CompileError> {
        let mut members = Members { places: Vec::new(), expressions: Vec::new() };
        for member in route::union_members(text) {
            let found = match route::read(member) {
                Some(route) => match self.start(spot, route.start) {
                    Some(Beginning::OtherType) => continue,
                    Some(Beginning::At(spot)) => {
                        self.places(spot, &route.steps).ok().map(|it| (route.start, it))
                    }
                    Some(Beginning::Within) => {
                        let Start::Name(name) = route.start else { continue };
                        let steps: Vec<_> =
                            [Step::Child(name)].into_iter().chain(route.steps).collect();
                        self.places(spot, &steps).ok().map(|it| (route.start, it))
                    }
                    None => None,
                },
                None if first_word(member).is_some_and(|it| self.is_other_type(it)) => continue,
                None => None,
            };
            match found {
                Some(found) => members.places.push(found),
                None => {
                    let options = Options::default();
                    members.expressions.push(Expression::compile(
                        member,
                        self.schema,
                        context,
                        options,
                    )?);
                }
            }
        }
        Ok(members)
    }

    fn is_other_type(&self, name: &str) -> bool {
        name != self.resource_type && self.schema.is_resource_type(name)
    }

    /// What a route begins at.
    fn start(&self, spot: Spot<'p>, start: Start<'_>) -> Option<Beginning<'p>> {
        Some(match start {
            Start::Resource => Beginning::At(self.root()?),
            Start::Name(name) if self.schema.is_subtype(spot.type_name, name) => {
                Beginning::At(spot)
            }
            Start::Name(name) if self.is_other_type(name) => Beginning::OtherType,
            Start::Name(_) => Beginning::Within,
        })
    }

    fn places(&self, spot: Spot<'p>, steps: &[Step<'_>]) -> Result<Vec<Place<'p>>, NotPlain> {
        let mut places = vec![Place { keys: Vec::new(), spot }];
        for step in steps {
            places = match step {
                Step::Child(name) => self.children(places, name)?,
                Step::OfType(wanted) => {
                    let wanted = self.type_named(wanted).ok_or(NotPlain)?;
                    places.retain(|it| self.schema.is_subtype(it.spot.type_name, wanted));
                    places
                }
                Step::ResolvesTo(wanted) => {
                    if places.iter().any(|it| it.spot.type_name != "Reference") {
                        return Err(NotPlain);
                    }
                    with_test(places, &Test::ResolvesTo((*wanted).into()))
                }
                Step::Has(name, text) => {
                    for place in &places {
                        self.text_element(place.spot, name)?;
                    }
                    with_test(places, &Test::Has((*name).into(), (*text).into()))
                }
            };
        }
        Ok(places)
    }

    /// A type by its name. R4's own definitions write `value.as(DateTime)` for a dateTime
    /// (Observation-code-value-date).
    fn type_named<'t>(&self, name: &'t str) -> Option<&'t str> {
        const SYSTEM_TYPES: [(&str, &str); 5] = [
            ("Boolean", "boolean"),
            ("Date", "date"),
            ("DateTime", "dateTime"),
            ("Integer", "integer"),
            ("String", "string"),
        ];
        if self.schema.type_kind(name).is_some() {
            return Some(name);
        }
        SYSTEM_TYPES.iter().find(|(system, _)| *system == name).map(|(_, fhir)| *fhir)
    }

    /// Refuses a test of what is no text.
    fn text_element(&self, spot: Spot<'p>, name: &str) -> Result<(), NotPlain> {
        let element = spot.node.and_then(|node| self.schema.element(node, name)).ok_or(NotPlain)?;
        let is_text = match element.kind {
            ElementKind::Primitive => {
                !matches!(self.schema.type_name(element), "boolean" | "decimal")
                    && !self.schema.is_subtype(self.schema.type_name(element), "integer")
            }
            ElementKind::Uri
            | ElementKind::Url
            | ElementKind::Oid
            | ElementKind::Uuid
            | ElementKind::Canonical => true,
            _ => false,
        };
        if is_text && !element.is_array { Ok(()) } else { Err(NotPlain) }
    }

    fn children(&self, places: Vec<Place<'p>>, name: &str) -> Result<Vec<Place<'p>>, NotPlain> {
        let mut children = Vec::new();
        for place in &places {
            let Some(node) = place.spot.node else {
                // A primitive has these beside it, a resource whatever its type has: FHIRPath
                // knows both.
                let is_resource = place.spot.type_name == "Resource";
                if is_resource || matches!(name, "extension" | "id" | "value") {
                    return Err(NotPlain);
                }
                continue;
            };
            let mut add = |name: &'p str, element: Element| {
                let mut keys = place.keys.clone();
                keys.push(Key::Member(name.into()));
                let spot = Spot {
                    type_name: self.schema.type_name(element),
                    node: element.kind.node(),
                    element: Some((node, name, element)),
                };
                children.push(Place { keys, spot });
            };
            for (json_name, element) in self.schema.elements(node) {
                if json_name == name || element.choice_name(json_name) == Some(name) {
                    add(json_name, element);
                }
            }
        }
        if children.is_empty() || children.len() > MOST_PLACES {
            Err(NotPlain)
        } else {
            Ok(children)
        }
    }

    /// What a kind of parameter takes at a spot.
    fn conversion(&mut self, kind: Kind, spot: Spot<'p>) -> Option<Conversion> {
        if kind == Kind::Special {
            let node = spot.node?;
            let is_position = self.schema.element(node, "latitude").is_some()
                && self.schema.element(node, "longitude").is_some();
            return is_position.then_some(Conversion::Position);
        }
        let conversion = Conversion::of(kind, spot.type_name, self.schema)?;
        if conversion == Conversion::Code(None)
            && let Some(value_set) = self.required_value_set(spot)
        {
            let implied = self.implied.entry(Arc::clone(&value_set));
            let implied = implied.or_insert_with(|| Arc::new(Implied::of(value_set)));
            return Some(Conversion::Code(Some(Arc::clone(implied))));
        }
        Some(conversion)
    }

    /// The value set that the codes of an element must be from.
    fn required_value_set(&self, spot: Spot<'p>) -> Option<Arc<str>> {
        let (node, name, element) = spot.element?;
        let holder = self.schema.node_path(node);
        let path = match element.choice_name(name) {
            Some(choice) => format!("{holder}.{choice}[x]"),
            None => format!("{holder}.{name}"),
        };
        let holder_type = holder.split('.').next().unwrap_or(holder);
        let structure = self.definitions.type_structure(holder_type)?;
        let binding = structure.elements.iter().find(|it| *it.path == *path)?.binding.as_ref()?;
        if &*binding.strength == "required" { binding.value_set.clone() } else { None }
    }
}

enum Beginning<'p> {
    /// The name is that of the spot's type, or of one that it derives from.
    At(Spot<'p>),
    /// The name is an element's.
    Within,
    /// The name is of a type that this is not.
    OtherType,
}

fn with_test<'p>(mut places: Vec<Place<'p>>, test: &Test) -> Vec<Place<'p>> {
    for place in &mut places {
        place.keys.push(Key::Test(test.clone()));
    }
    places
}

pub(super) fn first_word(member: &str) -> Option<&str> {
    member.split(|letter: char| !letter.is_ascii_alphanumeric()).find(|word| !word.is_empty())
}
