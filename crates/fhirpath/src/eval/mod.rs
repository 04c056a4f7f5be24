//! Evaluation: each part of an expression hands its items, one by one, to whoever asked for
//! them, who may say that it has enough. So nothing is collected that is only counted or looked
//! for, and `exists()` ends at the first item.
//!
//! Every item and every part costs a step, and steps are limited. So is how deep this recurses:
//! whoever takes an item may evaluate further parts while the one that handed it on waits, so
//! that not the depth of the expression bounds it, but how many parts it has.

mod arithmetic;
mod calls;
mod collections;
mod conversions;
mod fhir;
mod numbers;
mod operators;
mod path;
mod siblings;
mod strings;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use fhir_schema::Schema;
use smallvec::SmallVec;

use crate::ast::Literal;
use crate::context::Context;
use crate::error::{EvaluationError, EvaluationProblem, Position};
use crate::model::{NodeType, SystemType, TypeTest, is_type_or_derived};
use crate::pattern::{Extent, Pattern};
use crate::program::{AsMode, Expr, Op};
use crate::quantity::{Quantity, Unit};
use crate::value::Item;

/// Why handing out items ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Whoever asked has enough.
    Enough,
    /// Something is wrong.
    Failed(Box<EvaluationError>),
}

pub(crate) type Flow = Result<(), Stop>;

/// Who takes the items.
pub(crate) type Sink<'s, 'a> = &'s mut dyn FnMut(Item<'a>) -> Flow;

/// A few items, mostly one.
pub(crate) type Few<'a> = SmallVec<[Item<'a>; 1]>;

/// What is in focus where a part is evaluated.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'s, 'a> {
    pub(crate) this: &'s Item<'a>,
    pub(crate) index: usize,
    pub(crate) total: &'s [Item<'a>],
}

impl<'s, 'a> Scope<'s, 'a> {
    fn at<'t>(&self, this: &'t Item<'a>, index: usize) -> Scope<'t, 'a>
    where
        's: 't,
    {
        Scope { this, index, total: self.total }
    }
}

/// So many parts may wait for each other: twice as many as may stand inside each other. Without
/// optimization that can take 1.5 MiB of stack; threads have 2.
const MOST_DEPTH: u32 = 200;

/// A pattern that was compiled in an evaluation, with its text.
pub(crate) type KeptPattern = (Box<str>, Extent, Rc<Pattern>);

/// One evaluation.
pub(crate) struct Run<'a, 'c> {
    pub(crate) context: &'c Context<'a>,
    pub(crate) schema: &'a Schema,
    /// Of the expression, for positions.
    pub(crate) text: &'a str,
    /// What the whole expression is evaluated on.
    pub(crate) focus: &'c Item<'a>,
    pub(crate) steps: Cell<u64>,
    /// How many parts are being evaluated, each waiting for the next.
    pub(crate) depth: Cell<u32>,
    /// The last patterns that no literal gave.
    pub(crate) patterns: RefCell<Vec<KeptPattern>>,
}

/// A flow that was ended since there is enough, as one that was not.
pub(crate) fn until_enough(flow: Flow) -> Flow {
    match flow {
        Err(Stop::Enough) => Ok(()),
        flow => flow,
    }
}

