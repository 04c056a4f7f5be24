//! A StructureDefinition compiled into what is asked of an instance.
//!
//! A base type's program has everything. A profile's has only what the profile asks beyond the
//! type, so that nothing is looked at, or told, twice; parts that add nothing are idle and passed
//! over.

use std::sync::{Arc, OnceLock};

use fhir_core::Severity;
use fhir_schema::structure::{
    Binding, Constraint, ElementDefinition, Slicing, StructureDefinition, TypeReference,
};
use fhir_schema::{DefinitionSet, Element, Kind, Node, Schema};
use fhir_terminology::ResolvedSet;
use fhirpath::{Expression, Options};

use crate::bounds::Limit;
use crate::errata::{self, Correction, Native};
use crate::names::Names;
use crate::template::Template;

/// Index of a rule in its program.
pub(crate) type RuleAt = u32;

/// One StructureDefinition, compiled. The first rule is the root's.
pub(crate) struct Program {
    pub(crate) structure: Arc<StructureDefinition>,
    pub(crate) rules: Vec<Rule>,
    /// Contexts of an extension that are FHIRPath, and its context invariants.
    contexts: Vec<Lazy>,
    context_invariants: Vec<Lazy>,
}

/// An expression of which nobody knows where it is evaluated, compiled when it is first needed.
pub(crate) struct Lazy {
    text: Arc<str>,
    compiled: OnceLock<Result<Expression, String>>,
}

impl Lazy {
    fn new(text: &Arc<str>) -> Self {
        Self { text: Arc::clone(text), compiled: OnceLock::new() }
    }

    /// The expression, or why it is none.
    pub(crate) fn get(&self, schema: &Schema) -> Result<&Expression, &String> {
        self.compiled.get_or_init(|| compile_anywhere(&self.text, schema)).as_ref()
    }
}

/// What is asked of one element.
pub(crate) struct Rule {
    pub(crate) id: Arc<str>,
    /// The path, as expressions are compiled for it.
    pub(crate) path: Arc<str>,
    /// The last name of the path, a choice without `[x]`.
    pub(crate) name: Box<str>,
    pub(crate) is_choice: bool,
    pub(crate) slice_name: Option<Arc<str>>,
    pub(crate) min: u32,
    pub(crate) max: Option<u32>,
    pub(crate) types: Option<Arc<[TypeReference]>>,
    pub(crate) fixed: Option<Template>,
    pub(crate) pattern: Option<Template>,
    pub(crate) min_value: Option<Limit>,
    pub(crate) max_value: Option<Limit>,
    pub(crate) max_length: Option<u32>,
    pub(crate) binding: Option<Bound>,
    pub(crate) invariants: Vec<Invariant>,
    pub(crate) slicing: Option<Arc<Slicing>>,
    /// Rules of slices of this element.
    pub(crate) slices: Vec<RuleAt>,
    /// Rules of the elements in this, slices left out.
    pub(crate) children: Vec<RuleAt>,
    /// Of a base type: JSON names to what stands under them.
    pub(crate) names: Names<Box<str>, Member>,
    /// Whether neither this nor anything below asks for something.
    pub(crate) is_idle: bool,
}

/// What stands under a JSON name of a base type.
#[derive(Clone, Copy)]
pub(crate) struct Member {
    /// Index into the children of the rule.
    pub(crate) child: u32,
    pub(crate) element: Element,
    /// The rule with the elements in it, where they are defined in place.
    pub(crate) content: Option<RuleAt>,
}

/// A binding, with its value sets once they were asked for.
pub(crate) struct Bound {
    pub(crate) binding: Arc<Binding>,
    pub(crate) set: OnceLock<Result<Arc<ResolvedSet>, String>>,
    pub(crate) max_set: OnceLock<Result<Arc<ResolvedSet>, String>>,
}

/// An invariant, compiled when it is first evaluated.
pub(crate) struct Invariant {
    pub(crate) constraint: Arc<Constraint>,
    pub(crate) severity: Severity,
    pub(crate) check: Check,
}

