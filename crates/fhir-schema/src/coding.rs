//! How the whole definitions are written as bytes: a value is the values of its members, one
//! after the other; texts and what many elements share are written once and named by number
//! after that. [`crate::structures_file`] puts a header around it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::compiled::{Reader as Bytes, put_number, put_string};
use crate::conformance::{
    CompartmentDefinition, CompartmentResource, OperationDefinition, OperationParameter,
    SearchComponent, SearchParameter,
};
use crate::draft::element_id;
use crate::interner::Interner;
use crate::structure::{
    Binding, Constraint, Derivation, Discriminator, ElementDefinition, ExtensionContext, Flags,
    Slicing, StructureDefinition, StructureKind, TypeReference, TypedValue,
};
use crate::{SchemaError, TypeKind};

/// What can be written and read.
pub(crate) trait Coded: Sized {
    fn write(&self, writer: &mut Writer);
    fn read(reader: &mut Reader<'_>) -> Result<Self, SchemaError>;
}

#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
    texts: HashMap<Arc<str>, usize>,
    constraints: HashMap<Arc<Constraint>, usize>,
    constraint_lists: HashMap<Arc<[Arc<Constraint>]>, usize>,
    type_lists: HashMap<Arc<[TypeReference]>, usize>,
}

pub(crate) struct Reader<'a> {
    bytes: Bytes<'a>,
    texts: Vec<Arc<str>>,
    constraints: Vec<Arc<Constraint>>,
    constraint_lists: Vec<Arc<[Arc<Constraint>]>>,
    type_lists: Vec<Arc<[TypeReference]>>,
    paths: Interner,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self {
            bytes: Bytes { rest: body },
            texts: Vec::new(),
            constraints: Vec::new(),
            constraint_lists: Vec::new(),
            type_lists: Vec::new(),
            paths: Interner::default(),
        }
    }

    pub(crate) fn end(&self) -> Result<(), SchemaError> {
        match self.bytes.rest {
            [] => Ok(()),
            _ => Err(SchemaError::Damaged("it goes on after its end")),
        }
    }
}

/// The number under which a value was written before; otherwise it is numbered, and must be
/// written now.
fn known<T: Hash + Eq + ?Sized>(seen: &mut HashMap<Arc<T>, usize>, value: &Arc<T>) -> usize {
    if let Some(number) = seen.get(value) {
        return *number;
    }
    seen.insert(Arc::clone(value), seen.len() + 1);
    0
}

fn earlier<T: ?Sized>(seen: &[Arc<T>], number: usize) -> Result<Arc<T>, SchemaError> {
    let found =
        seen.get(number - 1).ok_or(SchemaError::Damaged("it names what did not come before"))?;
    Ok(Arc::clone(found))
}

