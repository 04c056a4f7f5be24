//! `[plans.NAME]`: plans have names of the operator's, so they stand in no table of keys.

use std::collections::BTreeMap;

use gateway::{Plans, WrittenPlan};
use registry::PlanName;
use serde::Deserialize;
use toml::de::DeTable;

use super::file::line_of;

/// The section that plans are defined in.
pub(super) const PLANS: &str = "plans";

/// Plans as they are written, by name.
pub(crate) type Written = BTreeMap<PlanName, WrittenPlan>;

/// The file as far as it defines plans.
#[derive(Deserialize)]
struct OfPlans {
    plans: Written,
}

/// Reads and checks the plans of the file whose text this is; else says in which line what is
/// wrong.
pub(super) fn read(text: &str, section: &DeTable<'_>) -> Result<Written, (usize, String)> {
    for name in section.keys() {
        let named: Result<PlanName, _> = name.get_ref().parse();
        named.map_err(|error| (line_of(text, &name.span()), error.to_string()))?;
    }
    let read: OfPlans = toml::from_str(text).map_err(|error| {
        let line = line_of(text, &error.span().unwrap_or(0..0));
        (line, error.message().split_whitespace().collect::<Vec<_>>().join(" "))
    })?;
    Plans::new(&read.plans).map_err(|error| {
        let section = section.keys().find(|name| name.get_ref() == error.plan.as_str());
        (section.map_or(1, |name| line_of(text, &name.span())), error.to_string())
    })?;
    Ok(read.plans)
}

/// The plans, checked.
pub(crate) fn checked(written: &Written) -> Plans {
    Plans::new(written).expect("plans are checked when they are read")
}
