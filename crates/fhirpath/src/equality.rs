//! Equality and equivalence of items (N1 6.1), and collections without what is equal twice.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use fhir_core::json::{Kind, Value};
use fhir_schema::Schema;

use crate::decimal::Decimal;
use crate::quantity::{Quantity, equivalent_decimals};
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
                None => Some(false),
            }
        }
    }
}

/// Whether two items mean the same (N1 6.1.2).
pub(crate) fn equivalent(schema: &Schema, left: &Item<'_>, right: &Item<'_>) -> bool {
    let (left, right) = (left.clone().into_system(schema), right.clone().into_system(schema));
    match (&left, &right) {
        (Item::String(left), Item::String(right)) => text::equivalent(left, right),
        (Item::Fhir(left), Item::Fhir(right)) => match (left.value(), right.value()) {
            (Some(left), Some(right)) => equivalent_json(left, right),
            (left, right) => left.is_none() && right.is_none(),
        },
        _ => {
            if let (Some(left), Some(right)) = (number(&left), number(&right)) {
                return equivalent_decimals(left, right);
            }
            match quantities(&left, &right) {
                Some((left, right)) => left.equivalent(&right),
                None => equal(schema, &left, &right) == Some(true),
            }
        }
    }
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
        Kind::Object => {
            left.members().count() == right.members().count()
                && left.members().all(|(name, value)| {
                    right.get(&name).is_some_and(|other| equal_json(value, other))
                })
        }
        Kind::Array => {
            left.items().count() == right.items().count()
                && left.items().zip(right.items()).all(|(left, right)| equal_json(left, right))
        }
        Kind::String => left.as_str() == right.as_str(),
        Kind::Number => equal_numbers(left.raw(), right.raw()),
        Kind::Boolean | Kind::Null => left.raw() == right.raw(),
    }
}

fn equal_numbers(left: &str, right: &str) -> bool {
    left == right
        || matches!((Decimal::parse(left), Decimal::parse(right)), (Some(left), Some(right)) if left == right)
}

/// The order of items does not count.
fn equivalent_json(left: Value<'_>, right: Value<'_>) -> bool {
    match (left.kind(), right.kind()) {
        (Kind::Object, Kind::Object) => {
            left.members().count() == right.members().count()
                && left.members().all(|(name, value)| {
                    right.get(&name).is_some_and(|other| equivalent_json(value, other))
                })
        }
        (Kind::Array, Kind::Array) => {
            let mut rest: Vec<Value<'_>> = right.items().collect();
            left.items().count() == rest.len()
                && left.items().all(|item| {
                    let found = rest.iter().position(|other| equivalent_json(item, *other));
                    found.map(|at| rest.swap_remove(at)).is_some()
                })
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
    }
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

    /// Adds it unless it is there; whether it was added, and with how many it was compared.
    pub(crate) fn add(&mut self, schema: &Schema, item: Item<'a>) -> (bool, usize) {
        if self.items.len() < FEW {
            let is_new = !self.items.iter().any(|it| equal(schema, it, &item) == Some(true));
            if is_new {
                self.items.push(item);
            }
            return (is_new, self.items.len());
        }
        if self.places.is_empty() {
            for (place, item) in self.items.iter().enumerate() {
                self.places.entry(hash(schema, item)).or_default().push(place);
            }
        }
        let places = self.places.entry(hash(schema, &item)).or_default();
        let compared = places.len() + 1;
        let is_there =
            places.iter().any(|place| equal(schema, &self.items[*place], &item) == Some(true));
        if !is_there {
            places.push(self.items.len());
            self.items.push(item);
        }
        (!is_there, compared)
    }

    /// Whether an equal one is there, and with how many it was compared.
    pub(crate) fn contains(&self, schema: &Schema, item: &Item<'a>) -> (bool, usize) {
        let is_equal = |it: &Item<'a>| equal(schema, it, item) == Some(true);
        if self.places.is_empty() {
            return (self.items.iter().any(is_equal), self.items.len());
        }
        match self.places.get(&hash(schema, item)) {
            Some(places) => {
                (places.iter().any(|place| is_equal(&self.items[*place])), places.len())
            }
            None => (false, 1),
        }
    }

    pub(crate) fn last(&self) -> Option<&Item<'a>> {
        self.items.last()
    }

    pub(crate) fn items(&self) -> &[Item<'a>] {
        &self.items
    }
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
