//! What the doctor says of the registry where PostgreSQL holds it: whether it is reached, of which
//! format it is, and whether changes can be added. Nothing is made there; `verify` reads every change.

use std::path::Path;

use contract::Clock;
use registry::{Condition, Tables};

use super::{CLOCK_APART, Finding, Grade, Named};
use crate::failure::one_line;
use crate::registry_place;

const OF: &str = "registry in PostgreSQL";

/// How the registry of a data directory stands in PostgreSQL; `None` where that holds none.
pub(super) fn finding(data: &Path, config: Named<'_>, clock: &dyn Clock) -> Option<Finding> {
    let is_there = registry::is_in_postgres(&data.join("registry"));
    let found = |grade, text| Some(Finding { grade, of: OF, text });
    let config = match config {
        Some(Ok(config)) => config,
        // That the configuration is none is said of the tenant already.
        Some(Err(_)) => return None,
        None if is_there => {
            let text = "holds the registry; name --config FILE to look at it".to_owned();
            return found(Grade::Note, text);
        }
        None => return None,
    };
    let options = match registry_place::options(config) {
        Ok(Some(options)) => options,
        Ok(None) if is_there => {
            let text = "the directory says that the registry is there, and the configuration names no `registry.postgres`: name it";
            return found(Grade::Bad, text.to_owned());
        }
        Ok(None) => return None,
        Err(error) => return found(Grade::Bad, one_line(&error)),
    };
    Some(match Condition::of(&options, clock) {
        Ok(condition) => told(&condition, is_there),
        Err(error) => Finding { grade: Grade::Bad, of: OF, text: one_line(&error) },
    })
}

/// `is_there` says that the directory was used with a registry in PostgreSQL.
fn told(condition: &Condition, is_there: bool) -> Finding {
    let newest = condition.tables.as_ref().and_then(|tables| tables.newest);
    let changes = match (&condition.tables, newest) {
        (None, _) => "there are no tables; the first start makes them".to_owned(),
        (Some(Tables { format, .. }), None) => format!("format {format}; there is no change"),
        (Some(Tables { format, .. }), Some((sequence, instant))) => {
            format!("format {format}; the newest change is {sequence} of {instant}")
        }
    };
    let text = format!("version {}; {changes}", condition.server);
    let mend = if is_there && newest.is_none() {
        Some(
            "the directory was used with a registry that had some: name the right database, or restore it from its backup"
                .to_owned(),
        )
    } else if condition.is_read_only {
        Some("it takes no writes: name the one that does, and not its standby".to_owned())
    } else if condition.tables.as_ref().is_some_and(|tables| !tables.may_add) {
        Some(
            "its role may add no change: GRANT INSERT ON hearthgate_registry.changes to it"
                .to_owned(),
        )
    } else if let Some(first) = condition.unsafe_settings.first() {
        Some(format!("{first} is off: what was answered may be lost; set it on"))
    } else if condition.clock_ahead.abs() > CLOCK_APART {
        let seconds = condition.clock_ahead.abs() / 1_000_000;
        Some(format!("its clock and this machine's disagree by {seconds} s: set both by NTP"))
    } else {
        None
    };
    match mend {
        None => Finding { grade: Grade::Good, of: OF, text },
        Some(mend) => Finding { grade: Grade::Bad, of: OF, text: format!("{text}; {mend}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Flags};
    use crate::doors::SystemClock;
    use contract::Instant;

    // GW-064
    #[test]
    fn what_keeps_a_gateway_from_its_registry_is_bad_and_says_the_mend() {
        let newest = Some((7, Instant::from_micros(1_767_225_600_000_000)));
        let tables = Tables { format: 1, newest, may_add: true };
        let sound = Condition {
            server: "15.1".to_owned(),
            clock_ahead: 59_000_000,
            unsafe_settings: Vec::new(),
            is_read_only: false,
            tables: Some(tables.clone()),
        };
        let told = |condition: &Condition| told(condition, true);
        assert_eq!(told(&sound).grade, Grade::Good);
        assert!(told(&sound).text.contains("format 1; the newest change is 7 of 2026-01-01"));
        let harmed = [
            (Condition { clock_ahead: -61_000_000, ..sound.clone() }, "by 61 s"),
            (Condition { unsafe_settings: vec!["fsync".to_owned()], ..sound.clone() }, "fsync is"),
            (Condition { is_read_only: true, ..sound.clone() }, "standby"),
            (
                Condition { tables: Some(Tables { may_add: false, ..tables }), ..sound.clone() },
                "GRANT INSERT",
            ),
            (Condition { tables: None, ..sound.clone() }, "restore it from its backup"),
        ];
        for (condition, part) in harmed {
            let told = told(&condition);
            assert_eq!(told.grade, Grade::Bad, "{}", told.text);
            assert!(told.text.contains(part), "{}", told.text);
        }
        let first = Condition { tables: None, ..sound };
        assert_eq!(super::told(&first, false).grade, Grade::Good);
    }

    // GW-064
    #[test]
    fn a_registry_that_is_not_reached_or_not_named_is_said_so() {
        let data = tempfile::tempdir().unwrap();
        let clock = SystemClock::start();
        let with = |config: Option<&str>| {
            let config = config.map(|text| {
                let file = data.path().join("c.toml");
                std::fs::write(&file, text).unwrap();
                Config::resolve(&Flags { config: Some(file), ..Flags::default() }).unwrap()
            });
            let found = finding(data.path(), config.as_ref().map(Ok), &clock);
            found.map(|found| (found.grade, found.text))
        };
        let reached = "registry.postgres = \"host=/nowhere\"";
        assert_eq!(with(None), None);
        assert_eq!(with(Some("")), None);
        let (grade, text) = with(Some(reached)).unwrap();
        assert!(grade == Grade::Bad && text.contains("PostgreSQL"), "{text}");
        std::fs::create_dir(data.path().join("registry")).unwrap();
        std::fs::write(data.path().join("registry/postgres"), "").unwrap();
        let (grade, text) = with(None).unwrap();
        assert!(grade == Grade::Note && text.contains("name --config FILE"), "{text}");
        let (grade, text) = with(Some("")).unwrap();
        assert!(grade == Grade::Bad && text.contains("`registry.postgres`: name it"), "{text}");
    }
}
