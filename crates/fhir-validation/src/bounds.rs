//! `minValue[x]` and `maxValue[x]` (FHIR R4, ElementDefinition): numbers, dates and times, and
//! quantities as far as their units can be compared.

use std::cmp::Ordering;

use fhir_core::IssueCode;
use fhir_core::json::{Document, Kind as JsonKind, Value};
use fhir_schema::structure::TypedValue;
use fhirpath::{DateTime, Decimal, Quantity, Time, Unit};

use crate::program::Rule;
use crate::walk::{Instance, Run};

const UCUM: &str = "http://unitsofmeasure.org";

/// A least or greatest value.
pub(crate) struct Limit {
    value: Comparable,
    /// As it is shown.
    text: Box<str>,
}

enum Comparable {
    Number(Decimal),
    /// A date with or without a time; what the coarser of two does not tell is not held against
    /// anyone.
    Moment(DateTime),
    Time(Time),
    Quantity(Quantity),
}

impl Limit {
    /// Reads the limit of a definition; `None` for what has no order.
    pub(crate) fn read(limit: &TypedValue) -> Option<Self> {
        let document = Document::parse(limit.json.as_bytes()).ok()?;
        let value = document.root();
        let comparable = match &*limit.type_name {
            "Time" | "time" => Comparable::Time(Time::parse(&value.as_str()?)?),
            _ => Comparable::of(value)?,
        };
        let text = match &comparable {
            Comparable::Quantity(_) => shown(value),
            _ => limit.json.trim_matches('"').to_owned(),
        };
        Some(Self { value: comparable, text: text.into() })
    }

    /// Where a value stands to this limit; `None` where nobody can tell.
    fn compare(&self, value: Value<'_>) -> Option<Ordering> {
        match (&self.value, value.kind()) {
            (Comparable::Time(limit), JsonKind::String) => {
                Time::parse(&value.as_str()?)?.compare(*limit)
            }
            (limit, _) => match (Comparable::of(value)?, limit) {
                (Comparable::Number(value), Comparable::Number(limit)) => Some(value.cmp(limit)),
                (Comparable::Moment(value), Comparable::Moment(limit)) => value.compare(*limit),
                (Comparable::Quantity(value), Comparable::Quantity(limit)) => value.compare(limit),
                _ => None,
            },
        }
    }
}

impl Comparable {
    fn of(value: Value<'_>) -> Option<Self> {
        match value.kind() {
            JsonKind::Number => Decimal::parse(value.raw()).map(Self::Number),
            JsonKind::String => DateTime::parse(&value.as_str()?).map(Self::Moment),
            JsonKind::Object => {
                let number = Decimal::parse(value.get("value")?.as_number()?)?;
                // An approximate value stands nowhere exactly.
                if value.get("comparator").is_some() {
                    return None;
                }
                let unit = match (value.get_str("system"), value.get_str("code")) {
                    (Some(system), Some(code)) if system == UCUM => Unit::Ucum((&*code).into()),
                    (Some(system), Some(code)) => Unit::Other((&*system).into(), (&*code).into()),
                    _ if value.get("unit").is_none() => Unit::Ucum("1".into()),
                    _ => return None,
                };
                Some(Self::Quantity(Quantity { value: number, unit }))
            }
            _ => None,
        }
    }
}

/// A quantity in words.
fn shown(quantity: Value<'_>) -> String {
    let number = quantity.get("value").and_then(|it| it.as_number()).unwrap_or_default().to_owned();
    match quantity.get_str("unit").or_else(|| quantity.get_str("code")) {
        Some(unit) => format!("{number} {unit}"),
        None => number,
    }
}

impl<'a> Run<'a> {
    /// A value against the least and the greatest.
    pub(crate) fn bounds(&mut self, rule: &'a Rule, instance: Instance<'a>, place: Value<'a>) {
        let Some(value) = instance.value else { return };
        if let Some(least) = &rule.min_value
            && least.compare(value) == Some(Ordering::Less)
        {
            let text = format!("the least value is {}", least.text);
            self.error(IssueCode::Value, place, "min-value", text);
        }
        if let Some(most) = &rule.max_value
            && most.compare(value) == Some(Ordering::Greater)
        {
            let text = format!("the greatest value is {}", most.text);
            self.error(IssueCode::Value, place, "max-value", text);
        }
    }
}