pub(crate) enum Check {
    Native(Native),
    Expression { text: Arc<str>, compiled: OnceLock<Result<Expression, String>> },
}

impl Invariant {
    fn new(path: &str, constraint: &Arc<Constraint>) -> Option<Self> {
        let expression = constraint.expression.as_ref()?;
        let check = match errata::erratum(path, &constraint.key, expression) {
            Some(erratum) => match erratum.corrected {
                Correction::Native(native) => Check::Native(native),
                Correction::Expression(text) => {
                    Check::Expression { text: text.into(), compiled: OnceLock::new() }
                }
            },
            None => Check::Expression { text: Arc::clone(expression), compiled: OnceLock::new() },
        };
        // Best practices are recommendations, whatever severity they were published with.
        let severity = match &*constraint.severity {
            "error" if !constraint.is_best_practice => Severity::Error,
            _ => Severity::Warning,
        };
        Some(Self { constraint: Arc::clone(constraint), severity, check })
    }
}

/// Compiles an expression for the elements at a path.
pub(crate) fn compile_expression(
    text: &str,
    schema: &Schema,
    path: &str,
) -> Result<Expression, String> {
    Expression::compile(text, schema, path, Options::default())
        .map_err(|error| error.to_string())
        .or_else(|_| compile_anywhere(text, schema))
}

/// Compiles an expression of which nobody knows where it is evaluated.
pub(crate) fn compile_anywhere(text: &str, schema: &Schema) -> Result<Expression, String> {
    Expression::compile_for_anything(text, schema, Options::default())
        .map_err(|error| error.to_string())
}

impl Program {
    pub(crate) fn compile(
        structure: &Arc<StructureDefinition>,
        definitions: &DefinitionSet,
        schema: &Schema,
    ) -> Self {
        let is_profile = structure.is_profile();
        let mut program = Self {
            structure: Arc::clone(structure),
            rules: Vec::new(),
            contexts: structure.contexts.iter().map(|it| Lazy::new(&it.expression)).collect(),
            context_invariants: structure.context_invariants.iter().map(Lazy::new).collect(),
        };
        // The last rule at each depth: the parent of what follows one deeper.
        let mut open: Vec<RuleAt> = Vec::new();
        for definition in &structure.elements {
            let depth = definition.depth();
            if depth > open.len() {
                continue;
            }
            open.truncate(depth);
            let base = if is_profile {
                base_element(definitions, &structure.type_name, &definition.path)
            } else {
                None
            };
            let at = program.rules.len() as RuleAt;
            program.rules.push(Rule::new(definition, base.as_deref(), definitions));
            if let Some(parent) = open.last() {
                program.place(at, *parent);
            }
            open.push(at);
        }
        if !is_profile {
            let root = schema
                .resource(&structure.type_name)
                .or_else(|| schema.datatype(&structure.type_name));
            if let Some(root) = root {
                program.name_members(0, root, schema);
            }
        }
        program.find_idle();
        program
    }

    /// Puts a rule among the children of its parent, or among the slices of what it slices.
    fn place(&mut self, at: RuleAt, parent: RuleAt) {
        let rule = &self.rules[at as usize];
        let sliced = rule.slice_name.as_ref().and_then(|slice| {
            let children = &self.rules[parent as usize].children;
            let base = children.iter().rev().find(|it| {
                let other = &self.rules[**it as usize];
                other.path == rule.path
            });
            let base = *base?;
            // A slice of a slice has the outer one's name before a slash.
            let outer = slice.rsplit_once('/').and_then(|(outer, _)| {
                let slices = self.rules[base as usize].slices.iter();
                slices
                    .copied()
                    .find(|it| self.rules[*it as usize].slice_name.as_deref() == Some(outer))
            });
            Some(outer.unwrap_or(base))
        });
        match sliced {
            Some(sliced) => self.rules[sliced as usize].slices.push(at),
            None => self.rules[parent as usize].children.push(at),
        }
    }

