//! The operators of arithmetic (N1 6.6, 6.7). What overflows or divides by nought is empty.

use super::{Run, Stop};
use crate::calendar::Immovable;
use crate::decimal::Decimal;
use crate::equality;
use crate::error::EvaluationProblem;
use crate::program::Arithmetic;
use crate::quantity::{Quantity, Unit};
use crate::value::Item;

/// An integer as FHIRPath has them: of 32 bits.
pub(super) fn integer<'a>(number: i128) -> Option<Item<'a>> {
    i32::try_from(number).ok().map(|number| Item::Integer(number.into()))
}

impl<'a> Run<'a, '_> {
    pub(super) fn negated(
        &self,
        item: Option<Item<'a>>,
        at: u32,
    ) -> Result<Option<Item<'a>>, Stop> {
        Ok(match item.map(|item| item.into_system(self.schema)) {
            None => None,
            Some(Item::Integer(number)) => integer(-i128::from(number)),
            Some(Item::Decimal(number)) => Some(Item::Decimal(number.negated())),
            Some(Item::Quantity(quantity)) => Some(Item::Quantity(Box::new(quantity.negated()))),
            Some(other) => return Err(self.mismatch(at, "a sign", &other)),
        })
    }

    pub(super) fn arithmetic(
        &self,
        operator: Arithmetic,
        left: Option<Item<'a>>,
        right: Option<Item<'a>>,
        at: u32,
    ) -> Result<Option<Item<'a>>, Stop> {
        let (Some(left), Some(right)) = (left, right) else {
            return Ok(None);
        };
        let (left, right) = (left.into_system(self.schema), right.into_system(self.schema));
        if let (Item::Integer(left), Item::Integer(right)) = (&left, &right) {
            return Ok(integers(operator, *left, *right));
        }
        if let (Some(left), Some(right)) = (equality::number(&left), equality::number(&right)) {
            return Ok(decimals(operator, left, right));
        }
        if let Some((left, right)) = equality::quantities(&left, &right) {
            self.spend(left.unit.cost() + right.unit.cost(), at)?;
            if let Some(result) = quantities(operator, &left, &right) {
                return Ok(result);
            }
        }
        if equality::is_open(self.schema, &left) || equality::is_open(self.schema, &right) {
            return Ok(None);
        }
        let mismatch = || self.mismatched(operator.symbol(), &left, &right, at);
        match (operator, &left, &right) {
            (Arithmetic::Add, Item::String(left), Item::String(right)) => {
                self.spend_on_text(left.len() + right.len(), at)?;
                Ok(Some(Item::String(left.clone() + right.clone())))
            }
            (Arithmetic::Add, _, Item::Quantity(quantity)) => {
                self.moved(&left, quantity.value, &quantity.unit, at)?.ok_or_else(mismatch)
            }
            (Arithmetic::Subtract, _, Item::Quantity(quantity)) => self
                .moved(&left, quantity.value.negated(), &quantity.unit, at)?
                .ok_or_else(mismatch),
            _ => Err(mismatch()),
        }
    }

    /// A date or time moved by a duration; `None` when it is neither.
    fn moved(
        &self,
        start: &Item<'a>,
        value: Decimal,
        unit: &Unit,
        at: u32,
    ) -> Result<Option<Option<Item<'a>>>, Stop> {
        if !matches!(start, Item::Date(_) | Item::DateTime(_) | Item::Time(_)) {
            return Ok(None);
        }
        let unsuitable = || {
            let unit = match unit {
                Unit::Calendar(unit) => unit.keyword().to_owned(),
                Unit::Ucum(code) | Unit::Other(_, code) => code.to_string(),
            };
            self.fail(at, EvaluationProblem::UnsuitableUnit(unit))
        };
        let calendar = unit.calendar().ok_or_else(unsuitable)?;
        let moved = match start {
            Item::Date(date) => date.moved(value, calendar).map(Item::Date),
            Item::DateTime(moment) => moment.moved(value, calendar).map(Item::DateTime),
            Item::Time(time) => time.moved(value, calendar).map(Item::Time),
            _ => return Ok(None),
        };
        match moved {
            Ok(moved) => Ok(Some(Some(moved))),
            Err(Immovable::OutOfRange) => Ok(Some(None)),
            Err(Immovable::Unit) => Err(unsuitable()),
        }
    }
}

fn integers<'a>(operator: Arithmetic, left: i64, right: i64) -> Option<Item<'a>> {
    let (left, right) = (i128::from(left), i128::from(right));
    match operator {
        Arithmetic::Multiply => integer(left.checked_mul(right)?),
        Arithmetic::Add => integer(left + right),
        Arithmetic::Subtract => integer(left - right),
        Arithmetic::DivideWhole => integer(left.checked_div(right)?),
        Arithmetic::Modulo => integer(left.checked_rem(right)?),
        Arithmetic::Divide => {
            let left = Decimal::from(i64::try_from(left).ok()?);
            left.divide(Decimal::from(i64::try_from(right).ok()?)).map(Item::Decimal)
        }
    }
}

fn decimals<'a>(operator: Arithmetic, left: Decimal, right: Decimal) -> Option<Item<'a>> {
    match operator {
        Arithmetic::Multiply => left.multiply(right).map(Item::Decimal),
        Arithmetic::Add => left.add(right).map(Item::Decimal),
        Arithmetic::Subtract => left.subtract(right).map(Item::Decimal),
        Arithmetic::Divide => left.divide(right).map(Item::Decimal),
        Arithmetic::DivideWhole => integer(left.divide_whole(right)?),
        Arithmetic::Modulo => left.remainder(right).map(Item::Decimal),
    }
}

/// `None` when the operator is not for quantities.
fn quantities<'a>(
    operator: Arithmetic,
    left: &Quantity,
    right: &Quantity,
) -> Option<Option<Item<'a>>> {
    let result = match operator {
        Arithmetic::Multiply => left.multiply(right),
        Arithmetic::Divide => left.divide(right),
        Arithmetic::Add => left.add(right),
        Arithmetic::Subtract => left.add(&right.negated()),
        Arithmetic::DivideWhole | Arithmetic::Modulo => return None,
    };
    Some(result.map(|quantity| Item::Quantity(Box::new(quantity))))
}
