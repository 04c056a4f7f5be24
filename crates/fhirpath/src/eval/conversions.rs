//! Conversions between FHIRPath's own types (N1 5.5).

use std::borrow::Cow;

use super::calls::Call;
use super::{Run, Stop};
use crate::decimal::Decimal;
use crate::equality;
use crate::functions::Function;
use crate::quantity::{Quantity, Unit};
use crate::temporal::{Date, DateTime, Time};
use crate::value::Item;

impl<'a> Run<'a, '_> {
    /// What the input is converted to; nothing when it cannot be.
    pub(super) fn converted(&self, call: Call<'_, 'a>) -> Result<Option<Item<'a>>, Stop> {
        let what = call.function.name();
        let Some(input) = self.single(call.input, call.scope, what)? else {
            return Ok(None);
        };
        self.conversion(call, call.function, input)
    }

    /// Whether the input can be converted; nothing when there is none.
    pub(super) fn converts(&self, call: Call<'_, 'a>) -> Result<Option<bool>, Stop> {
        let what = call.function.name();
        let Some(input) = self.single(call.input, call.scope, what)? else {
            return Ok(None);
        };
        let conversion = match call.function {
            Function::ConvertsToBoolean => Function::ToBoolean,
            Function::ConvertsToInteger => Function::ToInteger,
            Function::ConvertsToDate => Function::ToDate,
            Function::ConvertsToDateTime => Function::ToDateTime,
            Function::ConvertsToDecimal => Function::ToDecimal,
            Function::ConvertsToQuantity => Function::ToQuantity,
            Function::ConvertsToTime => Function::ToTime,
            _ => Function::ToString,
        };
        Ok(Some(self.conversion(call, conversion, input)?.is_some()))
    }

    fn conversion(
        &self,
        call: Call<'_, 'a>,
        conversion: Function,
        input: Item<'a>,
    ) -> Result<Option<Item<'a>>, Stop> {
        if conversion == Function::ToString {
            return Ok(input.to_text(self.schema).map(Item::String));
        }
        let input = input.into_system(self.schema);
        Ok(match conversion {
            Function::ToBoolean => to_boolean(&input).map(Item::Boolean),
            Function::ToInteger => to_integer(&input).map(Item::Integer),
            Function::ToDecimal => to_decimal(&input).map(Item::Decimal),
            Function::ToDate => match &input {
                Item::Date(date) => Some(*date),
                Item::DateTime(moment) => Some(moment.date),
                Item::String(text) => {
                    Date::parse(text).or_else(|| DateTime::parse(text).map(|it| it.date))
                }
                _ => None,
            }
            .map(Item::Date),
            Function::ToDateTime => match &input {
                Item::Date(date) => Some(date.to_date_time()),
                Item::DateTime(moment) => Some(*moment),
                Item::String(text) if !text.ends_with('T') => DateTime::parse(text),
                _ => None,
            }
            .map(Item::DateTime),
            Function::ToTime => match &input {
                Item::Time(time) => Some(*time),
                Item::String(text) => Time::parse(text.strip_prefix('T').unwrap_or(text)),
                _ => None,
            }
            .map(Item::Time),
            _ => {
                let Some(quantity) = to_quantity(&input) else {
                    return Ok(None);
                };
                self.in_unit(call, quantity)?.map(|it| Item::Quantity(Box::new(it)))
            }
        })
    }

    /// In the unit that is asked for, if one is.
    fn in_unit(&self, call: Call<'_, 'a>, quantity: Quantity) -> Result<Option<Quantity>, Stop> {
        let Some(unit) = call.arguments.first() else {
            return Ok(Some(quantity));
        };
        let Some(unit) = self.text(unit, call.scope, call.function.name())? else {
            return Ok(Some(quantity));
        };
        let code: Cow<'_, str> = match unit.strip_prefix('\'').and_then(|it| it.strip_suffix('\''))
        {
            Some(code) => Cow::Borrowed(code),
            None => unit,
        };
        Ok(quantity.to_unit(Unit::from_code(&code)))
    }
}

fn to_boolean(input: &Item<'_>) -> Option<bool> {
    match input {
        Item::Boolean(boolean) => Some(*boolean),
        Item::String(text) => match &*text.to_ascii_lowercase() {
            "true" | "t" | "yes" | "y" | "1" | "1.0" => Some(true),
            "false" | "f" | "no" | "n" | "0" | "0.0" => Some(false),
            _ => None,
        },
        _ => {
            let number = equality::number(input)?;
            if number == Decimal::from(1) { Some(true) } else { number.is_zero().then_some(false) }
        }
    }
}

fn to_integer(input: &Item<'_>) -> Option<i64> {
    match input {
        Item::Boolean(boolean) => Some(i64::from(*boolean)),
        Item::Integer(integer) => Some(*integer),
        Item::String(text) => {
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let integer = valid.then(|| text.parse::<i32>().ok()).flatten()?;
            Some(integer.into())
        }
        _ => None,
    }
}

fn to_decimal(input: &Item<'_>) -> Option<Decimal> {
    match input {
        Item::Boolean(true) => Decimal::parse("1.0"),
        Item::Boolean(false) => Decimal::parse("0.0"),
        // No exponent: N1 gives the form (+|-)? digits (. digits)?
        Item::String(text) if !text.contains(['e', 'E']) => Decimal::parse(text),
        _ => equality::number(input),
    }
}

fn to_quantity(input: &Item<'_>) -> Option<Quantity> {
    match input {
        Item::Quantity(quantity) => Some((**quantity).clone()),
        Item::Boolean(_) => to_decimal(input).map(Quantity::plain),
        Item::String(text) => Quantity::parse(text),
        _ => equality::number(input).map(Quantity::plain),
    }
}
