//! A compiled expression and its evaluation.

use std::cell::{Cell, RefCell};

use fhir_schema::Schema;

use crate::compile::{Compiler, OrderCheck, Strictness, root_shape};
use crate::context::Context;
use crate::error::{CompileError, CompileProblem, EvaluationError, EvaluationProblem, Position};
use crate::eval::{Run, Scope, Stop, until_enough};
use crate::program::Expr;
use crate::shape::{Count, Shape};
use crate::value::Item;

/// How an expression is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What is refused.
    pub strictness: Strictness,
    /// Whether to refuse what relies on an order that is not there.
    pub order_check: OrderCheck,
}

impl Default for Options {
    fn default() -> Self {
        Self { strictness: Strictness::Lenient, order_check: OrderCheck::Off }
    }
}

/// An expression, ready to be evaluated any number of times. It belongs to the schema it was
/// compiled for.
#[derive(Debug)]
pub struct Expression {
    text: Box<str>,
    root: Expr,
    /// Which schema: its address. Only compared, never followed.
    schema: usize,
}

fn identity(schema: &Schema) -> usize {
    std::ptr::from_ref(schema).addr()
}

impl Expression {
    /// Compiles an expression that is evaluated on what `context` names: a type (`Patient`,
    /// `HumanName`, `code`) or an element (`Patient.contact`, `Observation.value[x]`). On an
    /// abstract type, such as `Resource`, nothing is known beforehand.
    ///
    /// # Errors
    /// When the text is no expression, or nothing has the name `context`; with
    /// [`Strictness::Strict`] also when the types forbid it.
    pub fn compile(
        text: &str,
        schema: &Schema,
        context: &str,
        options: Options,
    ) -> Result<Self, CompileError> {
        let root = root_shape(schema, context).ok_or_else(|| CompileError {
            problem: CompileProblem::UnknownType(context.to_owned()),
            at: Position::of(text, 0),
        })?;
        Self::compile_for(text, schema, root, options)
    }

    /// Compiles an expression of which nobody knows what it is evaluated on.
    ///
    /// # Errors
    /// When the text is no expression.
    pub fn compile_for_anything(
        text: &str,
        schema: &Schema,
        options: Options,
    ) -> Result<Self, CompileError> {
        Self::compile_for(text, schema, Shape::unknown(Count::One), options)
    }

    fn compile_for(
        text: &str,
        schema: &Schema,
        root: Shape,
        options: Options,
    ) -> Result<Self, CompileError> {
        let Options { strictness, order_check } = options;
        let root = Compiler::new(schema, strictness, order_check, root).compile(text)?;
        Ok(Self { text: text.into(), root, schema: identity(schema) })
    }

    /// The expression as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    fn run<'a, T>(
        &'a self,
        context: &Context<'a>,
        focus: &Item<'a>,
        work: impl FnOnce(&Run<'a, '_>, Scope<'_, 'a>) -> Result<T, Stop>,
    ) -> Result<T, EvaluationError> {
        let nowhere = |problem| EvaluationError { problem, at: Position::of(&self.text, 0) };
        if identity(context.schema()) != self.schema {
            return Err(nowhere(EvaluationProblem::OtherSchema));
        }
        let run = Run {
            context,
            schema: context.schema(),
            text: &self.text,
            focus,
            steps: Cell::new(context.budget()),
            depth: Cell::new(0),
            patterns: RefCell::default(),
        };
        let scope = Scope { this: focus, index: 0, total: &[] };
        work(&run, scope).map_err(|stop| match stop {
            Stop::Failed(error) => *error,
            Stop::Enough => unreachable!("whoever has enough says so to itself"),
        })
    }

    /// All items that the expression finds, from `focus`.
    ///
    /// # Errors
    /// When the expression cannot be evaluated on this data.
    pub fn evaluate<'a>(
        &'a self,
        context: &Context<'a>,
        focus: &Item<'a>,
    ) -> Result<Vec<Item<'a>>, EvaluationError> {
        let mut items = Vec::new();
        self.run(context, focus, |run, scope| {
            run.visit(&self.root, scope, &mut |item| {
                items.push(item);
                Ok(())
            })
        })?;
        Ok(items)
    }

    /// Hands each item to `take` as it is found, without collecting them; ends early when `take`
    /// breaks.
    ///
    /// # Errors
    /// When the expression cannot be evaluated on this data.
    pub fn for_each<'a>(
        &'a self,
        context: &Context<'a>,
        focus: &Item<'a>,
        mut take: impl FnMut(Item<'a>) -> std::ops::ControlFlow<()>,
    ) -> Result<(), EvaluationError> {
        self.run(context, focus, |run, scope| {
            until_enough(run.visit(&self.root, scope, &mut |item| {
                if take(item).is_break() { Err(Stop::Enough) } else { Ok(()) }
            }))
        })
    }

    /// The expression as a truth, as invariants are read: a boolean is itself, another single item
    /// is true, nothing is `None`.
    ///
    /// # Errors
    /// When the expression cannot be evaluated on this data, or finds several items.
    pub fn is_true<'a>(
        &'a self,
        context: &Context<'a>,
        focus: &Item<'a>,
    ) -> Result<Option<bool>, EvaluationError> {
        self.run(context, focus, |run, scope| run.boolean(&self.root, scope, "a condition"))
    }
}
