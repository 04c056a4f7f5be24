//! A role in plain words: for `hearthgate roles` and docs/roles.md.

use std::fmt;

use contract::{Action, Lane, Types, Within};

use super::{Part, Role, RoleRule};

/// What may be done, in the order in which it is told, with the words for it.
const ACTIONS: [(Action, &str); 6] = [
    (Action::Read, "read"),
    (Action::Search, "search"),
    (Action::History, "see the history of"),
    (Action::Create, "create"),
    (Action::Update, "update"),
    (Action::Delete, "delete"),
];

/// One sentence a line.
impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.says)?;
        for rule in &self.rules {
            writeln!(formatter, "- May {rule}.")?;
        }
        if !self.shared.is_empty() {
            let types: Vec<_> = self.shared.iter().map(ToString::to_string).collect();
            let types = types.join(", ");
            writeln!(
                formatter,
                "- May read, search, see the history of {types}, which belong to no patient."
            )?;
        }
        for rule in &self.break_glass {
            writeln!(
                formatter,
                "- After a break-glass, for its patient and its minutes: may {rule}."
            )?;
        }
        let powers: Vec<_> = self.powers.iter().map(|power| format!("{power:?}")).collect();
        match powers.is_empty() {
            true => writeln!(formatter, "- Has no powers.")?,
            false => {
                writeln!(formatter, "- Has the powers: {}.", powers.join(", ").to_lowercase())?
            }
        }
        if self.needs_patient() {
            writeln!(formatter, "- A key takes `--patient ID`.")?;
        }
        if self.needs_user() {
            writeln!(formatter, "- A key takes `--user REF`, the person as a resource.")?;
        }
        let lane = match self.lane {
            Lane::Interactive => "interactive: someone is waiting",
            Lane::System => "system: a program is waiting",
            Lane::Bulk => "bulk: no one is waiting",
        };
        writeln!(formatter, "- Lane {lane}.")?;
        if let Some(rows) = self.budget {
            writeln!(formatter, "- A request may look at {rows} rows at most.")?;
        }
        Ok(())
    }
}

impl fmt::Display for RoleRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.actions.contains(&Action::Any) {
            formatter.write_str("do everything, operations too, with")?;
        } else {
            let held = ACTIONS.iter().filter(|(action, _)| self.actions.contains(action));
            let held: Vec<_> = held.map(|(_, words)| *words).collect();
            let operations = match self.actions.contains(&Action::AnyOperation) {
                true => vec!["invoke every operation on".to_owned()],
                false => {
                    let named = self.operations.iter();
                    named.map(|name| format!("invoke {} on", name.as_str())).collect()
                }
            };
            let all = held.into_iter().map(str::to_owned).chain(operations);
            formatter.write_str(&all.collect::<Vec<_>>().join(", "))?;
        }
        match &self.types {
            Types::All => formatter.write_str(" every type")?,
            Types::Only(types) => {
                let types: Vec<_> = types.iter().map(ToString::to_string).collect();
                write!(formatter, " {}", types.join(", "))?;
            }
        }
        match &self.within {
            Part::OfPatient => formatter.write_str(" in the patient's compartment")?,
            Part::Same(Within::All) => {}
            Part::Same(Within::CareTeamOf) => {
                formatter.write_str(" of the patients in whose care teams the person is")?;
            }
            Part::Same(Within::Own) => formatter.write_str(" that it made itself")?,
            Part::Same(Within::Group(id)) => {
                write!(formatter, " of the patients in Group/{id}")?;
            }
            Part::Same(part) => write!(formatter, " within {part}")?,
        }
        if let Some(filter) = &self.filter {
            write!(formatter, ", as far as they match {filter}")?;
        }
        if !self.without_labels.is_empty() {
            write!(formatter, ", unless labelled {}", self.without_labels.join(" or "))?;
        }
        Ok(())
    }
}
