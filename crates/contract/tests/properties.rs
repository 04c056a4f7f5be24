//! Properties of the URL grammar and of the grant's codec.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use contract::{
    Action, Actions, Clause, Decision, Grant, GrantFields, Instance, Instant, Interaction, Lane,
    Level, Nonce, NotFhir, Power, ResourceType, Rule, Types, Within, decide, digest,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Method, path and query of a request that classifies as `interaction`.
fn rendered(interaction: &Interaction) -> (&'static str, String, Option<&'static str>) {
    let criteria = Some("a=b");
    match interaction {
        Interaction::Capabilities => ("GET", "/metadata".to_owned(), None),
        Interaction::Read(of) => ("GET", format!("/{of}"), None),
        Interaction::Vread(of, version) => ("GET", format!("/{of}/_history/{version}"), None),
        Interaction::Update(of) => ("PUT", format!("/{of}"), None),
        Interaction::ConditionalUpdate(of) => ("PUT", format!("/{of}"), criteria),
        Interaction::Patch(of) => ("PATCH", format!("/{of}"), None),
        Interaction::ConditionalPatch(of) => ("PATCH", format!("/{of}"), criteria),
        Interaction::Delete(of) => ("DELETE", format!("/{of}"), None),
        Interaction::ConditionalDelete(of) => ("DELETE", format!("/{of}"), criteria),
        Interaction::HistoryInstance(of) => ("GET", format!("/{of}/_history"), None),
        Interaction::HistoryType(of) => ("GET", format!("/{of}/_history"), None),
        Interaction::HistorySystem => ("GET", "/_history".to_owned(), None),
        Interaction::Create(of) => ("POST", format!("/{of}"), None),
        Interaction::SearchType(of) => ("GET", format!("/{of}"), None),
        Interaction::SearchSystem => ("GET", "/".to_owned(), None),
        Interaction::SearchCompartment(of, None) => ("GET", format!("/{of}/*"), None),
        Interaction::SearchCompartment(of, Some(found)) => ("GET", format!("/{of}/{found}"), None),
        Interaction::BatchOrTransaction => ("POST", "/".to_owned(), None),
        Interaction::Operation(name, level) => {
            let name = name.as_str();
            let path = match level {
                Level::System => format!("/{name}"),
                Level::Type(of) => format!("/{of}/{name}"),
                Level::Instance(of) => format!("/{of}/{name}"),
                Level::Version(of, version) => format!("/{of}/_history/{version}/{name}"),
            };
            ("POST", path, None)
        }
    }
}

fn segment() -> impl Strategy<Value = String> {
    let words = vec![
        "metadata",
        "_history",
        "_search",
        "*",
        "$everything",
        "$",
        "Patient",
        "Observation",
        "1",
        "a.b-c",
        ".",
        "..",
        "",
        "patient",
        "%24everything",
        "%2F",
        "%",
        "%00",
        "ä",
        "_x",
    ];
    prop_oneof![
        4 => select(words).prop_map(str::to_owned),
        1 => "[A-Za-z][a-z]{0,8}",
        1 => "[A-Za-z0-9.%$_*-]{0,12}",
        1 => any::<String>(),
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => vec(segment(), 0..6).prop_map(|segments| format!("/{}", segments.join("/"))),
        1 => any::<String>(),
    ]
}

fn method() -> impl Strategy<Value = String> {
    let words = vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", ""];
    prop_oneof![9 => select(words).prop_map(str::to_owned), 1 => any::<String>()]
}

fn query() -> impl Strategy<Value = Option<String>> {
    option::of(prop_oneof![Just(String::new()), Just("a=b".to_owned()), any::<String>()])
}

