//! What is true or false: comparisons, equality, membership, logic with three values (N1 6).

use super::{Few, Run, Scope, Stop, until_enough};
use crate::equality::{self, size};
use crate::error::EvaluationProblem;
use crate::functions::Function;
use crate::program::{Comparison, Expr, Op, Sense};
use crate::value::Item;

type Truth = Result<Option<bool>, Stop>;

impl<'a> Run<'a, '_> {
    /// Of parts that are true, false or empty, which; `None` for all other parts.
    pub(super) fn truth(&self, expr: &'a Expr, scope: Scope<'_, 'a>) -> Option<Truth> {
        Some(match &expr.op {
            Op::And(left, right) => self.and(left, right, scope),
            Op::Or(left, right) => self.or(left, right, scope),
            Op::Xor(left, right) => self.xor(left, right, scope),
            Op::Implies(left, right) => self.implies(left, right, scope),
            Op::Compare(comparison, left, right) => {
                self.compare(*comparison, left, right, expr.at, scope)
            }
            Op::Equal(sense, left, right) => self
                .equal(left, right, scope)
                .map(|equal| equal.map(|equal| equal == (*sense == Sense::Plain))),
            Op::Equivalent(sense, left, right) => self
                .equivalent(left, right, scope)
                .map(|equivalent| Some(equivalent == (*sense == Sense::Plain))),
            Op::In(item, collection) => self.is_in(item, collection, scope),
            Op::Is(operand, test) => self
                .single(operand, scope, "is")
                .map(|item| item.map(|item| self.is_of_type(&item, test))),
            Op::Matches(function, input, pattern) => {
                self.text(input, scope, function.name()).and_then(|text| {
                    text.map(|text| self.is_match(pattern, &text, expr.at)).transpose()
                })
            }
            Op::Call(function, input, arguments) => {
                return self.true_or_false(*function, input, arguments, expr.at, scope);
            }
            _ => return None,
        })
    }

    /// Functions that are asked often and need no item to be handed on.
    fn true_or_false(
        &self,
        function: Function,
        input: &'a Expr,
        arguments: &'a [Expr],
        at: u32,
        scope: Scope<'_, 'a>,
    ) -> Option<Truth> {
        Some(match function {
            Function::Exists => self.exists(input, arguments.first(), scope).map(Some),
            Function::Empty => self.exists(input, None, scope).map(|exists| Some(!exists)),
            Function::All => self.all(input, &arguments[0], scope).map(Some),
            Function::Not => {
                self.boolean(input, scope, "not()").map(|it| it.map(|boolean| !boolean))
            }
            Function::HasValue => self.has_value(input, scope, at).map(Some),
            _ => return None,
        })
    }

    fn and(&self, left: &'a Expr, right: &'a Expr, scope: Scope<'_, 'a>) -> Truth {
        let left = self.boolean(left, scope, "and")?;
        if left == Some(false) {
            return Ok(left);
        }
        Ok(match self.boolean(right, scope, "and")? {
            Some(true) => left,
            Some(false) => Some(false),
            None => None,
        })
    }

    fn or(&self, left: &'a Expr, right: &'a Expr, scope: Scope<'_, 'a>) -> Truth {
        let left = self.boolean(left, scope, "or")?;
        if left == Some(true) {
            return Ok(left);
        }
        Ok(match self.boolean(right, scope, "or")? {
            Some(false) => left,
            Some(true) => Some(true),
            None => None,
        })
    }

    fn xor(&self, left: &'a Expr, right: &'a Expr, scope: Scope<'_, 'a>) -> Truth {
        let left = self.boolean(left, scope, "xor")?;
        let right = self.boolean(right, scope, "xor")?;
        Ok(left.zip(right).map(|(left, right)| left != right))
    }

    fn implies(&self, left: &'a Expr, right: &'a Expr, scope: Scope<'_, 'a>) -> Truth {
        let left = self.boolean(left, scope, "implies")?;
        if left == Some(false) {
            return Ok(Some(true));
        }
        let right = self.boolean(right, scope, "implies")?;
        Ok(if right == Some(true) { right } else { left.and(right) })
    }

    fn compare(
        &self,
        comparison: Comparison,
        left: &'a Expr,
        right: &'a Expr,
        at: u32,
        scope: Scope<'_, 'a>,
    ) -> Truth {
        let symbol = comparison.symbol();
        if let Op::Call(Function::Count, input, _) = &left.op {
            // Counting ends where the answer is sure: one beyond the bound.
            let bound = match &right.op {
                Op::Call(Function::Count, other, _) => {
                    let count = self.count_to(other, usize::MAX, scope)?;
                    Some(Item::Integer(i64::try_from(count).unwrap_or(i64::MAX)))
                }
                _ => self.single_system(right, scope, symbol)?,
            };
            if let Some(Item::Integer(bound)) = bound {
                let most = usize::try_from(bound.saturating_add(1)).unwrap_or(0).max(1);
                let count = self.count_to(input, most, scope)?;
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                return Ok(Some(comparison.holds(count.cmp(&bound))));
            }
        }
        let left_item = self.single_system(left, scope, symbol)?;
        let right_item = self.single_system(right, scope, symbol)?;
        let (Some(left), Some(right)) = (left_item, right_item) else {
            return Ok(None);
        };
        let order = match (&left, &right) {
            (Item::String(left), Item::String(right)) => Some(left.cmp(right)),
            (Item::Time(left), Item::Time(right)) => left.compare(*right),
            _ => {
                if let (Some(left), Some(right)) =
                    (equality::number(&left), equality::number(&right))
                {
                    Some(left.cmp(&right))
                } else if let (Some(left), Some(right)) =
                    (equality::moment(&left), equality::moment(&right))
                {
                    left.compare(right)
                } else if let Some((left, right)) = equality::quantities(&left, &right) {
                    self.spend(left.unit.cost() + right.unit.cost(), at)?;
                    left.compare(&right)
                } else if equality::is_open(self.schema, &left)
                    || equality::is_open(self.schema, &right)
                {
                    None
                } else {
                    return Err(self.mismatched(symbol, &left, &right, at));
                }
            }
        };
        Ok(order.map(|order| comparison.holds(order)))
    }

    pub(super) fn mismatched(
        &self,
        what: &'static str,
        left: &Item<'a>,
        right: &Item<'a>,
        at: u32,
    ) -> Stop {
        let given = format!("{} and {}", left.type_name(self.schema), right.type_name(self.schema));
        self.fail(at, EvaluationProblem::TypeMismatch { what, given })
    }

    fn equal(&self, left: &'a Expr, right: &'a Expr, scope: Scope<'_, 'a>) -> Truth {
        let at = left.at;
        let left = self.collect(left, scope)?;
        if left.is_empty() {
            return Ok(None);
        }
        let right = self.collect(right, scope)?;
        if right.is_empty() {
            return Ok(None);
        }
        if left.len() != right.len() {
            return Ok(Some(false));
        }
        let mut all = Some(true);
        for (left, right) in left.iter().zip(&right) {
            self.spend(size(self.schema, left) + size(self.schema, right), at)?;
            match equality::equal(self.schema, left, right) {
                Some(true) => {}
                Some(false) => return Ok(Some(false)),
                None => all = None,
            }
        }
        Ok(all)
    }

    fn equivalent(
        &self,
        left: &'a Expr,
        right: &'a Expr,
        scope: Scope<'_, 'a>,
    ) -> Result<bool, Stop> {
        let at = left.at;
        let left = self.collect(left, scope)?;
        let mut right: Few<'a> = self.collect(right, scope)?;
        if left.len() != right.len() {
            return Ok(false);
        }
        let pay = |steps| self.spend(steps, at);
        'items: for item in &left {
            for (place, other) in right.iter().enumerate() {
                if equality::equivalent(self.schema, item, other, &pay)? {
                    right.swap_remove(place);
                    continue 'items;
                }
            }
            return Ok(false);
        }
        Ok(true)
    }

    fn is_in(&self, item: &'a Expr, collection: &'a Expr, scope: Scope<'_, 'a>) -> Truth {
        let Some(wanted) = self.single(item, scope, "in")? else {
            return Ok(None);
        };
        let mut is_there = false;
        let cost = size(self.schema, &wanted);
        until_enough(self.visit(collection, scope, &mut |other| {
            self.spend(cost + size(self.schema, &other), item.at)?;
            is_there = equality::equal(self.schema, &wanted, &other) == Some(true);
            if is_there { Err(Stop::Enough) } else { Ok(()) }
        }))?;
        Ok(Some(is_there))
    }

    /// How many items there are, counted no further than to `most`.
    pub(super) fn count_to(
        &self,
        input: &'a Expr,
        most: usize,
        scope: Scope<'_, 'a>,
    ) -> Result<usize, Stop> {
        if let Op::Call(Function::Children, parent, _) = &input.op
            && matches!(parent.op, Op::This)
        {
            return self.count_children(scope.this, most, input.at);
        }
        let mut count = 0;
        until_enough(self.visit(input, scope, &mut |_| {
            count += 1;
            if count >= most { Err(Stop::Enough) } else { Ok(()) }
        }))?;
        Ok(count)
    }

    fn exists(
        &self,
        input: &'a Expr,
        criterion: Option<&'a Expr>,
        scope: Scope<'_, 'a>,
    ) -> Result<bool, Stop> {
        let (mut exists, mut index) = (false, 0);
        until_enough(self.visit(input, scope, &mut |item| {
            exists = match criterion {
                None => true,
                Some(criterion) => {
                    self.boolean(criterion, scope.at(&item, index), "exists()")? == Some(true)
                }
            };
            index += 1;
            if exists { Err(Stop::Enough) } else { Ok(()) }
        }))?;
        Ok(exists)
    }

    fn all(
        &self,
        input: &'a Expr,
        criterion: &'a Expr,
        scope: Scope<'_, 'a>,
    ) -> Result<bool, Stop> {
        let (mut all, mut index) = (true, 0);
        until_enough(self.visit(input, scope, &mut |item| {
            all = self.boolean(criterion, scope.at(&item, index), "all()")? == Some(true);
            index += 1;
            if all { Ok(()) } else { Err(Stop::Enough) }
        }))?;
        Ok(all)
    }

    fn has_value(&self, input: &'a Expr, scope: Scope<'_, 'a>, at: u32) -> Result<bool, Stop> {
        let has_value = |item: &Item<'a>| match item {
            Item::Fhir(value) => value.has_primitive_value(),
            _ => true,
        };
        if matches!(input.op, Op::This) {
            self.spend(1, at)?;
            return Ok(has_value(scope.this));
        }
        let (mut count, mut first_has_value) = (0, false);
        until_enough(self.visit(input, scope, &mut |item| {
            count += 1;
            first_has_value = has_value(&item);
            if count > 1 { Err(Stop::Enough) } else { Ok(()) }
        }))?;
        Ok(count == 1 && first_has_value)
    }
}
