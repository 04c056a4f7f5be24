//! What the vectors cannot say: secrets, time, versions, refusals, the feed, and the house rules
//! that hold for this crate.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use contract::{
    Action, Actions, ChannelDocument, ChannelSecret, Disagreement, Grant, GrantError, GrantFields,
    Ids, Instant, Interaction, Nonce, OperationName, ResourceType, Revocation, RevocationFeed,
    Revoked, Rule, TenantName, Types, VERSION, Versions, Within, digest, negotiate, refusal,
    speaks,
};

/// Bytes that count up, never the same twice.
struct CountingIds(AtomicU8);

impl Ids for CountingIds {
    fn next(&self) -> u128 {
        self.0.fetch_add(1, Ordering::Relaxed).into()
    }

    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0.fetch_add(1, Ordering::Relaxed));
    }
}

fn ids() -> CountingIds {
    CountingIds(AtomicU8::new(1))
}

fn at(text: &str) -> Instant {
    text.parse().expect("an instant")
}

/// The members of a grant for a read of Patient/123.
fn request() -> GrantFields {
    let interaction = Interaction::classify("GET", "/Patient/123", None).expect("a read");
    GrantFields::of_request(
        "default".parse().expect("a tenant"),
        &interaction,
        digest("GET", "/Patient/123", None),
        Nonce::generate(&ids()),
        at("2026-01-02T03:04:05Z"),
    )
}

fn everything() -> Rule {
    Rule::within_all(Types::All, Actions::all())
}