    fn name_members(&mut self, at: RuleAt, node: Node, schema: &Schema) {
        let children = self.rules[at as usize].children.clone();
        let mut names = Names::default();
        for (child_at, child) in children.iter().enumerate() {
            let child_at = child_at as u32;
            let rule = &self.rules[*child as usize];
            let name = rule.name.clone();
            let alternatives: Vec<(Box<str>, Element)> = if rule.is_choice {
                schema.choice(node, &name).map(|(name, it)| (name.into(), it)).collect()
            } else {
                schema.element(node, &name).map(|it| (name, it)).into_iter().collect()
            };
            let has_own = !rule.children.is_empty();
            let reference = self.structure.elements[*child as usize].content_reference.clone();
            let content = match reference {
                Some(target) => {
                    self.rules.iter().position(|it| it.id == target).map(|it| it as u32)
                }
                None => has_own.then_some(*child),
            };
            for (name, element) in alternatives {
                if has_own && let Kind::Complex(own) = element.kind {
                    self.name_members(*child, own, schema);
                }
                names.insert(name, Member { child: child_at, element, content });
            }
        }
        self.rules[at as usize].names = names;
    }

    fn find_idle(&mut self) {
        // Children and slices come after what they belong to.
        for at in (0..self.rules.len()).rev() {
            let rule = &self.rules[at];
            let below = rule.children.iter().chain(&rule.slices);
            let is_idle =
                rule.asks_nothing() && below.clone().all(|it| self.rules[*it as usize].is_idle);
            self.rules[at].is_idle = is_idle;
        }
    }

    pub(crate) fn rule(&self, at: RuleAt) -> &Rule {
        &self.rules[at as usize]
    }

    /// A context of an extension, as an expression.
    pub(crate) fn context(&self, at: usize) -> &Lazy {
        &self.contexts[at]
    }

    /// A context invariant of an extension.
    pub(crate) fn context_invariant(&self, at: usize) -> &Lazy {
        &self.context_invariants[at]
    }
}

impl Rule {
    fn new(
        definition: &ElementDefinition,
        base: Option<&ElementDefinition>,
        definitions: &DefinitionSet,
    ) -> Self {
        let name = definition.name();
        let is_slice = definition.slice_name.is_some();
        let template = |value: &Option<Arc<fhir_schema::structure::TypedValue>>| {
            value.as_ref().and_then(|it| Template::read(&it.json))
        };
        let limit = |value: &Option<Arc<fhir_schema::structure::TypedValue>>| {
            value.as_ref().and_then(|it| Limit::read(it))
        };
        let has_changed = |same: fn(&ElementDefinition, &ElementDefinition) -> bool| {
            base.is_none_or(|base| !same(definition, base))
        };
        let type_root = |it: &TypeReference| definitions.type_structure(&it.code);
        let invariants = definition
            .constraints
            .iter()
            .filter(|it| {
                let is_same = |other: &Arc<Constraint>| {
                    other.key == it.key && other.expression == it.expression
                };
                let is_of_base = base.is_some_and(|base| base.constraints.iter().any(is_same));
                // What the type asks is asked by the type's own program.
                let is_of_type = definition.path.contains('.')
                    && definition.types.iter().filter_map(type_root).any(|type_structure| {
                        type_structure.elements[0].constraints.iter().any(is_same)
                    });
                !is_of_base && !is_of_type
            })
            .filter_map(|it| Invariant::new(&definition.path, it))
            .filter(|it| !matches!(it.check, Check::Native(Native::HasContent)))
            .collect();
        let is_bound = |binding: &Binding| {
            matches!(&*binding.strength, "required" | "extensible")
                || binding.max_value_set.is_some()
        };
        let binding = definition
            .binding
            .as_ref()
            .filter(|it| is_bound(it) && has_changed(|one, base| one.binding == base.binding))
            .map(|it| Bound {
                binding: corrected_binding(&definition.path, it),
                set: OnceLock::new(),
                max_set: OnceLock::new(),
            });
        let has_types = has_changed(|one, base| one.types == base.types)
            && !definition.types.is_empty()
            && (base.is_some()
                || definition.types.iter().any(|it| {
                    !it.profiles.is_empty()
                        || !it.target_profiles.is_empty()
                        || !it.aggregation.is_empty()
                }));
        Self {
            id: Arc::clone(&definition.id),
            path: Arc::clone(&definition.path),
            name: name.strip_suffix("[x]").unwrap_or(name).into(),
            is_choice: name.ends_with("[x]"),
            slice_name: definition.slice_name.clone(),
            min: match base {
                Some(base) if base.min == definition.min && !is_slice => 0,
                _ => definition.min,
            },
            max: match base {
                Some(base) if base.max == definition.max && !is_slice => None,
                _ => definition.max,
            },
            types: has_types.then(|| Arc::clone(&definition.types)),
            fixed: template(&definition.fixed),
            pattern: template(&definition.pattern),
            min_value: limit(&definition.min_value),
            max_value: limit(&definition.max_value),
            max_length: definition.max_length,
            binding,
            invariants,
            slicing: definition.slicing.clone(),
            slices: Vec::new(),
            children: Vec::new(),
            names: Names::default(),
            is_idle: false,
        }
    }