/// Paths that some method is allowed on, so that the properties meet more than refusals.
fn known_path() -> impl Strategy<Value = String> {
    let word = |words: &[&str]| select(words.iter().map(ToString::to_string).collect::<Vec<_>>());
    let of = "[A-Z][A-Za-z]{0,12}";
    let id = "[A-Za-z0-9-]{1,12}";
    let name = "\\$[a-z][a-z-]{0,10}";
    prop_oneof![
        word(&["/", "/metadata", "/_history", "/_search"]),
        name.prop_map(|name| format!("/{name}")),
        of.prop_map(|of| format!("/{of}")),
        (of, word(&["_history", "_search"])).prop_map(|(of, word)| format!("/{of}/{word}")),
        (of, id).prop_map(|(of, id)| format!("/{of}/{id}")),
        (of, name).prop_map(|(of, name)| format!("/{of}/{name}")),
        (of, id, word(&["_history", "_search", "*", "*/_search", "$x", "_history/1/$x"]))
            .prop_map(|(of, id, rest)| format!("/{of}/{id}/{rest}")),
        (of, id, of).prop_map(|(of, id, found)| format!("/{of}/{id}/{found}")),
        (of, id, of).prop_map(|(of, id, found)| format!("/{of}/{id}/{found}/_search")),
        (of, id, id).prop_map(|(of, id, version)| format!("/{of}/{id}/_history/{version}")),
    ]
}

/// Every byte of a path but its slashes, percent-encoded in upper or lower case.
fn encoded(path: &str, upper: bool) -> String {
    let encode = |byte: u8| match (byte, upper) {
        (b'/', _) => "/".to_owned(),
        (byte, true) => format!("%{byte:02X}"),
        (byte, false) => format!("%{byte:02x}"),
    };
    path.bytes().map(encode).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) })]

    #[test]
    fn classify_never_panics_and_what_it_reads_it_can_say_again(
        method in method(), path in path(), query in query()
    ) {
        match Interaction::classify(&method, &path, query.as_deref()) {
            Ok(interaction) => {
                let (method, path, query) = rendered(&interaction);
                prop_assert_eq!(Interaction::classify(method, &path, query), Ok(interaction));
            }
            Err(NotFhir::MethodNotAllowed { allowed }) => {
                for method in allowed {
                    let other = Interaction::classify(method, &path, query.as_deref());
                    prop_assert!(other.is_ok(), "{} {}: {:?}", method, path, other);
                }
            }
            Err(_) => {}
        }
    }

    #[test]
    fn a_known_url_takes_exactly_the_methods_it_names(path in known_path(), method in method()) {
        // HTTP-067
        let query = Some("a=b");
        match Interaction::classify(&method, &path, query) {
            Ok(interaction) => {
                let (method, path, query) = rendered(&interaction);
                prop_assert_eq!(Interaction::classify(method, &path, query), Ok(interaction));
            }
            Err(NotFhir::MethodNotAllowed { allowed }) => {
                prop_assert!(!allowed.is_empty() && !allowed.contains(&method.as_str()));
            }
            Err(other) => prop_assert!(false, "{}: {:?}", path, other),
        }
    }

    #[test]
    fn head_is_get(path in prop_oneof![known_path(), path()], query in query()) {
        // HTTP-067
        let query = query.as_deref();
        prop_assert_eq!(
            Interaction::classify("HEAD", &path, query),
            Interaction::classify("GET", &path, query)
        );
    }

    #[test]
    fn an_encoded_path_is_the_plain_one(
        path in known_path(), method in method(), upper in any::<bool>()
    ) {
        // HTTP-027
        prop_assert_eq!(
            Interaction::classify(&method, &encoded(&path, upper), None),
            Interaction::classify(&method, &path, None)
        );
    }

    #[test]
    fn nothing_reaches_another_segment_by_its_encoding(path in known_path(), at in any::<Index>()) {
        // HTTP-028
        let at = at.index(path.len());
        for smuggled in ["%2F", "%2f", "%5C", "%00", "/../", "//", "/%2e%2E/", "%0d%0a"] {
            let (before, after) = path.split_at(at);
            let path = format!("{before}{smuggled}{after}");
            let answer = Interaction::classify("GET", &path, None);
            prop_assert!(answer.is_err(), "{}: {:?}", path, answer);
        }
    }

    #[test]
    fn requests_share_a_digest_only_when_they_are_the_same(
        first in (method(), path(), query()), second in (method(), path(), query())
    ) {
        let of = |(method, path, query): &(String, String, Option<String>)| {
            digest(method, path, query.as_deref())
        };
        prop_assert_eq!(of(&first) == of(&second), first == second);
    }
}

