//! Names in a path: which elements they are, of the types that are known before them, and that
//! there is none. Functions and operators are not here.

use fhir_schema::{Element, Node, Schema};

use super::{Compiled, Compiler, Scope, Typed};
use crate::error::CompileProblem;
use crate::model::{NodeType, TypeTest, is_type_or_derived};
use crate::program::{Expr, Op, Step};
use crate::shape::{Count, Found, Shape, StaticType, find, type_named};

/// The type that a path such as `Patient`, `Patient.contact` or `code` names.
pub(crate) fn root_shape(schema: &Schema, path: &str) -> Option<Shape> {
    let mut names = path.split('.');
    let first = names.next()?;
    let mut shape = match type_named(schema, first) {
        Some(node_type) => Shape::fhir(node_type),
        // Of an abstract type anything derived from it can stand there.
        None => {
            schema.type_kind(first)?;
            return Some(Shape::unknown(Count::One));
        }
    };
    for name in names {
        let name = name.strip_suffix("[x]").unwrap_or(name);
        let mut types = Vec::new();
        for from in shape.types.iter().flatten() {
            match find(schema, *from, name) {
                Found::Element(_, element) => {
                    types.push(StaticType::Fhir(NodeType::Element(element)))
                }
                Found::Choice(elements) => types
                    .extend(elements.into_iter().map(|it| StaticType::Fhir(NodeType::Element(it)))),
                Found::System(system_type) => types.push(StaticType::System(system_type)),
                Found::Unknown => return Some(Shape::unknown(Count::One)),
                Found::Nothing => {}
            }
        }
        if types.is_empty() {
            return None;
        }
        shape.types = Some(types);
    }
    Some(shape)
}

impl Compiler<'_> {
    /// A name at the start of a path: the type of what is in focus, or one of its elements.
    pub(super) fn name(&self, name: &str, at: u32, scope: &Scope) -> Compiled<Typed> {
        let is_type = name.starts_with(|first: char| first.is_ascii_uppercase())
            && self.schema.type_kind(name).is_some();
        if !is_type {
            let this = (Expr { op: Op::This, at }, scope.this.clone());
            return self.member(this, name, at);
        }
        let fits = |it: &StaticType| match it {
            StaticType::System(_) => false,
            StaticType::Fhir(node_type) => match node_type.name(self.schema) {
                // What is unknown, or of any type, may be this one.
                "" | "Resource" | "DomainResource" => true,
                known => is_type_or_derived(self.schema, known, name),
            },
        };
        let mut shape = scope.this.clone();
        match &mut shape.types {
            Some(types) => {
                types.retain(fits);
                if types.is_empty() && self.is_strict() {
                    let given = scope.this.describe(self.schema);
                    let what = format!("a path from {name}");
                    return Err((CompileProblem::TypeMismatch { what, given }, at));
                }
            }
            None => {
                shape.types = type_named(self.schema, name).map(|it| vec![StaticType::Fhir(it)]);
            }
        }
        Ok((Expr { op: Op::OfFocus(TypeTest::Fhir(name.into())), at }, shape))
    }

    pub(super) fn member(&self, input: Typed, name: &str, at: u32) -> Compiled<Typed> {
        let (input, shape) = input;
        let mut known: Vec<(Node, Element)> = Vec::new();
        let mut types: Option<Vec<StaticType>> = Some(Vec::new());
        let mut count = shape.count;
        let mut is_missing = false;
        let sources = match &shape.types {
            Some(sources) => &sources[..],
            None => {
                types = None;
                &[]
            }
        };
        if shape.types.is_none() {
            count = Count::Many;
        }
        for source in sources {
            let mut push = |it: StaticType| {
                if let Some(types) = &mut types
                    && !types.contains(&it)
                {
                    types.push(it);
                }
            };
            match find(self.schema, *source, name) {
                Found::Element(node, element) => {
                    if !known.iter().any(|(other, _)| *other == node) {
                        known.push((node, element));
                    }
                    if element.is_array {
                        count = Count::Many;
                    }
                    push(StaticType::Fhir(NodeType::Element(element)));
                }
                Found::Choice(elements) => {
                    for element in elements {
                        push(StaticType::Fhir(NodeType::Element(element)));
                    }
                }
                Found::System(system_type) => push(StaticType::System(system_type)),
                Found::Unknown => {
                    types = None;
                    count = Count::Many;
                }
                Found::Nothing => is_missing = true,
            }
        }
        if types.as_ref().is_some_and(Vec::is_empty) && is_missing {
            if self.is_strict() {
                return Err((self.unknown_element(sources, name, &shape), at));
            }
            // Lenient: there may be such data in spite of the definitions.
            types = None;
            count = Count::Many;
        }
        let step = Step { name: name.into(), sibling_name: format!("_{name}").into(), known };
        let shape = Shape { types, count, is_ordered: shape.is_ordered };
        Ok((Expr { op: Op::Child(Box::new(input), step), at }, shape))
    }

    fn unknown_element(&self, from: &[StaticType], name: &str, shape: &Shape) -> CompileProblem {
        let choice = from.iter().find_map(|it| match it {
            StaticType::Fhir(node_type) => {
                let node = node_type.node()?;
                let element = self.schema.element(node, name).filter(|it| it.is_choice)?;
                let type_name = self.schema.type_name(element);
                let stem = name.get(..name.len().checked_sub(type_name.len())?)?;
                Some(format!("; write {stem}.ofType({type_name})"))
            }
            StaticType::System(_) => None,
        });
        CompileProblem::UnknownElement {
            type_name: shape.describe(self.schema),
            name: name.to_owned(),
            hint: choice.unwrap_or_default(),
        }
    }
}
