//! Clients' files: what they mean, and what is refused where.

use std::sync::Arc;

use registry::{Actor, Beside};

use super::*;
use crate::config::Flags;
use crate::doors::{SystemClock, SystemIds};

const CONFIG: &str = "[plans.standard]\nsays = \"For apps.\"\n";

struct Site {
    _dir: tempfile::TempDir,
    config: Config,
    registry: Registry,
}

fn site() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let (clock, ids) = (Arc::new(SystemClock::start()), Arc::new(SystemIds::open().unwrap()));
    let opened = Registry::open(&dir.path().join("registry"), Beside::NoTenant, clock, ids);
    let registry = opened.unwrap().registry;
    registry.owner(&Actor::first_start()).unwrap();
    let config = Config::resolve_text(&Flags::default(), Path::new("c"), CONFIG).unwrap();
    Site { _dir: dir, config, registry }
}

fn file(stem: &str, text: &str) -> ClientText {
    let path = PathBuf::from(format!("clients/{stem}.toml"));
    ClientText { path, stem: stem.to_owned(), text: text.to_owned() }
}

impl Site {
    fn read(&self, files: &[ClientText]) -> Result<Vec<PutClient>, String> {
        read_all(files, &self.config, &self.registry).map_err(|error| error.to_string())
    }
}

// GW-060
#[test]
fn a_file_says_all_of_a_client_and_is_written_as_it_is_read() {
    let text = "name = \"Phone of 7\"\nrole = \"patient\"\nplan = \"standard\"\npatient = \"p-1\"\n\
                user = \"Patient/p-1\"\npowers = [\"explain\", \"audit\"]\n\
                limit = { per_second = 5, burst = 9 }\nbudget = 7\nenabled = false\n";
    let site = site();
    let PutClient { client, disabled } = site.read(&[file("phone-7", text)]).unwrap().remove(0);
    assert!(disabled);
    assert_eq!((client.id.as_str(), client.name.as_str()), ("phone-7", "Phone of 7"));
    assert_eq!(client.role.as_ref().unwrap().as_str(), "patient");
    assert_eq!(client.limit, Some(RateLimit { per_second: 5, burst: 9 }));
    assert_eq!((client.budget, client.powers.len()), (Some(7), 2));
    assert_eq!(to_file(&client, disabled), text);
    // The tenant is compared, and not kept.
    let PutClient { client, disabled } = site
        .read(&[file("x", "id = \"app\"\nrole = \"reader\"\ntenant = \"default\"")])
        .unwrap()
        .remove(0);
    assert_eq!(to_file(&client, disabled), "name = \"app\"\nrole = \"reader\"\n");
}

// GW-060
#[test]
fn the_owner_keeps_rules_of_its_own_and_a_file_makes_none() {
    let site = site();
    let owner = site.registry.client(&ClientId::new(OWNER).unwrap()).unwrap();
    let own = to_file(&owner.to_new(), false);
    assert_eq!(own, "name = \"Owner\"\nrules = \"own\"\n");
    assert_eq!(site.read(&[file("owner", &own)]).unwrap()[0].client, owner.to_new());
    let refused = |stem, text| site.read(&[file(stem, text)]).unwrap_err();
    assert!(refused("owner", "role = \"admin\"").contains("line 1: `role`: the owner keeps rules"));
    assert!(
        refused("app", "rules = \"own\"").contains("no client of this id has rules of its own")
    );
}

// GW-060
#[test]
fn what_is_wrong_is_said_with_file_line_key_and_the_nearest_name() {
    let site = site();
    for (text, line, parts) in [
        ("role = \"raeder\"", 1, &["`role`: there is no role raeder; did you mean reader?"][..]),
        (
            "role = \"reader\"\nplan = \"standart\"",
            2,
            &["no plan standart; did you mean standard?"],
        ),
        ("role = \"reader\"\n\nrol = \"x\"", 3, &["no key `rol`; did you mean `role`?"]),
        ("role = \"reader\"\nenabled = 1", 2, &["bool"]),
        ("role = \"reader\"\nname = \"\"", 2, &["`name`: a name has"]),
        ("name = \"x\"", 1, &["`role`: it is missing", "hearthgate roles"]),
        ("role = \"reader\"\nrules = \"own\"", 2, &["a role or rules of its own"]),
        ("role = \"patient\"", 1, &["`role`", "needs the patient", "add `patient`"]),
        ("role = \"reader\"\npatient = \"1\"", 2, &["`patient`: its role is for no patient"]),
        ("role = \"care-team\"\nuser = \"7\"", 2, &["`user`"]),
        ("role = \"reader\"\ntenant = \"other\"", 2, &["serves the tenant default, not other"]),
        ("role = \"reader\"\npowers = [\"fly\"]", 2, &["no power fly; there are expunge"]),
        ("role = \"reader\"\nlimit = { per_second = 0, burst = 1 }", 2, &["`limit`: a limit has"]),
        ("role = \"reader\"\nid = \"a b\"", 2, &["`id`: a client id has"]),
        ("role = \"reader", 1, &["mend the syntax"]),
    ] {
        let said = site.read(&[file("app", text)]).unwrap_err();
        assert!(said.starts_with(&format!("clients/app.toml line {line}: ")), "{text}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{text}: {said}");
    }
    let twice = [file("a", "role = \"reader\""), file("b", "role = \"reader\"\nid = \"a\"")];
    let said = site.read(&twice).unwrap_err();
    assert!(said.starts_with("clients/b.toml line 2: `id`: the client a is in clients/a.toml too"));
    let wrong = [file("a", "role = \"x\""), file("b", ""), file("c", "role = \"reader\"")];
    assert!(site.read(&wrong).unwrap_err().ends_with("(1 other file is wrong too)"));
}
