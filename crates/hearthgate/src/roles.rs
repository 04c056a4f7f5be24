//! Roles: those that are built in, those of the configuration, and how both are told.
//!
//! The built-in ones stand in a table in the configuration's own words (`roles/built_in.toml`),
//! from which `hearthgate roles` and docs/roles.md are made.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use gateway::{RoleError, Roles, WrittenRole};
use registry::RoleName;

/// Roles that no configuration takes away: without them nobody could mend it.
pub(crate) const FIXED: [&str; 2] = ["owner", "admin"];

const BUILT_IN: &str = include_str!("roles/built_in.toml");

/// Roles as they are written, by name.
pub(crate) type Written = BTreeMap<RoleName, WrittenRole>;

/// The roles that are there without a configuration, as they are written.
pub(crate) fn built_in() -> Written {
    toml::from_str(BUILT_IN).expect("a test reads the built-in roles")
}

/// The roles that are there without a configuration.
pub(crate) fn built_in_roles() -> Roles {
    all(&Written::new()).expect("a test checks the built-in roles")
}

/// Checks what is written, and adds the built-in roles that it does not replace.
///
/// # Errors
/// [`RoleError`] at the first role with a fault.
pub(crate) fn all(written: &Written) -> Result<Roles, RoleError> {
    let mut roles = Roles::default();
    for (name, role) in built_in().iter().chain(written) {
        roles.define(name.clone(), role.check(name)?);
    }
    Ok(roles)
}

/// What `hearthgate roles` prints.
pub(crate) fn list(roles: &Roles) -> String {
    let told = roles.iter().map(|(name, role)| format!("{name}\n{role}"));
    told.collect::<Vec<_>>().join("\n")
}

/// docs/roles.md.
pub(crate) fn reference() -> String {
    let mut text = String::from(PREAMBLE);
    let roles = built_in_roles();
    for (name, written) in built_in() {
        let Some(role) = roles.get(&name) else { continue };
        let as_written = toml::to_string(&written).expect("what was TOML is TOML");
        let as_written = as_written.replace("[[rules]]", &format!("[[roles.{name}.rules]]"));
        let as_written =
            as_written.replace("[[break_glass]]", &format!("[[roles.{name}.break_glass]]"));
        // A String takes every text.
        let _ = write!(
            text,
            "\n## {name}\n\n{role}\nAs a configuration writes it:\n\n```toml\n[roles.{name}]\n\
             {as_written}```\n"
        );
    }
    text
}

const PREAMBLE: &str = "# Roles\n\n\
A key belongs to a client, and a client has a role: what it may do, in one word. \
`hearthgate roles` prints what is below, with the roles of the configuration; \
`hearthgate roles --reference` prints this page.\n\n\
```sh\n\
hearthgate keys create --client ward-3 --role care-team --user Practitioner/7\n\
hearthgate keys create --client phone-7 --role patient --patient 123\n\
```\n\n\
The registry holds a role's name alone. What it means is asked when a request comes, so that a \
change of a role counts for all its keys from the next reload or start on. A key whose role is defined no \
more, or needs a patient or a person that its client has not, is refused (403), and a start says \
so in the log.\n\n\
## Your own\n\n\
A section `[roles.NAME]` defines a role, or replaces a built-in one; `owner` and `admin` stay as \
they are. NAME has small letters, digits and hyphens.\n\n\
| key | takes | says |\n|---|---|---|\n\
| `says` | a text | What the role is for. Required. |\n\
| `rules` | a list of rules | What it may: the union of these. |\n\
| `shared` | names of types | Types that belong to no patient (practitioners, organizations). All of them are read and searched, and their histories seen, beside what the rules say, and within compartments too: name none that says something of a patient. |\n\
| `powers` | some of expunge, reindex, packages, jobs, explain, audit | What no rule says. `keys create --power` adds others to one client. |\n\
| `lane` | interactive, system or bulk | Which queue its requests stand in. `interactive` where absent. |\n\
| `budget` | a whole number, at least 1 | Rows that a request may look at. |\n\
| `break_glass` | a list of rules | What a break-glass adds ([security.md](security.md#break-glass)). None is allowed where absent. Let it write no CareTeam: whoever does so sees the patient for good. |\n\n\
A rule has\n\n\
| key | takes | says |\n|---|---|---|\n\
| `types` | names of types, or `[\"*\"]` | Checked by form alone: a type that the server does not have allows nothing. |\n\
| `actions` | some of create, read, update, delete, search, history, operation:$name, operation:* and * | What may be done. A conditional write takes `search` as well, a patch `read`, the history of a type `history` and `search`. |\n\
| `within` | `all`, `compartment(patient)`, `careTeamOf(user)`, `own` or `group(Group/ID)` | In which part of the data. `compartment(patient)` is that of the key's patient, in `break_glass` of the patient whom the break-glass is for. |\n\
| `filter` | search criteria, like `category=laboratory` | What a resource must match as well. |\n\
| `without_labels` | security labels, like `system\\|code` | What a resource must not carry. |\n\n\
What a rule means for each kind of request is in [contract.md](contract.md#the-decision). A rule \
that the server cannot enforce is refused, never answered unfiltered \
([security.md](security.md)).\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_roles_are_those_of_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/roles.md");
        let documented = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            documented == reference(),
            "docs/roles.md is not what `hearthgate roles --reference` prints"
        );
    }

    #[test]
    fn every_built_in_role_is_sound_and_told() {
        let roles = built_in_roles();
        assert_eq!(roles.iter().count(), built_in().len());
        let told = list(&roles);
        for (name, role) in roles.iter() {
            assert!(told.contains(&format!("{name}\n{}", role.says)), "{told}");
        }
        let need = |name: &str| {
            let role = roles.get(&name.parse().unwrap()).unwrap();
            (role.needs_patient(), role.needs_user())
        };
        assert_eq!(need("patient"), (true, false));
        assert_eq!(need("care-team"), (false, true));
        assert_eq!(need("owner"), (false, false));
    }

    #[test]
    fn no_role_but_admin_and_auditor_has_a_power() {
        for (name, role) in built_in() {
            let has = matches!(name.as_str(), "admin" | "auditor");
            assert_eq!(!role.powers.is_empty(), has, "{name}");
        }
    }

    #[test]
    fn what_a_front_desk_a_researcher_and_an_auditor_see_is_not_clinical() {
        let types = |name: &str| -> Vec<String> {
            let role = &built_in()[&name.parse::<RoleName>().unwrap()];
            role.rules.iter().flat_map(|rule| rule.types.clone()).collect()
        };
        for clinical in ["Observation", "Condition", "DiagnosticReport", "MedicationRequest", "*"] {
            assert!(!types("front-desk").contains(&clinical.to_owned()), "{clinical}");
            assert!(!types("auditor").contains(&clinical.to_owned()), "{clinical}");
        }
        for who in ["Patient", "RelatedPerson", "Person", "Practitioner", "*"] {
            assert!(!types("researcher").contains(&who.to_owned()), "{who}");
        }
    }
}
