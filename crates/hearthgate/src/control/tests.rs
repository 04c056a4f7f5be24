//! Commands for the registry, carried out directly and over the control socket.

use std::os::unix::fs::PermissionsExt as _;

use registry::{Beside, Opened, Renewed};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::*;
use crate::command_socket::own_uid;
use crate::doors::{SystemClock, SystemIds};

fn open(data: &Path) -> Opened {
    let clock = Arc::new(SystemClock::start());
    let ids = Arc::new(SystemIds::open().unwrap());
    Registry::open(&data.join("registry"), Beside::NoTenant, clock, ids).unwrap()
}

fn creating(client: &str, role: Option<&str>, patient: Option<&str>) -> Request {
    Request::CreateKey(CreateKey {
        client: client.to_owned(),
        label: "a label".to_owned(),
        role: role.map(str::to_owned),
        patient: patient.map(str::to_owned),
        user: None,
        plan: None,
        powers: Vec::new(),
    })
}

fn site() -> Site {
    Site {
        roles: Arc::new(crate::roles::built_in_roles()),
        denials: Some(Arc::default()),
        plans: Arc::default(),
        counted: None,
        reloader: None,
    }
}

fn actor() -> Actor {
    Actor::new("test").unwrap()
}

fn refusal(registry: &Registry, request: Request) -> String {
    match execute(registry, &site(), request, &actor()) {
        Answer::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

fn created(answer: Answer) -> (String, String, bool) {
    match answer {
        Answer::Created { key, secret, with_client } => (key, secret, with_client),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_role_makes_the_client_once_and_its_rules_are_not_changed_by_another() {
    let data = tempfile::tempdir().unwrap();
    let registry = open(data.path()).registry;
    let run = |request| execute(&registry, &site(), request, &actor());

    let why = refusal(&registry, creating("lab", None, None));
    assert!(why.contains("--role"), "{why}");
    let (_, secret, with_client) = created(run(creating("lab", Some("reader"), None)));
    assert!(with_client);
    let caller = registry.authenticate(&secret).unwrap();
    assert_eq!(caller.client.id.as_str(), "lab");
    for again in [None, Some("reader")] {
        assert!(!created(run(creating("lab", again, None))).2);
    }
    let why = refusal(&registry, creating("lab", Some("owner"), None));
    assert!(why.contains("other rules than the role owner"), "{why}");
    assert_eq!(registry.keys().len(), 3);
}

#[test]
fn a_client_is_made_with_the_powers_that_are_named_and_with_no_others() {
    let data = tempfile::tempdir().unwrap();
    let registry = open(data.path()).registry;
    let run = |request| execute(&registry, &site(), request, &actor());
    let with_power = |client: &str, role| match creating(client, role, None) {
        Request::CreateKey(request) => {
            Request::CreateKey(CreateKey { powers: vec![PowerName::Explain], ..request })
        }
        other => panic!("{other:?}"),
    };
    let role = Some("owner");
    let (_, secret, _) = created(run(with_power("tuner", role)));
    assert_eq!(registry.authenticate(&secret).unwrap().client.powers, [Power::Explain]);
    let (_, secret, _) = created(run(creating("plain", role, None)));
    assert_eq!(registry.authenticate(&secret).unwrap().client.powers, []);
    // Whoever stands is given no more by another key.
    for refused in [with_power("plain", role), with_power("plain", None)] {
        assert!(refusal(&registry, refused).contains("--role"));
    }
    assert!(!created(run(with_power("tuner", role))).2);
}

#[test]
fn the_patient_role_needs_its_patient_and_no_other_role_takes_one() {
    let data = tempfile::tempdir().unwrap();
    let registry = open(data.path()).registry;
    for (role, patient, part) in [
        (Some("patient"), None, "--patient ID"),
        (Some("patient"), Some("a/b"), "no resource id"),
        (Some("reader"), Some("1"), "--role patient"),
        (None, Some("1"), "--role patient"),
    ] {
        let why = refusal(&registry, creating("phone", role, patient));
        assert!(why.contains(part), "{why}");
        assert!(!why.contains('\n'));
    }
    assert!(registry.clients().is_empty());
    let request = creating("phone", Some("patient"), Some("p-1"));
    let (_, secret, _) = created(execute(&registry, &site(), request, &actor()));
    let client = registry.authenticate(&secret).unwrap().client;
    assert_eq!(client.patient.as_ref().unwrap().as_str(), "p-1");
    // Another patient is other rules.
    let other = creating("phone", Some("patient"), Some("p-2"));
    assert!(refusal(&registry, other).contains("other rules"));
}

#[test]
fn revoking_twice_is_revoked_and_an_unknown_id_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let registry = open(data.path()).registry;
    let request = creating("lab", Some("owner"), None);
    let (key, secret, _) = created(execute(&registry, &site(), request, &actor()));
    for _ in 0..2 {
        let answer = execute(&registry, &site(), Request::RevokeKey(key.clone()), &actor());
        assert_eq!(answer, Answer::Revoked);
        assert!(registry.authenticate(&secret).is_none());
    }
    for unknown in ["", "xyz", "0000000000000000"] {
        refusal(&registry, Request::RevokeKey(unknown.to_owned()));
    }
    let Answer::Keys(keys) = execute(&registry, &site(), Request::ListKeys, &actor()) else {
        panic!("no list");
    };
    assert_eq!(keys.len(), 1);
    assert!(keys[0].revoked.is_some() && keys[0].label == "a label");
}

#[test]
fn a_suspended_key_is_listed_and_confirmed_and_an_unknown_one_refused() {
    let data = tempfile::tempdir().unwrap();
    let registry = open(data.path()).registry;
    let request = creating("lab", Some("owner"), None);
    let (key, secret, _) = created(execute(&registry, &site(), request, &actor()));
    registry.suspend_keys(&actor()).unwrap();
    let Answer::Keys(keys) = execute(&registry, &site(), Request::ListKeys, &actor()) else {
        panic!("no list");
    };
    assert!(keys[0].suspended.is_some() && registry.authenticate(&secret).is_none());
    for _ in 0..2 {
        let answer = execute(&registry, &site(), Request::ConfirmKey(key.clone()), &actor());
        assert_eq!(answer, Answer::Confirmed);
        assert!(registry.authenticate(&secret).is_some());
    }
    for unknown in ["", "xyz", "0000000000000000"] {
        refusal(&registry, Request::ConfirmKey(unknown.to_owned()));
    }
}

#[tokio::test]
async fn the_socket_answers_this_account_and_names_it_in_the_audit() {
    let data = tempfile::tempdir().unwrap();
    let registry = Arc::new(open(data.path()).registry);
    let path = socket_path(data.path());
    std::fs::write(&path, "left behind").unwrap();
    let socket = ControlSocket::bind(data.path()).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(socket.serve(registry.clone(), site(), stopped));

    let request = creating("lab", Some("owner"), None);
    let (key, secret, _) = created(ask(data.path(), &request).await.unwrap());
    assert!(registry.authenticate(&secret).is_some());
    let changes = registry.changes(None, 0, 10).unwrap();
    assert_eq!(changes[0].actor, format!("uid {}", own_uid().unwrap()));
    let revoked = ask(data.path(), &Request::RevokeKey(key.clone())).await.unwrap();
    assert_eq!(revoked, Answer::Revoked);
    assert!(matches!(registry.renew(&format!("key:{key}")), Renewed::Gone));

    // An idle connection does not hold up the end.
    let mut idle = UnixStream::connect(&path).await.unwrap();
    idle.write_all(b"\"listKeys\"\n").await.unwrap();
    let mut answer = Vec::new();
    let mut reader = BufReader::new(&mut idle);
    reader.read_until(b'\n', &mut answer).await.unwrap();
    assert!(answer.starts_with(b"{\"keys\":"));
    stop.send(true).unwrap();
    tasks.join_next().await.unwrap().unwrap();
    assert!(!path.exists());
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_an_endless_one_is_cut_off() {
    let data = tempfile::tempdir().unwrap();
    let registry = Arc::new(open(data.path()).registry);
    let socket = ControlSocket::bind(data.path()).unwrap();
    let (_stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(socket.serve(registry.clone(), site(), stopped));

    let mut stream = UnixStream::connect(socket_path(data.path())).await.unwrap();
    stream.write_all(b"{\"deleteEverything\":1}\n\"listKeys\"\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    let lines: Vec<&str> = answers.lines().collect();
    assert!(lines[0].starts_with("{\"refused\":"), "{answers}");
    assert_eq!(lines[1], "{\"keys\":[]}");

    let mut stream = UnixStream::connect(socket_path(data.path())).await.unwrap();
    let endless = vec![b'['; OfRegistry::LONGEST as usize];
    stream.write_all(&endless).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("{\"refused\":"), "{answer}");
    assert!(registry.changes(None, 0, 1).unwrap().is_empty());
}

// LEAK-24
#[test]
fn a_role_that_needs_a_person_is_not_given_without_and_no_unknown_role_is() {
    let data = tempfile::tempdir().unwrap();
    let registry = open(data.path()).registry;
    let with_user = |role: &str, user: Option<&str>| match creating("nurse", Some(role), None) {
        Request::CreateKey(request) => {
            Request::CreateKey(CreateKey { user: user.map(str::to_owned), ..request })
        }
        other => panic!("{other:?}"),
    };
    for (role, user, part) in [
        ("care-team", None, "--user REF"),
        ("care-team", Some("nobody"), "Practitioner/7"),
        ("no-such-role", None, "hearthgate roles"),
        ("Care Team", None, "a-z"),
    ] {
        let why = refusal(&registry, with_user(role, user));
        assert!(why.contains(part) && !why.contains('\n'), "{why}");
    }
    assert!(registry.clients().is_empty());
    let request = with_user("care-team", Some("Practitioner/7"));
    let (_, secret, _) = created(execute(&registry, &site(), request, &actor()));
    let client = registry.authenticate(&secret).unwrap().client;
    assert_eq!(client.fhir_user.as_ref().unwrap().to_string(), "Practitioner/7");
    let Answer::Keys(keys) = execute(&registry, &site(), Request::ListKeys, &actor()) else {
        panic!("no list");
    };
    assert_eq!(keys[0].role.as_deref(), Some("care-team"));
}

#[test]
fn the_owner_of_the_first_start_has_the_role_owner_in_all_but_name() {
    let data = tempfile::tempdir().unwrap();
    let registry = open(data.path()).registry;
    let _ = registry.owner(&actor()).unwrap();
    let (_, _, with_client) =
        created(execute(&registry, &site(), creating("owner", Some("owner"), None), &actor()));
    assert!(!with_client);
}

#[test]
fn a_key_is_rotated_with_an_overlap_that_the_list_shows() {
    // GW-031
    let data = tempfile::tempdir().unwrap();
    let registry = open(data.path()).registry;
    let run = |request| execute(&registry, &site(), request, &actor());
    let (old, first, _) = created(run(creating("lab", Some("reader"), None)));
    let rotate = |key: &str, hours| Request::RotateKey { key: key.to_owned(), hours };
    let (new, second, with_client) = created(run(rotate(&old, 1)));
    assert!(!with_client && new != old && second.starts_with(&format!("hg_{new}_")));
    for secret in [&first, &second] {
        assert_eq!(registry.authenticate(secret).unwrap().client.id.as_str(), "lab");
    }
    let Answer::Keys(listed) = run(Request::ListKeys) else { panic!("no list") };
    let expires: Vec<bool> = listed.iter().map(|key| key.expires.is_some()).collect();
    assert_eq!(expires, [true, false]);
    assert!(refusal(&registry, rotate("x", 1)).contains("no key id"));
    assert!(refusal(&registry, rotate(&new, 9000)).contains("8760"));
    let (_, third, _) = created(run(rotate(&new, 0)));
    assert!(registry.authenticate(&second).is_none() && registry.authenticate(&third).is_some());
}

#[test]
fn tokens_are_revoked_by_what_an_operator_knows_of_them() {
    // GW-034
    let data = tempfile::tempdir().unwrap();
    let registry = open(data.path()).registry;
    let id = token_authorization("hospital", TokenIdentity::Jti("7"));
    let facts = |client, user| registry::TokenFacts {
        authorization: &id,
        client,
        user: Some(user),
        issued: None,
    };
    let revoked = |client, user| registry.is_revoked(&facts(client, user));
    let revoke = |tokens| {
        let answer = execute(&registry, &site(), Request::RevokeTokens(tokens), &actor());
        assert_eq!(answer, Answer::Revoked);
    };
    revoke(Tokens::Client("hospital.app".to_owned()));
    revoke(Tokens::User("hospital/u-1".to_owned()));
    assert!(revoked("hospital.app", "hospital/u-2") && revoked("other", "hospital/u-1"));
    assert!(!revoked("other", "hospital/u-2"));
    revoke(Tokens::Jti { issuer: "hospital".to_owned(), jti: "7".to_owned() });
    assert!(revoked("other", "hospital/u-2"));
    let wrong = Tokens::Authorization("key:0123456789abcdef".to_owned());
    assert!(refusal(&registry, Request::RevokeTokens(wrong)).contains("token:"));
}
