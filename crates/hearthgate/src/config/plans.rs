//! `[plans.NAME]`: plans have names of the operator's, so they stand in no table of keys.

use std::collections::BTreeMap;

use gateway::{Plans, WrittenPlan};
use registry::PlanName;
use serde::Deserialize;
use toml::de::DeTable;

use super::file::{line_of, refused};

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
    let read: OfPlans = toml::from_str(text).map_err(|error| refused(text, &error))?;
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

#[cfg(test)]
mod tests {
    use crate::config::{Config, Flags};

    const APP: &str = "[plans.app]\nsays = \"For apps.\"\nroles = [\"reader\"]\n\
                       rates = [{ per_second = 5, burst = 9, by = [\"client\", \"address\"] }]\n\
                       at_once = [{ most = 3 }]\n\
                       quotas = [{ of = \"cost\", most = 7, per = \"month\", window = \"rolling\" }]\n";

    fn resolved(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hearthgate.toml");
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path.clone()), ..Flags::default() };
        Config::resolve(&flags).map_err(|error| {
            crate::failure::one_line(&error).replace(path.to_str().unwrap(), "FILE")
        })
    }

    #[test]
    fn plans_are_printed_as_they_decide() {
        // GW-060
        let config = resolved(APP).unwrap();
        assert!(config.plans().has(&"app".parse().unwrap()));
        let printed = config.to_toml();
        assert_eq!(resolved(&printed).unwrap(), config, "{printed}");
    }

    #[test]
    fn a_wrong_plan_is_refused_with_its_line_and_place() {
        // GW-060
        let with = |from: &str, to: &str| resolved(&APP.replace(from, to)).unwrap_err();
        for (from, to, line, parts) in [
            ("plans.app", "plans.App", 1, ["a plan's name", "a-z"]),
            ("says", "say", 2, ["unknown field `say`", "says"]),
            ("most = 3", "most = 0", 1, ["app, at_once[0].most", "at least 1"]),
            ("\"month\"", "\"year\"", 6, ["unknown variant `year`", "month"]),
            ("\"address\"", "\"ip\"", 1, ["rates[0].by", "there is no \"ip\""]),
        ] {
            let said = with(from, to);
            assert!(said.starts_with(&format!("FILE line {line}: ")), "{to}: {said}");
            assert!(parts.iter().all(|part| said.contains(part)), "{to}: {said}");
        }
        assert!(with("\"reader\"", "\"raeder\"").contains("the role raeder, which is not defined"));
        assert!(resolved("plans = 7").unwrap_err().contains("`plans` takes a section of keys"));
    }

    #[test]
    fn a_store_is_named_without_its_password() {
        let error = resolved("counters.redis = \"redis://:planted@127.0.0.1/0\"").unwrap_err();
        assert!(error.contains("`counters.redis` takes a URL"), "{error}");
        assert!(!error.contains("planted"), "{error}");
        assert!(resolved("counters.redis = \"unix:///run/redis.sock\"").is_ok());
        let error = resolved("counters.redis_password_file = \"p\"").unwrap_err();
        assert!(error.contains("name the store"), "{error}");
    }
}
