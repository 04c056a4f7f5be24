//! Equality and equivalence of items (N1 6.1), and collections without what is equal twice.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use fhir_core::json::{Kind, Value};
use fhir_schema::Schema;

use crate::decimal::Decimal;
use crate::eval::{Flow, Stop};
use crate::quantity::{LONGEST_CODE, Quantity, equivalent_decimals};
use crate::text;
use crate::value::Item;

/// Whether two items are the same; `None` when the precision of a date or a unit leaves it open.
pub(crate) fn equal(schema: &Schema, left: &Item<'_>, right: &Item<'_>) -> Option<bool> {
    if let (Item::Fhir(left), Item::Fhir(right)) = (left, right)
        && left.is_same_place(right)
    {
        return Some(true);
    }
    let (left, right) = (left.clone().into_system(schema), right.clone().into_system(schema));
    match (&left, &right) {
        (Item::Boolean(left), Item::Boolean(right)) => Some(left == right),
        (Item::Integer(left), Item::Integer(right)) => Some(left == right),
        (Item::String(left), Item::String(right)) => Some(left == right),
        (Item::Time(left), Item::Time(right)) => left.compare(*right).map(|it| it.is_eq()),
        (Item::Type(left), Item::Type(right)) => Some(left == right),
        (Item::Fhir(left), Item::Fhir(right)) => Some(match (left.value(), right.value()) {
            (Some(left), Some(right)) => equal_json(left, right),
            (None, None) => match (left.sibling(), right.sibling()) {
                (Some(left), Some(right)) => equal_json(left, right),
                (left, right) => left.is_none() && right.is_none(),
            },
            _ => false,
        }),
        _ => {
            if let (Some(left), Some(right)) = (number(&left), number(&right)) {
                return Some(left == right);
            }
            if let (Some(left), Some(right)) = (moment(&left), moment(&right)) {
                return left.compare(right).map(|it| it.is_eq());
            }
            match quantities(&left, &right) {
                Some((left, right)) => left.equal(&right),
                // A quantity that is said to be less than so much may or may not be the other.
                None if is_bounded_beside_quantity(schema, &left, &right) => None,
                None => Some(false),
            }
        }
    }
}

/// How much there is to look at in an item, in steps.
pub(crate) fn size(schema: &Schema, item: &Item<'_>) -> u64 {
    let (length, parsed) = match item {
        Item::Fhir(value) => {
            let length = value.value().or_else(|| value.sibling()).map_or(0, |it| it.raw().len());
            let is_quantity = length > 0 && value.is_quantity(schema);
            (length, if is_quantity { length.min(LONGEST_CODE) as u64 } else { 0 })
        }
        Item::String(text) => (text.len(), 0),
        Item::Quantity(quantity) => (0, quantity.unit.cost()),
        _ => (0, 0),
    };
    1 + length as u64 / 64 + parsed
}

/// Whether it is an element of which nobody can tell how it compares: one that has extensions
/// alone, or a quantity without a number or with a comparator.
pub(crate) fn is_open(schema: &Schema, item: &Item<'_>) -> bool {
    item.as_fhir().is_some_and(|value| value.value().is_none() || value.is_quantity(schema))
}

fn is_bounded_beside_quantity(schema: &Schema, left: &Item<'_>, right: &Item<'_>) -> bool {
    let is_bounded = |item: &Item<'_>| {
        item.as_fhir().is_some_and(|it| it.is_quantity(schema) && it.has_comparator())
    };
    let is_quantity = |item: &Item<'_>| matches!(item, Item::Quantity(_)) || number(item).is_some();
    is_bounded(left) && is_quantity(right) || is_quantity(left) && is_bounded(right)
}

/// Takes steps for work, and fails when there are none left.
type Pay<'p> = &'p dyn Fn(u64) -> Flow;

/// Whether two items mean the same (N1 6.1.2). Lists in them are compared in any order, which
/// can take long: it is paid for on the way.
pub(crate) fn equivalent(
    schema: &Schema,
    left: &Item<'_>,
    right: &Item<'_>,
    pay: Pay<'_>,
) -> Result<bool, Stop> {
    let (left, right) = (left.clone().into_system(schema), right.clone().into_system(schema));
    if let (Item::Fhir(left), Item::Fhir(right)) = (&left, &right) {
        return match (left.value(), right.value(), left.sibling(), right.sibling()) {
            (Some(left), Some(right), ..) | (None, None, Some(left), Some(right)) => {
                equivalent_json(left, right, pay)
            }
            (None, None, None, None) => Ok(true),
            _ => Ok(false),
        };
    }
    pay(size(schema, &left) + size(schema, &right))?;
    Ok(match (&left, &right) {
        (Item::String(left), Item::String(right)) => text::equivalent(left, right),
        _ => {
            if let (Some(left), Some(right)) = (number(&left), number(&right)) {
                return Ok(equivalent_decimals(left, right));
            }
            match quantities(&left, &right) {
                Some((left, right)) => left.equivalent(&right),
                None => equal(schema, &left, &right) == Some(true),
            }
        }
    })
}