impl<'a> Run<'a, '_> {
    pub(crate) fn fail(&self, at: u32, problem: EvaluationProblem) -> Stop {
        let at = Position::of(self.text, at as usize);
        Stop::Failed(Box::new(EvaluationError { problem, at }))
    }

    pub(crate) fn mismatch(&self, at: u32, what: &'static str, given: &Item<'_>) -> Stop {
        let given = given.type_name(self.schema);
        self.fail(at, EvaluationProblem::TypeMismatch { what, given })
    }

    /// Pays for work.
    pub(crate) fn spend(&self, steps: u64, at: u32) -> Flow {
        match self.steps.get().checked_sub(steps) {
            Some(rest) => {
                self.steps.set(rest);
                Ok(())
            }
            None => Err(self.fail(at, EvaluationProblem::BudgetExceeded(self.context.budget()))),
        }
    }

    /// Hands the items of a part to `sink`.
    pub(crate) fn visit(&self, expr: &'a Expr, scope: Scope<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        self.spend(1, expr.at)?;
        let depth = self.depth.get();
        if depth == MOST_DEPTH {
            return Err(self.fail(expr.at, EvaluationProblem::TooDeep(MOST_DEPTH)));
        }
        self.depth.set(depth + 1);
        let flow = self.visit_part(expr, scope, sink);
        self.depth.set(depth);
        flow
    }

    #[inline(always)]
    fn visit_part(&self, expr: &'a Expr, scope: Scope<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        if let Some(truth) = self.truth(expr, scope) {
            return match truth? {
                Some(boolean) => sink(Item::Boolean(boolean)),
                None => Ok(()),
            };
        }
        match &expr.op {
            Op::This => sink(scope.this.clone()),
            Op::OfFocus(test) => {
                if self.is_of_type(scope.this, test) {
                    sink(scope.this.clone())
                } else {
                    Ok(())
                }
            }
            Op::Child(input, step) => match &input.op {
                Op::This => self.step_into(scope.this, step, expr.at, sink),
                Op::OfFocus(test) => {
                    if self.is_of_type(scope.this, test) {
                        self.step_into(scope.this, step, expr.at, sink)
                    } else {
                        Ok(())
                    }
                }
                _ => {
                    self.visit(input, scope, &mut |item| self.step_into(&item, step, expr.at, sink))
                }
            },
            Op::Call(function, input, arguments) => {
                self.call(*function, input, arguments, expr.at, scope, sink)
            }
            _ => self.visit_rarer(expr, scope, sink),
        }
    }

    /// Parts that are less often met, apart so that the frames of `visit` stay small.
    #[inline(never)]
    fn visit_rarer(&self, expr: &'a Expr, scope: Scope<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        match &expr.op {
            Op::Literal(literal) => sink(item_of(literal)),
            Op::Empty => Ok(()),
            Op::Index => sink(Item::Integer(i64::try_from(scope.index).unwrap_or(i64::MAX))),
            Op::Total => scope.total.iter().try_for_each(|item| sink(item.clone())),
            Op::Resource => {
                sink(Item::Fhir(self.context.resource_or(self.focus).ok_or_else(|| {
                    self.fail(expr.at, EvaluationProblem::UnknownVariable("resource".to_owned()))
                })?))
            }
            Op::RootResource => {
                let root = self.context.root_resource_or(self.focus).ok_or_else(|| {
                    let name = "rootResource".to_owned();
                    self.fail(expr.at, EvaluationProblem::UnknownVariable(name))
                })?;
                sink(Item::Fhir(root))
            }
            Op::Context => sink(self.focus.clone()),
            Op::Variable(name) => match self.context.host().variable(name) {
                Some(items) => items.into_iter().try_for_each(sink),
                None => {
                    let name = name.to_string();
                    Err(self.fail(expr.at, EvaluationProblem::UnknownVariable(name)))
                }
            },
            Op::At(input, index) => self.item_at(input, index, scope, sink),
            Op::Negate(operand) => {
                let operand_item = self.single(operand, scope, "-")?;
                self.negated(operand_item, expr.at)?.map_or(Ok(()), sink)
            }
            Op::Positive(operand) => {
                let operand_item = self.single(operand, scope, "+")?;
                // The same checks as with a minus.
                match self.negated(operand_item.clone(), expr.at)?.and(operand_item) {
                    Some(item) => sink(item),
                    None => Ok(()),
                }
            }
            Op::Arithmetic(operator, left, right) => {
                let left = self.single(left, scope, operator.symbol())?;
                let right = self.single(right, scope, operator.symbol())?;
                self.arithmetic(*operator, left, right, expr.at)?.map_or(Ok(()), sink)
            }
            Op::Concatenate(left, right) => {
                let left = self.text(left, scope, "&")?.unwrap_or_default();
                let right = self.text(right, scope, "&")?.unwrap_or_default();
                self.spend_on_text(left.len() + right.len(), expr.at)?;
                sink(Item::String(left + right))
            }
            Op::Union(parts) => {
                let mut distinct = crate::equality::DistinctItems::new();
                for part in parts {
                    self.visit(part, scope, &mut |item| {
                        self.hand_on_new(&mut distinct, item, expr.at, sink)
                    })?;
                }
                Ok(())
            }
            Op::As(mode, input, test) => self.as_type(*mode, input, test, scope, sink),
            Op::Sort(input, keys) => self.sorted(input, keys, scope, sink),
            Op::This
            | Op::OfFocus(..)
            | Op::Child(..)
            | Op::Call(..)
            | Op::Compare(..)
            | Op::Equal(..)
            | Op::Equivalent(..)
            | Op::In(..)
            | Op::And(..)
            | Op::Or(..)
            | Op::Xor(..)
            | Op::Implies(..)
            | Op::Is(..)
            | Op::Matches(..) => Ok(()),
        }
    }

    fn as_type(
        &self,
        mode: AsMode,
        input: &'a Expr,
        test: &'a TypeTest,
        scope: Scope<'_, 'a>,
        sink: Sink<'_, 'a>,
    ) -> Flow {
        match mode {
            AsMode::Each => self.visit(input, scope, &mut |item| {
                if self.is_of_type(&item, test) { sink(item) } else { Ok(()) }
            }),
            AsMode::Single => match self.single(input, scope, "as")? {
                Some(item) if self.is_of_type(&item, test) => sink(item),
                _ => Ok(()),
            },
        }
    }

    /// All items of a part.
    pub(crate) fn collect(&self, expr: &'a Expr, scope: Scope<'_, 'a>) -> Result<Few<'a>, Stop> {
        let mut items = Few::new();
        self.visit(expr, scope, &mut |item| {
            items.push(item);
            self.spend(1, expr.at)
        })?;
        Ok(items)
    }

    /// The only item of a part, if there is one; several are an error.
    pub(crate) fn single(
        &self,
        expr: &'a Expr,
        scope: Scope<'_, 'a>,
        what: &'static str,
    ) -> Result<Option<Item<'a>>, Stop> {
        match &expr.op {
            Op::Literal(literal) => return Ok(Some(item_of(literal))),
            Op::This => return Ok(Some(scope.this.clone())),
            _ => {}
        }
        let mut single = None;
        self.visit(expr, scope, &mut |item| {
            if single.is_some() {
                return Err(self.fail(expr.at, EvaluationProblem::NotSingle(what)));
            }
            single = Some(item);
            Ok(())
        })?;
        Ok(single)
    }

    /// The only item as one of FHIRPath's own types.
    pub(crate) fn single_system(
        &self,
        expr: &'a Expr,
        scope: Scope<'_, 'a>,
        what: &'static str,
    ) -> Result<Option<Item<'a>>, Stop> {
        Ok(self.single(expr, scope, what)?.map(|item| item.into_system(self.schema)))
    }

    /// The only item as a text.
    pub(crate) fn text(
        &self,
        expr: &'a Expr,
        scope: Scope<'_, 'a>,
        what: &'static str,
    ) -> Result<Option<Cow<'a, str>>, Stop> {
        match self.single_system(expr, scope, what)? {
            None => Ok(None),
            Some(Item::String(text)) => Ok(Some(text)),
            // A date of FHIR is a string to whatever takes strings.
            Some(item @ (Item::Date(_) | Item::DateTime(_) | Item::Time(_))) => {
                Ok(item.to_text(self.schema))
            }
            Some(Item::Fhir(value)) if value.value().is_none() => Ok(None),
            Some(other) => Err(self.mismatch(expr.at, what, &other)),
        }
    }

    /// The only item as an integer.
    pub(crate) fn integer(
        &self,
        expr: &'a Expr,
        scope: Scope<'_, 'a>,
        what: &'static str,
    ) -> Result<Option<i64>, Stop> {
        match self.single_system(expr, scope, what)? {
            None => Ok(None),
            Some(Item::Integer(integer)) => Ok(Some(integer)),
            Some(other) => Err(self.mismatch(expr.at, what, &other)),
        }
    }

    /// A part as a truth: a boolean is itself, another single item is true (N1 4.5).
    pub(crate) fn boolean(
        &self,
        expr: &'a Expr,
        scope: Scope<'_, 'a>,
        what: &'static str,
    ) -> Result<Option<bool>, Stop> {
        if let Some(truth) = self.truth(expr, scope) {
            self.spend(1, expr.at)?;
            return truth;
        }
        let single = self.single(expr, scope, what)?;
        Ok(single.map(|item| self.is_true(item)))
    }

    pub(crate) fn is_true(&self, item: Item<'a>) -> bool {
        match item.into_system(self.schema) {
            Item::Boolean(boolean) => boolean,
            _ => true,
        }
    }

    /// Whether an item is of a type or of one derived from it.
    pub(crate) fn is_of_type(&self, item: &Item<'a>, test: &TypeTest) -> bool {
        match (item, test) {
            (_, TypeTest::Never) => false,
            (Item::Fhir(value), TypeTest::Fhir(name)) => self.is_fhir_type(value.node_type(), name),
            (Item::Fhir(value), TypeTest::AnyQuantity) => {
                self.is_fhir_type(value.node_type(), "Quantity")
            }
            (Item::Fhir(_), TypeTest::System(_)) => false,
            (item, TypeTest::System(system_type)) => item.system_type() == Some(*system_type),
            (item, TypeTest::AnyQuantity) => item.system_type() == Some(SystemType::Quantity),
            (_, TypeTest::Fhir(_)) => false,
        }
    }

    fn is_fhir_type(&self, node_type: NodeType, name: &str) -> bool {
        is_type_or_derived(self.schema, node_type.name(self.schema), name)
    }

    /// Pays for a text that is made.
    pub(crate) fn spend_on_text(&self, length: usize, at: u32) -> Flow {
        self.spend_on_part(length, length, at)
    }

    /// Pays for a part of a text that is made, which is so long with it.
    pub(crate) fn spend_on_part(&self, part: usize, length: usize, at: u32) -> Flow {
        /// No text that an evaluation makes is longer.
        const LONGEST: usize = 16 << 20;
        if length > LONGEST {
            return Err(self.fail(at, EvaluationProblem::BudgetExceeded(self.context.budget())));
        }
        self.spend(part as u64 / 64, at)
    }
}

/// A literal as an item, its text borrowed.
fn item_of(literal: &Literal) -> Item<'_> {
    match literal {
        Literal::Boolean(boolean) => Item::Boolean(*boolean),
        Literal::String(text) => Item::String(Cow::Borrowed(text)),
        Literal::Integer(integer) => Item::Integer(*integer),
        Literal::Decimal(decimal) => Item::Decimal(*decimal),
        Literal::Date(date) => Item::Date(*date),
        Literal::DateTime(moment) => Item::DateTime(*moment),
        Literal::Time(time) => Item::Time(*time),
        Literal::Quantity(value, code) => {
            Item::Quantity(Box::new(Quantity { value: *value, unit: Unit::from_code(code) }))
        }
        Literal::Duration(value, unit) => {
            Item::Quantity(Box::new(Quantity { value: *value, unit: Unit::Calendar(*unit) }))
        }
    }
}
