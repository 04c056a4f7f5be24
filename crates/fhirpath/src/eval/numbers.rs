//! Functions on numbers (N1 5.7), and precision and boundaries of numbers, dates and times.

use super::arithmetic::integer;
use super::calls::Call;
use super::{Run, Stop};
use crate::calendar::Edge;
use crate::decimal::Decimal;
use crate::equality;
use crate::functions::Function;
use crate::quantity::Quantity;
use crate::value::Item;

/// Places behind the point that a boundary may be asked for.
const MOST_PLACES: u32 = 28;

impl<'a> Run<'a, '_> {
    pub(super) fn of_number(&self, call: Call<'_, 'a>) -> Result<Option<Item<'a>>, Stop> {
        let what = call.function.name();
        let Some(input) = self.single_system(call.input, call.scope, what)? else {
            return Ok(None);
        };
        match call.function {
            Function::Precision => self.precision(&input, call.at),
            Function::LowBoundary => self.boundary(call, Edge::Low, &input),
            Function::HighBoundary => self.boundary(call, Edge::High, &input),
            Function::Comparable => {
                let other = self.single_system(&call.arguments[0], call.scope, what)?;
                let Some(other) = other else {
                    return Ok(None);
                };
                let (left, right) = equality::quantities(&input, &other)
                    .ok_or_else(|| self.mismatched(what, &input, &other, call.at))?;
                self.spend(left.unit.cost() + right.unit.cost(), call.at)?;
                Ok(Some(Item::Boolean(left.comparable(&right))))
            }
            Function::Abs => Ok(Some(match input {
                Item::Integer(number) => Item::Integer(number.saturating_abs()),
                Item::Decimal(number) => Item::Decimal(number.abs()),
                Item::Quantity(quantity) => Item::Quantity(Box::new(Quantity {
                    value: quantity.value.abs(),
                    unit: quantity.unit,
                })),
                other => return Err(self.mismatch(call.at, what, &other)),
            })),
            _ => {
                let number =
                    equality::number(&input).ok_or_else(|| self.mismatch(call.at, what, &input))?;
                let is_integer = matches!(input, Item::Integer(_));
                self.of_plain_number(call, number, is_integer.then_some(input))
            }
        }
    }

    /// `whole` is the number again if it is an integer.
    fn of_plain_number(
        &self,
        call: Call<'_, 'a>,
        number: Decimal,
        whole: Option<Item<'a>>,
    ) -> Result<Option<Item<'a>>, Stop> {
        let what = call.function.name();
        let of_f64 = |result: f64| Decimal::from_f64(result).map(Item::Decimal);
        let argument = match call.arguments.first() {
            None => None,
            Some(argument) => match self.single_system(argument, call.scope, what)? {
                None => return Ok(None),
                Some(item) => Some((
                    equality::number(&item).ok_or_else(|| self.mismatch(call.at, what, &item))?,
                    matches!(item, Item::Integer(_)),
                )),
            },
        };
        Ok(match (call.function, argument) {
            (Function::Ceiling, _) => integer(number.ceiling()),
            (Function::Floor, _) => integer(number.floor()),
            (Function::Truncate, _) => integer(number.truncate()),
            (Function::Exp, _) => of_f64(number.to_f64().exp()),
            (Function::Ln, _) => of_f64(number.to_f64().ln()),
            (Function::Sqrt, _) => of_f64(number.to_f64().sqrt()),
            (Function::Round, _) if whole.is_some() => whole,
            (Function::Round, places) => {
                let places = places.map_or(Decimal::from(0), |(places, _)| places);
                match u32::try_from(places.truncate()) {
                    Ok(places) => Some(Item::Decimal(number.rounded_to(places))),
                    Err(_) => return Err(self.mismatch(call.at, what, &Item::Decimal(places))),
                }
            }
            (Function::Log, Some((base, _))) => of_f64(number.to_f64().ln() / base.to_f64().ln()),
            (Function::Power, Some((exponent, is_integer))) => {
                let exact = u32::try_from(exponent.truncate()).ok().filter(|_| exponent.is_whole());
                match exact {
                    Some(exponent) => number.power(exponent).and_then(|power| {
                        if whole.is_some() && is_integer {
                            integer(power.truncate())
                        } else {
                            Some(Item::Decimal(power))
                        }
                    }),
                    None => of_f64(number.to_f64().powf(exponent.to_f64())),
                }
            }
            _ => None,
        })
    }

    fn precision(&self, input: &Item<'a>, at: u32) -> Result<Option<Item<'a>>, Stop> {
        let of_date = |parts: u8| i64::from(parts) * 2 + 2;
        let of_second = |digits: u8| if digits > 0 { 3 } else { 0 };
        Ok(Some(Item::Integer(match input {
            Item::Integer(_) => 0,
            Item::Decimal(number) => i64::from(number.places()),
            Item::Date(date) => of_date(date.parts()),
            Item::DateTime(moment) => {
                let digits = moment.time.map_or(0, |time| time.fraction_digits);
                of_date(moment.parts()) + of_second(digits)
            }
            Item::Time(time) => i64::from(time.parts()) * 2 + of_second(time.fraction_digits),
            other => return Err(self.mismatch(at, "precision()", other)),
        })))
    }

    fn boundary(
        &self,
        call: Call<'_, 'a>,
        edge: Edge,
        input: &Item<'a>,
    ) -> Result<Option<Item<'a>>, Stop> {
        let what = call.function.name();
        let digits = match call.arguments.first() {
            None => None,
            Some(argument) => {
                let digits = self.integer(argument, call.scope, what)?;
                match digits.map(u32::try_from) {
                    Some(Ok(digits)) => Some(digits),
                    _ => return Ok(None),
                }
            }
        };
        Ok(match input {
            Item::Integer(_) | Item::Decimal(_) => equality::number(input)
                .and_then(|it| of_decimal(it, edge, digits))
                .map(Item::Decimal),
            Item::Quantity(quantity) => of_decimal(quantity.value, edge, digits).map(|value| {
                Item::Quantity(Box::new(Quantity { value, unit: quantity.unit.clone() }))
            }),
            Item::Date(date) => {
                let end = date.to_date_time().boundary(edge, digits.unwrap_or(8));
                end.map(|end| match end.time {
                    Some(_) => Item::DateTime(end),
                    None => Item::Date(end.date),
                })
            }
            Item::DateTime(moment) => {
                moment.boundary(edge, digits.unwrap_or(17)).map(Item::DateTime)
            }
            Item::Time(time) => time.boundary_to(edge, digits.unwrap_or(9)).map(Item::Time),
            other => return Err(self.mismatch(call.at, what, other)),
        })
    }
}

/// Half a unit of the last place below or above. Of what has more places than are asked for, the
/// end nearer to nought is cut off and the other one rounded.
fn of_decimal(number: Decimal, edge: Edge, places: Option<u32>) -> Option<Decimal> {
    let places = places.unwrap_or(8);
    if places > MOST_PLACES {
        return None;
    }
    let half = Decimal::from_parts(5, number.places() + 1)?;
    let end = match edge {
        Edge::Low => number.subtract(half)?,
        Edge::High => number.add(half)?,
    };
    if end.places() <= places {
        return end.with_places(places);
    }
    let goes_away_from_nought = (edge == Edge::Low) == number.is_negative();
    Some(if goes_away_from_nought { end.rounded_to(places) } else { end.truncated_to(places) })
}