/// An integer or decimal as a decimal.
pub(crate) fn number(item: &Item<'_>) -> Option<Decimal> {
    match item {
        Item::Integer(integer) => Some(Decimal::from(*integer)),
        Item::Decimal(decimal) => Some(*decimal),
        _ => None,
    }
}

/// A date or dateTime as a dateTime.
pub(crate) fn moment(item: &Item<'_>) -> Option<crate::temporal::DateTime> {
    match item {
        Item::Date(date) => Some(date.to_date_time()),
        Item::DateTime(moment) => Some(*moment),
        _ => None,
    }
}

/// Two quantities, one of which may be a plain number.
pub(crate) fn quantities(left: &Item<'_>, right: &Item<'_>) -> Option<(Quantity, Quantity)> {
    let of = |item: &Item<'_>| match item {
        Item::Quantity(quantity) => Some((**quantity).clone()),
        _ => number(item).map(Quantity::plain),
    };
    let is_quantity = |item: &Item<'_>| matches!(item, Item::Quantity(_));
    (is_quantity(left) || is_quantity(right)).then_some(())?;
    Some((of(left)?, of(right)?))
}

fn equal_json(left: Value<'_>, right: Value<'_>) -> bool {
    if left.kind() != right.kind() {
        return false;
    }
    match left.kind() {
        Kind::Object => members_of_both(left, right).is_some_and(|members| {
            members.into_iter().all(|(left, right)| equal_json(left, right))
        }),
        Kind::Array => {
            let (mut left, mut right) = (left.items(), right.items());
            loop {
                match (left.next(), right.next()) {
                    (None, None) => return true,
                    (Some(left), Some(right)) if equal_json(left, right) => {}
                    _ => return false,
                }
            }
        }
        Kind::String => left.as_str() == right.as_str(),
        Kind::Number => equal_numbers(left.raw(), right.raw()),
        Kind::Boolean | Kind::Null => left.raw() == right.raw(),
    }
}

/// The values of two objects in pairs, by name; `None` when one has a name that the other has
/// not. In time that grows little faster than what the smaller has, also for many members.
fn members_of_both<'l, 'r>(left: Value<'l>, right: Value<'r>) -> Option<Pairs<'l, 'r>> {
    let (mut left_members, mut right_members) = (left.named_members(), right.named_members());
    loop {
        match (left_members.next(), right_members.next()) {
            (None, None) => break,
            (Some(_), Some(_)) => {}
            _ => return None,
        }
    }
    let mut left: Vec<_> = left.members().collect();
    let mut right: Vec<_> = right.members().collect();
    left.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    right.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    left.into_iter()
        .zip(right)
        .map(|((left_name, left), (right_name, right))| {
            (left_name == right_name).then_some((left, right))
        })
        .collect()
}

/// Values of two objects under the same names.
type Pairs<'l, 'r> = Vec<(Value<'l>, Value<'r>)>;

fn equal_numbers(left: &str, right: &str) -> bool {
    left == right
        || matches!((Decimal::parse(left), Decimal::parse(right)), (Some(left), Some(right)) if left == right)
}

/// The order of items does not count.
fn equivalent_json(left: Value<'_>, right: Value<'_>, pay: Pay<'_>) -> Result<bool, Stop> {
    let length = |value: Value<'_>| value.raw().len() as u64;
    let is_leaf = |value: Value<'_>| !matches!(value.kind(), Kind::Object | Kind::Array);
    pay(1 + if is_leaf(left) { (length(left) + length(right)) / 64 } else { 0 })?;
    Ok(match (left.kind(), right.kind()) {
        (Kind::Object, Kind::Object) => {
            pay(length(left).min(length(right)) / 64)?;
            let Some(members) = members_of_both(left, right) else {
                return Ok(false);
            };
            for (left, right) in members {
                if !equivalent_json(left, right, pay)? {
                    return Ok(false);
                }
            }
            true
        }
        (Kind::Array, Kind::Array) => {
            pay((length(left) + length(right)) / 64)?;
            let mut rest: Vec<Value<'_>> = right.items().collect();
            if left.items().count() != rest.len() {
                return Ok(false);
            }
            'items: for item in left.items() {
                for at in 0..rest.len() {
                    if equivalent_json(item, rest[at], pay)? {
                        rest.swap_remove(at);
                        continue 'items;
                    }
                }
                return Ok(false);
            }
            true
        }
        (Kind::String, Kind::String) => match (left.as_str(), right.as_str()) {
            (Some(left), Some(right)) => text::equivalent(&left, &right),
            _ => false,
        },
        (Kind::Number, Kind::Number) => {
            match (Decimal::parse(left.raw()), Decimal::parse(right.raw())) {
                (Some(left), Some(right)) => equivalent_decimals(left, right),
                _ => left.raw() == right.raw(),
            }
        }
        (left_kind, right_kind) => left_kind == right_kind && left.raw() == right.raw(),
    })
}

