//! Numbers, with a unit or without: what Quantity, Range, Money and a position say.

use std::borrow::Cow;
use std::ops::Bound;
use std::sync::Arc;

use fhir_core::json::{Kind as JsonKind, Value};
use fhirpath::Decimal;

use super::{CURRENCIES, Converter, UCUM, text};
use crate::value::{CanonicalQuantity, IndexValue, NumberRange, Position, Quantity};

impl<'a> Converter<'a, '_> {
    pub(super) fn decimal(&mut self, value: Value<'a>) -> Option<Decimal> {
        let number = value.as_number().and_then(Decimal::parse);
        if number.is_none() && value.kind() != JsonKind::Null {
            self.cannot_read("no number of up to 38 digits", value);
        }
        number
    }

    pub(super) fn quantity(&mut self, value: Value<'a>) {
        let unit = UnitParts::of(value);
        let Some(number) = unit.value.and_then(|it| self.decimal(it)) else { return };
        let range = match unit.comparator.as_deref() {
            Some("<") => NumberRange::between(Bound::Unbounded, Bound::Excluded(number)),
            Some("<=") => NumberRange::between(Bound::Unbounded, Bound::Included(number)),
            Some(">") => NumberRange::between(Bound::Excluded(number), Bound::Unbounded),
            Some(">=") => NumberRange::between(Bound::Included(number), Bound::Unbounded),
            _ => None,
        };
        self.quantity_of(range.unwrap_or_else(|| NumberRange::point(number)), unit);
    }

    pub(super) fn quantity_of(&mut self, range: NumberRange, unit: UnitParts<'a>) {
        let UnitParts { system, code, unit, .. } = unit;
        let by_ucum = code.as_deref().filter(|_| system.as_deref() == Some(UCUM));
        let canonical = by_ucum.and_then(|code| self.units.get(code)).and_then(|unit| {
            let range = range.map(|number| unit.convert(number))?;
            Some(CanonicalQuantity { range, unit: Arc::clone(unit.unit()) })
        });
        let quantity = Quantity { range, system, code, unit, canonical };
        self.values.push(IndexValue::Quantity(Box::new(quantity)));
    }

    pub(super) fn money(&mut self, value: Value<'a>) {
        let Some(number) = value.get("value").and_then(|it| self.decimal(it)) else { return };
        let code = value.get("currency").and_then(text);
        self.values.push(IndexValue::Quantity(Box::new(Quantity {
            range: NumberRange::point(number),
            system: code.is_some().then_some(Cow::Borrowed(CURRENCIES)),
            code,
            unit: None,
            canonical: None,
        })));
    }

    /// From its low to its high, and the unit, which both have (FHIR R4 2.24.0.7).
    pub(super) fn range(&mut self, value: Value<'a>) -> Option<(NumberRange, UnitParts<'a>)> {
        let [low, high] = ["low", "high"].map(|name| value.get(name).map(UnitParts::of));
        let mut end = |quantity: &Option<UnitParts<'a>>| {
            let number = quantity.as_ref().and_then(|it| it.value);
            number.and_then(|it| self.decimal(it)).map_or(Bound::Unbounded, Bound::Included)
        };
        let ends = (end(&low), end(&high));
        if ends == (Bound::Unbounded, Bound::Unbounded) {
            return None;
        }
        let range = NumberRange::between(ends.0, ends.1);
        if range.is_none() {
            self.cannot_read("a Range whose low is above its high", value);
        }
        let is_given = |it: &UnitParts<'a>| it.code.is_some() || it.unit.is_some();
        let [low, high] = [low, high].map(Option::unwrap_or_default);
        Some((range?, if is_given(&low) { low } else { high }))
    }

    pub(super) fn position(&mut self, value: Value<'a>) {
        let latitude = value.get("latitude").and_then(|it| self.decimal(it));
        let longitude = value.get("longitude").and_then(|it| self.decimal(it));
        let (Some(latitude), Some(longitude)) = (latitude, longitude) else { return };
        let is_within = |number: Decimal, most: i64| number.abs() <= Decimal::from(most);
        if is_within(latitude, 90) && is_within(longitude, 180) {
            self.values.push(IndexValue::Position(Position { latitude, longitude }));
        } else {
            self.cannot_read("no place on Earth", value);
        }
    }
}

/// The members of a Quantity.
#[derive(Default)]
pub(super) struct UnitParts<'a> {
    value: Option<Value<'a>>,
    comparator: Option<Cow<'a, str>>,
    system: Option<Cow<'a, str>>,
    code: Option<Cow<'a, str>>,
    unit: Option<Cow<'a, str>>,
}

impl<'a> UnitParts<'a> {
    fn of(quantity: Value<'a>) -> Self {
        let mut parts = Self::default();
        for (name, member) in quantity.members() {
            match &*name {
                "value" => parts.value = Some(member),
                "comparator" => parts.comparator = text(member),
                "system" => parts.system = text(member),
                "code" => parts.code = text(member),
                "unit" => parts.unit = text(member),
                _ => {}
            }
        }
        parts
    }
}
