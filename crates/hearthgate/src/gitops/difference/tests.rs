//! What differs, in words and in JSON, and that both say the same each time.

use std::path::Path;

use contract::{Actions, Instant, Rule, Types};
use registry::NewClient;

use super::*;
use crate::config::Flags;

fn config(text: &str) -> Config {
    Config::resolve_text(&Flags::default(), Path::new("c"), text).unwrap()
}

fn client(id: &str) -> NewClient {
    NewClient::of_role(ClientId::new(id).unwrap(), id, "reader".parse().unwrap())
}

fn standing(client: NewClient) -> Arc<Client> {
    Arc::new(client.into_client(Instant::MIN))
}

fn put(client: NewClient) -> PutClient {
    PutClient { client, disabled: false }
}

fn of_config(before: &str, after: &str, fixed: &[&'static str]) -> String {
    let none = ClientChanges::default();
    Difference::of(&config(before), &config(after), fixed, &none).in_words("differ")
}

// GW-060
#[test]
fn a_configuration_differs_place_by_place() {
    let plan = |burst| {
        format!("[plans.app]\nsays = \"a\"\nrates = [{{ per_second = 5, burst = {burst} }}]\n")
    };
    assert_eq!(of_config(&plan(1), &plan(1), &[]), "Nothing differs.\n");
    let words = of_config(&plan(2), &plan(9), &[]);
    assert!(words.starts_with("~ plans.app.rates = [") && words.contains("burst = 9"), "{words}");
    assert!(words.ends_with("1 setting and 0 clients differ.\n"), "{words}");
    let words = of_config("", &plan(1), &[]);
    assert!(words.contains("+ plans.app.says = \"a\"\n"), "{words}");
    let words = of_config("", "[gateway]\nlisten = \"127.0.0.1:1\"\n", &["gateway.listen"]);
    let expected = "~ gateway.listen = \"127.0.0.1:8080\" -> \"127.0.0.1:1\"   (needs a restart)\n";
    assert!(words.starts_with(expected), "{words}");
}

// GW-060
#[test]
fn routes_differ_by_name_and_by_their_order() {
    let upstream = "[gateway.upstreams.lab]\nendpoints = [{ address = \"127.0.0.1:1\" }]\n\
                    enforces = \"none\"\n";
    let route = |name: &str, path: &str| {
        format!(
            "[[gateway.routes]]\nname = \"{name}\"\npath = \"/{path}\"\nupstream = \"lab\"\n\
             content = \"other\"\n"
        )
    };
    let (one, two) = (route("one", "a"), route("two", "b"));
    let before = format!("{one}{two}{upstream}");
    let words = of_config(&before, &format!("{two}{one}{upstream}"), &[]);
    assert_eq!(
        words,
        "~ gateway.routes[] = one, two -> two, one\n1 setting and 0 clients differ.\n"
    );
    let words = of_config(&before, &format!("{one}{}{upstream}", route("two", "c")), &[]);
    assert!(words.starts_with("~ gateway.routes[two].path = \"/b\" -> \"/c\"\n"), "{words}");
}

// GW-060
#[test]
fn clients_are_made_changed_and_pruned_and_what_is_left_is_named() {
    let own = |id| {
        let everything = Rule::within_all(Types::All, Actions::all());
        NewClient::with_rules(ClientId::new(id).unwrap(), id, vec![everything])
    };
    let stands = [standing(client("drifted")), standing(client("hand")), standing(own("owner"))];
    let wanted = NewClient { budget: Some(7), ..client("drifted") };
    let files = || Some(vec![put(wanted.clone()), put(client("new"))]);
    let changes = ClientChanges::of(&stands, files(), false);
    let same = config("");
    let difference = Difference::of(&same, &same, &[], &changes);
    assert_eq!(
        difference.in_words("differ"),
        "~ client drifted\n    + budget = 7\n\
         + client new\n    + name = \"new\"\n    + role = \"reader\"\n\
         Clients that no file names, left as they are: hand, owner\n\
         0 settings and 2 clients differ.\n"
    );
    let json: serde_json::Value = serde_json::from_str(&difference.to_json()).unwrap();
    assert_eq!(json["differs"], true);
    assert_eq!(json["clients"][0]["action"], "update");
    assert_eq!(json["clients"][0]["keys"][0]["inFiles"], "7");
    assert_eq!(json["notInFiles"], serde_json::json!(["hand", "owner"]));

    let pruning = ClientChanges::of(&stands, files(), true);
    let ids: Vec<_> = pruning.disable.iter().map(ClientId::as_str).collect();
    assert_eq!(ids, ["hand", "owner"]);
    assert!(!pruning.leaves_nobody(&stands));
    // What is disabled already is not disabled again.
    let mut gone = client("gone").into_client(Instant::MIN);
    gone.disabled = Some(Instant::MIN);
    let gone = [Arc::new(gone)];
    assert!(ClientChanges::of(&gone, Some(Vec::new()), true).is_none());
}

// GW-060
#[test]
fn what_would_leave_nobody_enabled_is_seen() {
    let stands = [standing(client("a")), standing(client("b"))];
    let off = |id| PutClient { client: client(id), disabled: true };
    let leaves =
        |files, prune| ClientChanges::of(&stands, Some(files), prune).leaves_nobody(&stands);
    assert!(leaves(vec![off("a"), off("b")], false));
    assert!(leaves(vec![off("a")], true));
    assert!(!leaves(vec![off("a")], false));
    assert!(!leaves(vec![off("a"), put(client("c"))], true));
    assert!(!leaves(vec![], false));
    // Where nobody was, nobody is locked out.
    let disabled = stands
        .each_ref()
        .map(|client| Arc::new(Client { disabled: Some(Instant::MIN), ..(**client).clone() }));
    let renamed =
        PutClient { client: NewClient { budget: Some(7), ..client("a") }, disabled: true };
    assert!(!ClientChanges::of(&disabled, Some(vec![renamed]), false).leaves_nobody(&disabled));
}