const TYPES: [&str; 3] = ["Patient", "Observation", "Task"];

fn types() -> impl Strategy<Value = Types> {
    let some = vec(select(TYPES.to_vec()), 1..3);
    prop_oneof![
        1 => Just(Types::All),
        4 => some.prop_map(|names| {
            let types = names.into_iter().map(ResourceType::new);
            Types::Only(types.collect::<Result<_, _>>().expect("types"))
        }),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let actions = [
        "create",
        "read",
        "update",
        "delete",
        "search",
        "history",
        "operation:$everything",
        "operation:$expunge",
        "operation:*",
        "*",
    ];
    let actions = vec(select(actions.to_vec()), 1..5).prop_map(|words| {
        let actions = words.into_iter().map(|word| word.parse::<Action>().expect("an action"));
        actions.collect::<Actions>()
    });
    let within = ["all", "compartment(Patient/123)", "group(Group/1)", "careTeamOf(user)", "own"];
    let within = select(within.to_vec()).prop_map(|word| word.parse::<Within>().expect("a part"));
    let filter = option::of("[a-z]{1,8}=[a-z0-9|:/.\"\\\\ü-]{1,12}");
    let labels = vec("[a-z:/.]{1,8}\\|[A-Z]{1,3}", 0..3);
    (types(), actions, within, filter, labels).prop_map(
        |(types, actions, within, filter, without_labels)| Rule {
            types,
            actions,
            within,
            filter,
            without_labels,
        },
    )
}

fn grant() -> impl Strategy<Value = Grant> {
    let text = || option::of("[ -~ü€]{1,20}");
    let powers = [Power::Expunge, Power::Reindex, Power::Audit];
    let lane = [Lane::Interactive, Lane::System, Lane::Bulk];
    let who = ("[ -~]{1,20}", text(), text(), text(), text());
    let what = (vec(rule(), 0..4), vec(select(powers.to_vec()), 0..3), select(lane.to_vec()));
    (who, what, any::<u64>(), -60_000_000_000_000_000_i64..250_000_000_000_000_000).prop_map(
        |(
            (client, user, authorization, purpose, break_glass),
            (rules, powers, lane),
            budget,
            at,
        )| {
            let request = GrantFields::of_request(
                "default".parse().expect("a tenant"),
                &Interaction::SearchSystem,
                digest("GET", "/", None),
                "AAECAwQFBgcICQoLDA0ODw".parse::<Nonce>().expect("a nonce"),
                Instant::from_micros(at),
            );
            Grant::new(GrantFields {
                client: Some(client),
                user,
                authorization,
                purpose,
                break_glass,
                fhir_user: Some("Practitioner/7".parse().expect("a resource")),
                patient: Some("123".parse().expect("an id")),
                rules,
                powers,
                lane,
                budget,
                ..request
            })
            .expect("a grant")
        },
    )
}

/// Each interaction on the types the rules speak of.
fn world() -> Vec<Interaction> {
    let mut world = vec![
        Interaction::SearchSystem,
        Interaction::HistorySystem,
        Interaction::BatchOrTransaction,
    ];
    for of in TYPES {
        let instance: Instance = format!("{of}/123").parse().expect("an instance");
        for (method, path) in [
            ("GET", format!("/{instance}")),
            ("PUT", format!("/{instance}")),
            ("DELETE", format!("/{instance}")),
            ("GET", format!("/{instance}/_history")),
            ("GET", format!("/{instance}/$everything")),
            ("POST", format!("/{instance}/$expunge")),
            ("POST", format!("/{of}")),
            ("GET", format!("/{of}")),
            ("PUT", format!("/{of}?a=b")),
        ] {
            let (path, query) = path.split_once('?').unwrap_or((&path, ""));
            let interaction = Interaction::classify(method, path, Some(query));
            world.push(interaction.expect("a FHIR request"));
        }
    }
    world
}

/// What kind of part a clause reaches, leaving aside the values of names and criteria.
fn reach(clause: &Clause) -> (String, bool, usize, BTreeSet<&'static str>) {
    let within = clause.within.to_string();
    let kind = within.split('(').next().unwrap_or_default().to_owned();
    let of = |of: &&str| clause.types.touch(Some(&ResourceType::new(of).expect("a type")));
    let types = TYPES.into_iter().filter(of).collect();
    (kind, clause.filter.is_some(), clause.without_labels.len(), types)
}

/// Whether `later` reaches nothing that `earlier` does not.
fn grants_no_more(earlier: &Decision, later: &Decision) -> bool {
    match (earlier, later) {
        (_, Decision::Deny(_)) | (Decision::Allow, _) => true,
        (Decision::AllowWithin(earlier), Decision::AllowWithin(later)) => {
            later.clauses.iter().map(reach).all(|later| {
                earlier.clauses.iter().map(reach).any(|earlier| {
                    earlier.0 == later.0
                        && earlier.1 == later.1
                        && earlier.2 == later.2
                        && earlier.3.is_superset(&later.3)
                })
            })
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn a_grant_survives_its_header(grant in grant()) {
        let header = grant.encode().unwrap();
        prop_assert_eq!(Grant::decode(&header).unwrap(), grant);
    }

    #[test]
    fn decoding_never_panics(bytes in vec(any::<u8>(), 0..600), text in any::<String>()) {
        let _ = Grant::decode(&text);
        let _ = Grant::decode(&URL_SAFE_NO_PAD.encode(bytes));
    }

    #[test]
    fn a_cut_header_is_no_grant(grant in grant(), at in any::<Index>()) {
        let header = grant.encode().unwrap();
        prop_assert!(Grant::decode(&header[..at.index(header.len())]).is_err());
    }

    #[test]
    fn a_flipped_bit_never_grants_more(grant in grant(), flips in vec(any::<Index>(), 64)) {
        let header = grant.encode().unwrap();
        let json = URL_SAFE_NO_PAD.decode(&header).unwrap();
        for flip in flips {
            let mut flipped = json.clone();
            let bit = flip.index(json.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut characters = header.clone().into_bytes();
            let bit = flip.index(header.len() * 8);
            characters[bit / 8] ^= 1 << (bit % 8);
            let headers = [
                Some(URL_SAFE_NO_PAD.encode(flipped)),
                String::from_utf8(characters).ok(),
            ];
            for header in headers.into_iter().flatten() {
                let Ok(read) = Grant::decode(&header) else {
                    continue;
                };
                for interaction in world() {
                    let earlier = decide(&grant, &interaction);
                    let later = decide(&read, &interaction);
                    prop_assert!(
                        grants_no_more(&earlier, &later),
                        "{:?}: {:?}, then {:?}", interaction, earlier, later
                    );
                }
            }
        }
    }

    #[test]
    fn taking_a_rule_away_never_grants_more(grant in grant(), at in any::<Index>()) {
        let mut fields: GrantFields = (*grant).clone();
        prop_assume!(!fields.rules.is_empty());
        fields.rules.remove(at.index(fields.rules.len()));
        let less = Grant::new(fields).unwrap();
        for interaction in world() {
            prop_assert!(grants_no_more(&decide(&grant, &interaction), &decide(&less, &interaction)));
        }
    }
}