/// Items of which no two are equal, in the order in which they came.
pub(crate) struct DistinctItems<'a> {
    items: Vec<Item<'a>>,
    /// By hash: where they stand.
    places: HashMap<u64, Vec<usize>>,
}

/// Up to here looking at all is faster than hashing.
const FEW: usize = 8;

impl<'a> DistinctItems<'a> {
    pub(crate) fn new() -> Self {
        Self { items: Vec::new(), places: HashMap::new() }
    }

    /// Adds it unless it is there; whether it was added, and what comparing it cost in steps.
    pub(crate) fn add(&mut self, schema: &Schema, item: Item<'a>) -> (bool, u64) {
        if self.items.len() < FEW {
            let (is_there, cost) = is_among(schema, &item, self.items.iter());
            if !is_there {
                self.items.push(item);
            }
            return (!is_there, cost);
        }
        if self.places.is_empty() {
            for (place, item) in self.items.iter().enumerate() {
                self.places.entry(hash(schema, item)).or_default().push(place);
            }
        }
        let places = self.places.entry(hash(schema, &item)).or_default();
        let (is_there, cost) =
            is_among(schema, &item, places.iter().map(|place| &self.items[*place]));
        if !is_there {
            places.push(self.items.len());
            self.items.push(item);
        }
        (!is_there, cost)
    }

    /// Whether an equal one is there, and what comparing it cost in steps.
    pub(crate) fn contains(&self, schema: &Schema, item: &Item<'a>) -> (bool, u64) {
        if self.places.is_empty() {
            return is_among(schema, item, self.items.iter());
        }
        match self.places.get(&hash(schema, item)) {
            Some(places) => is_among(schema, item, places.iter().map(|place| &self.items[*place])),
            None => (false, size(schema, item)),
        }
    }

    pub(crate) fn last(&self) -> Option<&Item<'a>> {
        self.items.last()
    }

    pub(crate) fn items(&self) -> &[Item<'a>] {
        &self.items
    }
}

/// Whether one of the others is equal to an item, and what it cost in steps to find out.
fn is_among<'i, 'a: 'i>(
    schema: &Schema,
    item: &Item<'a>,
    others: impl Iterator<Item = &'i Item<'a>>,
) -> (bool, u64) {
    let own = size(schema, item);
    let mut cost = own;
    for other in others {
        cost += own + size(schema, other);
        if equal(schema, other, item) == Some(true) {
            return (true, cost);
        }
    }
    (false, cost)
}

/// What is equal has the same hash.
fn hash(schema: &Schema, item: &Item<'_>) -> u64 {
    let mut state = DefaultHasher::new();
    match item.clone().into_system(schema) {
        Item::Boolean(boolean) => boolean.hash(&mut state),
        Item::String(text) => text.hash(&mut state),
        Item::Fhir(value) => {
            if let Some(json) = value.value().or_else(|| value.sibling()) {
                hash_json(json).hash(&mut state);
            }
        }
        // A quantity may equal one in another unit. (A plain number equals a quantity of it, and
        // of these two a large collection may keep both.)
        Item::Quantity(_) => 0_u8.hash(&mut state),
        item @ (Item::Integer(_) | Item::Decimal(_)) => match number(&item) {
            Some(number) => hash_number(number, &mut state),
            None => 0_u8.hash(&mut state),
        },
        // How precise they are decides what equals what.
        Item::Date(_) | Item::DateTime(_) | Item::Time(_) | Item::Type(_) => 1_u8.hash(&mut state),
    }
    state.finish()
}

fn hash_number(number: Decimal, state: &mut DefaultHasher) {
    let number = number.normalized();
    (number.digits(), number.places()).hash(state);
}

/// The order of members does not count.
fn hash_json(value: Value<'_>) -> u64 {
    let mut state = DefaultHasher::new();
    match value.kind() {
        Kind::Object => {
            let sum = value.members().fold(0_u64, |sum, (name, value)| {
                let mut state = DefaultHasher::new();
                (name, hash_json(value)).hash(&mut state);
                sum.wrapping_add(state.finish())
            });
            sum.hash(&mut state);
        }
        Kind::Array => value.items().for_each(|item| hash_json(item).hash(&mut state)),
        Kind::String => value.as_str().hash(&mut state),
        Kind::Number => match Decimal::parse(value.raw()) {
            Some(number) => hash_number(number, &mut state),
            None => value.raw().hash(&mut state),
        },
        Kind::Boolean | Kind::Null => value.raw().hash(&mut state),
    }
    state.finish()
}