/// What is written once, at its first occurrence, and named by number after that.
trait Shared: Hash + Eq {
    fn numbers(writer: &mut Writer) -> &mut HashMap<Arc<Self>, usize>;
    fn read_before<'r>(reader: &'r mut Reader<'_>) -> &'r mut Vec<Arc<Self>>;
    fn write_once(&self, writer: &mut Writer);
    fn read_once(reader: &mut Reader<'_>) -> Result<Arc<Self>, SchemaError>;
}

impl<T: Shared + ?Sized> Coded for Arc<T> {
    fn write(&self, writer: &mut Writer) {
        let number = known(T::numbers(writer), self);
        put_number(&mut writer.bytes, number);
        if number == 0 {
            self.write_once(writer);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, SchemaError> {
        match reader.bytes.number()? {
            0 => {
                let value = T::read_once(reader)?;
                T::read_before(reader).push(Self::clone(&value));
                Ok(value)
            }
            number => earlier(T::read_before(reader), number),
        }
    }
}

/// Each type that is shared, and where its values are counted.
macro_rules! shared {
    ($($type:ty, $field:ident, $write:expr, $read:expr;)*) => {$(
        impl Shared for $type {
            fn numbers(writer: &mut Writer) -> &mut HashMap<Arc<Self>, usize> {
                &mut writer.$field
            }
            fn read_before<'r>(reader: &'r mut Reader<'_>) -> &'r mut Vec<Arc<Self>> {
                &mut reader.$field
            }
            fn write_once(&self, writer: &mut Writer) {
                $write(self, writer);
            }
            fn read_once(reader: &mut Reader<'_>) -> Result<Arc<Self>, SchemaError> {
                $read(reader)
            }
        }
    )*};
}

shared! {
    str, texts, |text, writer: &mut Writer| put_string(&mut writer.bytes, text),
        |reader: &mut Reader<'_>| Ok(reader.bytes.string()?.into());
    Constraint, constraints, Coded::write,
        |reader: &mut Reader<'_>| Self::read(reader).map(Arc::new);
    [Arc<Constraint>], constraint_lists, write_all,
        |reader: &mut Reader<'_>| Vec::read(reader).map(Arc::from);
    [TypeReference], type_lists, write_all,
        |reader: &mut Reader<'_>| Vec::read(reader).map(Arc::from);
}

impl Coded for u32 {
    fn write(&self, writer: &mut Writer) {
        put_number(&mut writer.bytes, *self as usize);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, SchemaError> {
        Self::try_from(reader.bytes.number()?)
            .map_err(|_| SchemaError::Damaged("a number is too large"))
    }
}

impl Coded for bool {
    fn write(&self, writer: &mut Writer) {
        writer.bytes.push(u8::from(*self));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, SchemaError> {
        match reader.bytes.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(SchemaError::Damaged("what is true or false is neither")),
        }
    }
}

impl<T: Coded> Coded for Option<T> {
    fn write(&self, writer: &mut Writer) {
        self.is_some().write(writer);
        if let Some(value) = self {
            value.write(writer);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, SchemaError> {
        if bool::read(reader)? { T::read(reader).map(Some) } else { Ok(None) }
    }
}

impl<T: Coded> Coded for Vec<T> {
    fn write(&self, writer: &mut Writer) {
        write_all(self, writer);
    }

    /// Room is made as items come, so that a count alone takes none.
    fn read(reader: &mut Reader<'_>) -> Result<Self, SchemaError> {
        (0..reader.bytes.number()?).map(|_| T::read(reader)).collect()
    }
}

fn write_all<T: Coded>(items: &[T], writer: &mut Writer) {
    put_number(&mut writer.bytes, items.len());
    for item in items {
        item.write(writer);
    }
}

macro_rules! behind_arc {
    ($($type:ty),*) => {$(
        impl Coded for Arc<$type> {
            fn write(&self, writer: &mut Writer) {
                <$type>::write(self, writer);
            }
            fn read(reader: &mut Reader<'_>) -> Result<Self, SchemaError> {
                <$type>::read(reader).map(Self::new)
            }
        }
    )*};
}

macro_rules! members {
    ($($type:ident { $($member:ident),* $(,)? })*) => {$(
        impl Coded for $type {
            fn write(&self, writer: &mut Writer) {
                $(self.$member.write(writer);)*
            }
            fn read(reader: &mut Reader<'_>) -> Result<Self, SchemaError> {
                Ok(Self { $($member: Coded::read(reader)?),* })
            }
        }
    )*};
}

macro_rules! numbers {
    ($($type:ty { $($number:literal = $variant:expr),* $(,)? })*) => {$(
        impl Coded for $type {
            fn write(&self, writer: &mut Writer) {
                $(if *self == $variant { writer.bytes.push($number); })*
            }
            fn read(reader: &mut Reader<'_>) -> Result<Self, SchemaError> {
                match reader.bytes.byte()? {
                    $($number => Ok($variant),)*
                    _ => Err(SchemaError::Damaged("a word is none of its list")),
                }
            }
        }
    )*};
}

behind_arc!(Slicing, TypedValue, Binding);

numbers! {
    StructureKind {
        0 = StructureKind::Type(TypeKind::Resource),
        1 = StructureKind::Type(TypeKind::Complex),
        2 = StructureKind::Type(TypeKind::Primitive),
        3 = StructureKind::Logical,
    }
    Derivation {
        0 = Derivation::Root,
        1 = Derivation::Specialization,
        2 = Derivation::Constraint,
    }
}

members! {
    ExtensionContext { kind, expression }
    Flags { must_support, is_modifier, is_summary, is_attribute }
    TypeReference {
        code, fhir_type, regex, profiles, target_profiles, aggregation, versioning,
    }
    Slicing { discriminators, rules, ordered }
    Discriminator { kind, path }
    TypedValue { type_name, json }
    Binding { strength, value_set, max_value_set }
    Constraint { key, severity, human, expression, source, is_best_practice }
    SearchParameter {
        url, version, code, base, kind, expression, targets, components, modifiers, comparators,
        status, derived_from, multiple_or, multiple_and, chains, usage,
    }
    SearchComponent { definition, expression }
    CompartmentDefinition { url, code, resources }
    CompartmentResource { code, params }
    OperationDefinition {
        url, version, code, kind, resources, affects_state, system, on_type, instance, parameters,
    }
}

/// Parts within parts that are read.
const MAX_PARTS_DEPTH: u32 = 20;

impl Coded for OperationParameter {
    fn write(&self, writer: &mut Writer) {
        write_parameter(self, writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, SchemaError> {
        read_parameter(reader, 0)
    }
}

fn write_parameter(parameter: &OperationParameter, writer: &mut Writer) {
    let OperationParameter { name, direction, min, max, type_name, parts } = parameter;
    name.write(writer);
    direction.write(writer);
    min.write(writer);
    max.write(writer);
    type_name.write(writer);
    write_all(parts, writer);
}

fn read_parameter(reader: &mut Reader<'_>, depth: u32) -> Result<OperationParameter, SchemaError> {
    if depth > MAX_PARTS_DEPTH {
        return Err(SchemaError::Damaged("parts stand too deep in each other"));
    }
    Ok(OperationParameter {
        name: Coded::read(reader)?,
        direction: Coded::read(reader)?,
        min: Coded::read(reader)?,
        max: Coded::read(reader)?,
        type_name: Coded::read(reader)?,
        parts: (0..reader.bytes.number()?)
            .map(|_| read_parameter(reader, depth + 1))
            .collect::<Result<_, _>>()?,
    })
}

impl Coded for StructureDefinition {
    fn write(&self, writer: &mut Writer) {
        self.url.write(writer);
        self.version.write(writer);
        self.name.write(writer);
        self.type_name.write(writer);
        self.kind.write(writer);
        self.is_abstract.write(writer);
        self.derivation.write(writer);
        self.base.write(writer);
        self.fhir_version.write(writer);
        self.contexts.write(writer);
        self.context_invariants.write(writer);
        put_number(&mut writer.bytes, self.elements.len());
        for element in &self.elements {
            write_element(element, writer);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, SchemaError> {
        Ok(Self {
            url: Coded::read(reader)?,
            version: Coded::read(reader)?,
            name: Coded::read(reader)?,
            type_name: Coded::read(reader)?,
            kind: Coded::read(reader)?,
            is_abstract: Coded::read(reader)?,
            derivation: Coded::read(reader)?,
            base: Coded::read(reader)?,
            fhir_version: Coded::read(reader)?,
            contexts: Coded::read(reader)?,
            context_invariants: Coded::read(reader)?,
            elements: read_elements(reader)?,
        })
    }
}

/// An element is written with its depth and the last part of its path: the rest is its parent's.
fn write_element(element: &ElementDefinition, writer: &mut Writer) {
    put_number(&mut writer.bytes, element.depth());
    Arc::<str>::from(element.name()).write(writer);
    element.slice_name.write(writer);
    element.slicing.write(writer);
    element.min.write(writer);
    put_number(&mut writer.bytes, element.max.map_or(0, |max| max as usize + 1));
    element.types.write(writer);
    element.content_reference.write(writer);
    element.fixed.write(writer);
    element.pattern.write(writer);
    element.min_value.write(writer);
    element.max_value.write(writer);
    element.max_length.write(writer);
    element.binding.write(writer);
    element.constraints.write(writer);
    element.flags.write(writer);
}

fn read_elements(reader: &mut Reader<'_>) -> Result<Vec<ElementDefinition>, SchemaError> {
    let mut elements: Vec<ElementDefinition> = Vec::new();
    // Where the elements above the next one stand.
    let mut open: Vec<usize> = Vec::new();
    for at in 0..reader.bytes.number()? {
        let depth = reader.bytes.number()?;
        if depth > open.len() || (depth == 0) != (at == 0) {
            return Err(SchemaError::Damaged("an element stands before its parent"));
        }
        open.truncate(depth);
        let name = Arc::<str>::read(reader)?;
        let slice_name = Option::<Arc<str>>::read(reader)?;
        let parent = open.last().map(|at| &elements[*at]);
        let id = element_id(parent.map(|it| &*it.id), &name, slice_name.as_deref());
        let path = element_id(parent.map(|it| &*it.path), &name, None);
        elements.push(ElementDefinition {
            id: reader.paths.text(&id),
            path: reader.paths.text(&path),
            slice_name,
            slicing: Coded::read(reader)?,
            min: Coded::read(reader)?,
            max: u32::read(reader)?.checked_sub(1),
            types: Coded::read(reader)?,
            content_reference: Coded::read(reader)?,
            fixed: Coded::read(reader)?,
            pattern: Coded::read(reader)?,
            min_value: Coded::read(reader)?,
            max_value: Coded::read(reader)?,
            max_length: Coded::read(reader)?,
            binding: Coded::read(reader)?,
            constraints: Coded::read(reader)?,
            flags: Coded::read(reader)?,
        });
        open.push(at);
    }
    Ok(elements)
}