#[test]
fn a_channel_secret_matches_itself_alone_and_never_prints() {
    let ids = ids();
    let secret = ChannelSecret::generate(&ids);
    let header = secret.to_header();
    assert_eq!(header.len(), 43);
    assert!(secret.matches(&header));
    let other = ChannelSecret::generate(&ids).to_header();
    for wrong in ["", "AAAA", &other, &header[1..], &format!("{header}="), &format!(" {header}")] {
        assert!(!secret.matches(wrong), "{wrong}");
    }
    let document = ChannelDocument { secret, versions: Versions::HERE };
    assert!(!format!("{document:?}").contains(&header));
    let json = serde_json::to_string(&document).unwrap();
    let expected = format!(r#"{{"secret":"{header}","versions":{{"newest":1,"oldest":1}}}}"#);
    assert_eq!(json, expected);
    let read: ChannelDocument = serde_json::from_str(&json).unwrap();
    assert!(read.secret.matches(&header));
    assert!(serde_json::from_str::<ChannelDocument>(&json.replace(&header, "AAAA")).is_err());
}

#[test]
fn this_side_speaks_its_version_and_the_one_before() {
    assert!(speaks(VERSION));
    assert!(!speaks(0));
    assert!(!speaks(VERSION + 1));
    assert_eq!(Versions::HERE.newest, VERSION);
    assert!(speaks(Versions::HERE.oldest));
}

#[test]
fn the_newest_version_in_common_is_taken() {
    let range = |oldest, newest| Versions { newest, oldest };
    for (ours, theirs, expected) in [
        (range(1, 1), range(1, 1), Some(1)),
        (range(1, 2), range(1, 1), Some(1)),
        (range(2, 3), range(1, 2), Some(2)),
        (range(2, 3), range(2, 3), Some(3)),
        (range(3, 4), range(1, 2), None),
        (range(0, 0), range(0, 1), None),
        (range(2, 1), range(1, 2), None),
    ] {
        assert_eq!(negotiate(ours, theirs).ok(), expected, "{ours:?} {theirs:?}");
        assert_eq!(negotiate(theirs, ours).ok(), expected, "{theirs:?} {ours:?}");
    }
}

#[test]
fn a_tenant_name_is_safe_in_a_path() {
    for good in ["default", "a", "0", "clinic-7", &"x".repeat(63)] {
        assert_eq!(good.parse::<TenantName>().unwrap().as_str(), good);
    }
    for bad in ["", ".", "..", "-a", "A", "a_b", "a/b", "a.b", "a b", "ä", "a\0", &"x".repeat(64)]
    {
        assert!(bad.parse::<TenantName>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_grant_is_for_one_request_understood_in_one_way() {
    let grant = Grant::new(GrantFields { client: Some("app".to_owned()), ..request() }).unwrap();
    let read = Interaction::classify("GET", "/Patient/123", None).unwrap();
    let update = Interaction::classify("PUT", "/Patient/123", None).unwrap();
    assert_eq!(grant.agrees("GET", "/Patient/123", None, &read), Ok(()));
    for (method, path, query) in [
        ("PUT", "/Patient/123", None),
        ("HEAD", "/Patient/123", None),
        ("GET", "/Patient/124", None),
        ("GET", "/Patient/123/", None),
        ("GET", "/Patient/123", Some("")),
    ] {
        let disagreement = grant.agrees(method, path, query, &read);
        assert_eq!(disagreement, Err(Disagreement::Digest), "{method} {path}");
    }
    assert_eq!(
        grant.agrees("GET", "/Patient/123", None, &update),
        Err(Disagreement::Classification)
    );
}

#[test]
fn a_grant_is_good_up_to_its_last_instant() {
    let grant = Grant::public(request(), Vec::new()).unwrap();
    assert!(!grant.expired(at("2026-01-02T03:04:05Z")));
    assert!(grant.expired(at("2026-01-02T03:04:05.000001Z")));
}

#[test]
fn a_grant_too_long_for_its_header_fails_and_is_never_cut() {
    let with_labels = |count: usize| {
        let mut rule = everything();
        rule.without_labels = vec!["system|code".to_owned(); count];
        let client = Some("app".to_owned());
        let rules = vec![rule];
        Grant::new(GrantFields { client, rules, ..request() }).unwrap()
    };
    let mut longest = 0;
    for count in 0..400 {
        match with_labels(count).encode() {
            Ok(header) => {
                assert!(header.len() <= Grant::MAX_LENGTH);
                assert_eq!(Grant::decode(&header).unwrap(), with_labels(count));
                longest = count;
            }
            Err(GrantError::TooLong(length)) => assert!(length > Grant::MAX_LENGTH),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!((200..399).contains(&longest), "{longest}");
}

#[test]
fn a_public_grant_has_no_caller_and_no_wildcard() {
    let opened = Rule::within_all(
        Types::Only([ResourceType::new("ValueSet").unwrap()].into()),
        [Action::Read].into_iter().collect(),
    );
    let grant = Grant::public(request(), vec![opened]).unwrap();
    assert!(grant.is_public());
    let wild = Grant::public(request(), vec![everything()]);
    assert!(matches!(wild, Err(GrantError::PublicWildcard)), "{wild:?}");
    let called = GrantFields { user: Some("u".to_owned()), ..request() };
    let refused = Grant::public(called, Vec::new());
    assert!(matches!(refused, Err(GrantError::CallerMissing(_))));
}

#[test]
fn debug_of_a_grant_names_no_person() {
    let grant = Grant::new(GrantFields {
        client: Some("app".to_owned()),
        user: Some("secret-user".to_owned()),
        fhir_user: Some("Practitioner/secret".parse().unwrap()),
        patient: Some("secret-patient".parse().unwrap()),
        rules: vec![Rule {
            within: Within::Compartment("Patient/secret-patient".parse().unwrap()),
            ..everything()
        }],
        ..request()
    })
    .unwrap();
    let shown = format!("{grant:?} {:?}", grant.rules);
    assert!(shown.contains("app") && !shown.contains("secret"), "{shown}");
}

#[test]
fn wildcards_reach_what_they_say_and_no_more() {
    let named = |name: &str| Action::Operation(name.parse::<OperationName>().unwrap());
    let operations: Actions = [Action::AnyOperation].into_iter().collect();
    for action in [Action::Create, Action::History, named("$x"), Action::Any] {
        assert!(Actions::all().contains(&action), "{action}");
    }
    assert!(operations.contains(&named("$x")));
    assert!(!operations.contains(&Action::Read));
    assert!(!operations.contains(&Action::Any));
    let one: Actions = [named("$x"), Action::Read].into_iter().collect();
    assert!(one.contains(&named("$x")) && !one.contains(&named("$y")));
    assert!(!one.contains(&Action::AnyOperation) && !one.has_wildcard());
    assert!(operations.has_wildcard() && Actions::all().has_wildcard());
    assert!(Actions::default().is_empty() && !one.is_empty());
}

#[test]
fn a_refusal_is_an_operation_outcome_whatever_its_text() {
    // HTTP-005
    let body = refusal(404, "not-found", "say \"no\"\n\u{0}<b>&ü", "r\"1");
    let outcome: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let expected = serde_json::json!({"resourceType": "OperationOutcome", "issue": [{
        "severity": "error", "code": "not-found",
        "details": {"text": "say \"no\"\n\u{0}<b>&ü"}, "diagnostics": "request r\"1"}]});
    assert_eq!(outcome, expected);
    let fatal = String::from_utf8(refusal(502, "transient", "x", "1")).unwrap();
    assert_eq!(
        fatal,
        r#"{"resourceType":"OperationOutcome","issue":[{"severity":"fatal","code":"transient","details":{"text":"x"},"diagnostics":"request 1"}]}"#
    );
}

fn revocation(kind: Revoked, id: &str) -> Revocation {
    let since = at("2026-01-02T03:04:05Z");
    let id = id.to_owned();
    Revocation { kind, id, since }
}

#[test]
fn a_feed_that_may_miss_something_is_not_followed() {
    let feed = |after, cursor, entries: &[Revocation]| RevocationFeed {
        after,
        cursor,
        entries: entries.to_vec(),
    };
    let entries = [revocation(Revoked::Client, "app")];
    assert_eq!(feed(7, 9, &entries).since(7), Ok(&entries[..]));
    assert_eq!(feed(7, 7, &[]).since(7), Ok(&[][..]));
    for (unusable, why) in [
        (feed(8, 9, &entries), "begins later"),
        (feed(0, 1, &entries), "begins anew"),
        (feed(7, 6, &[]), "goes back"),
        (feed(7, 7, &entries), "stands still beside entries"),
        (feed(7, 8, &[revocation(Revoked::User, "")]), "names no one"),
    ] {
        assert!(unusable.since(7).is_err(), "{why}");
    }
    let json = serde_json::to_string(&feed(7, 9, &entries)).unwrap();
    assert_eq!(
        json,
        r#"{"after":7,"cursor":9,"entries":[{"kind":"client","id":"app","since":"2026-01-02T03:04:05.000000Z"}]}"#
    );
    let read: RevocationFeed = serde_json::from_str(&json).unwrap();
    assert_eq!(read, feed(7, 9, &entries));
    assert!(serde_json::from_str::<RevocationFeed>(&json.replace("client", "tenant")).is_err());
}

#[test]
fn a_revocation_ends_what_its_authorization_client_or_user_began() {
    let grant = Grant::new(GrantFields {
        client: Some("app".to_owned()),
        user: Some("u".to_owned()),
        authorization: Some("a".to_owned()),
        ..request()
    })
    .unwrap();
    for (kind, id) in
        [(Revoked::Client, "app"), (Revoked::User, "u"), (Revoked::Authorization, "a")]
    {
        assert!(revocation(kind, id).ends(&grant), "{kind:?}");
        assert!(!revocation(kind, "other").ends(&grant), "{kind:?}");
    }
    assert!(!revocation(Revoked::User, "app").ends(&grant));
    let public = Grant::public(request(), Vec::new()).unwrap();
    assert!(!revocation(Revoked::Client, "app").ends(&public));
}

/// The crate's sources, and those of fhir-core that hold the grammar of URLs.
fn sources() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let entries = std::fs::read_dir(folder).expect("the sources");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fhir-core/src");
    paths.extend(["classify.rs", "instance.rs", "interaction.rs"].map(|name| core.join(name)));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a source");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn the_document_speaks_of_these_sources() {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for (_, text) in sources() {
        context.update(text.as_bytes());
    }
    let bytes = context.finish();
    let hash: String = bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/contract.md");
    let document = std::fs::read_to_string(document).expect("docs/contract.md");
    assert!(
        document.contains(&hash),
        "the sources changed: read docs/contract.md again, mend what is no longer true, and set \
         its last line to\nSources: {hash}"
    );
}

#[test]
fn the_contract_stays_small() {
    let is_code = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with("//")
    };
    let own = |(path, _): &&(PathBuf, String)| !path.to_string_lossy().contains("fhir-core");
    let sources = sources();
    let lines = sources.iter().filter(own).flat_map(|(_, text)| text.lines()).filter(is_code);
    let count = lines.count();
    assert!(count < 1000, "{count} lines of code: both sides must be able to read it whole");
}