    fn asks_nothing(&self) -> bool {
        let is_closed = self.slicing.as_ref().is_some_and(|it| &*it.rules != "open" || it.ordered);
        self.min == 0
            && self.max.is_none()
            && self.types.is_none()
            && self.fixed.is_none()
            && self.pattern.is_none()
            && self.min_value.is_none()
            && self.max_value.is_none()
            && self.max_length.is_none()
            && self.binding.is_none()
            && self.invariants.is_empty()
            && (!is_closed || self.slices.is_empty())
    }
}

/// A binding with the strength that it is taken with.
fn corrected_binding(path: &str, binding: &Arc<Binding>) -> Arc<Binding> {
    match errata::binding_strength(path, binding.value_set.as_deref(), &binding.strength) {
        Some(strength) => {
            Arc::new(Binding { strength: strength.into(), ..Binding::clone(binding) })
        }
        None => Arc::clone(binding),
    }
}

/// What the base types say of the element at a path, through the types on the way.
fn base_element(
    definitions: &DefinitionSet,
    type_name: &str,
    path: &str,
) -> Option<Arc<ElementDefinition>> {
    let mut structure = Arc::clone(definitions.type_structure(type_name)?);
    let mut at = structure.elements[0].path.to_string();
    let mut found = 0_usize;
    for name in path.split('.').skip(1) {
        loop {
            let next = format!("{at}.{name}");
            let choice = structure.elements.iter().position(|it| {
                *it.path == *next
                    || it.path.strip_suffix("[x]").is_some_and(|choice| {
                        // `valueQuantity` of `value[x]`.
                        next.strip_prefix(choice).is_some_and(|rest| {
                            rest.starts_with(|it: char| it.is_ascii_uppercase())
                        })
                    })
            });
            if let Some(choice) = choice {
                found = choice;
                at = structure.elements[choice].path.to_string();
                break;
            }
            let current = &structure.elements[found];
            if let Some(target) = &current.content_reference {
                let target = structure.elements.iter().position(|it| it.id == *target)?;
                found = target;
                at = structure.elements[target].path.to_string();
                continue;
            }
            let code = &current.types.first()?.code;
            let next_structure = definitions.type_structure(code)?;
            if Arc::ptr_eq(next_structure, &structure) && at == structure.elements[0].path.as_ref()
            {
                return None;
            }
            structure = Arc::clone(next_structure);
            at = structure.elements[0].path.to_string();
            found = 0;
        }
    }
    Some(Arc::new(structure.elements[found].clone()))
}
