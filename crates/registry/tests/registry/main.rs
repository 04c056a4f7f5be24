//! The registry from outside: what survives a reopen, what is refused, and what never shows.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

#[cfg(test)]
mod in_postgres;
#[path = "../../../store-postgres/tests/cluster/mod.rs"]
mod postgres;
#[cfg(test)]
mod proxy;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use contract::{Action, Clock, Ids, Instant, ResourceId, Rule, Types, Within};
use in_postgres::Database;
use registry::{
    Actor, Beside, CannotFollow, ChangeError, ClientId, InvalidClient, KeyId, NewClient, OpenError,
    Opened, RateLimit, Registry, Renewed, RoleName, Subject, TRAIL, TokenFacts, TokenIdentity,
    ViewReport, WhichTokens, token_authorization,
};

struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Instant {
        Instant::from_micros(self.0.fetch_add(1_000_000, Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// Different bytes at every call, the same in every run.
struct Counting(AtomicU64);

impl Ids for Counting {
    fn next(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn fill(&self, bytes: &mut [u8]) {
        let seed = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        for (at, byte) in (1_u64..).zip(bytes) {
            *byte = (seed.wrapping_mul(at.wrapping_mul(0xbf58_476d_1ce4_e5b9)) >> 32) as u8;
        }
    }
}

struct Place {
    dir: tempfile::TempDir,
    ids: Arc<Counting>,
    /// At which the clock begins.
    start: i64,
    database: Option<Database>,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            ids: Arc::new(Counting(AtomicU64::new(1))),
            start: 1_767_225_600_000_000,
            database: None,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("registry")
    }

    fn log(&self) -> PathBuf {
        self.path().join("changes.log")
    }

    fn try_open(&self, beside: Beside) -> Result<Opened, OpenError> {
        let clock = Arc::new(Ticking(AtomicI64::new(self.start)));
        match &self.database {
            None => Registry::open(&self.path(), beside, clock, self.ids.clone()),
            Some(database) => Registry::open_in_postgres(
                &self.path(),
                &database.options(),
                beside,
                clock,
                self.ids.clone(),
            ),
        }
    }

    fn open(&self) -> Opened {
        self.try_open(Beside::NoTenant).unwrap()
    }

    /// All that was ever written.
    fn written(&self) -> Vec<u8> {
        match &self.database {
            None => fs::read(self.log()).unwrap(),
            Some(database) => database.changes().into_bytes(),
        }
    }
}

/// What holds of both is tested over both.
#[path = "."]
mod on_files {
    use super::*;

    #[path = "operators.rs"]
    mod operators;
    #[path = "put_clients.rs"]
    mod put_clients;
    #[path = "revoking.rs"]
    mod revoking;
    #[path = "suite.rs"]
    mod suite;
}

// GW-064
#[expect(clippy::duplicate_mod, reason = "the same tests over another place")]
#[path = "."]
mod on_postgres {
    use super::*;

    /// A place over PostgreSQL, or over files where there is none and need not be: that is said.
    struct Place;

    impl Place {
        #[expect(clippy::new_ret_no_self, reason = "it stands in for the other")]
        fn new() -> super::Place {
            in_postgres::place().unwrap_or_else(super::Place::new)
        }
    }

    #[path = "operators.rs"]
    mod operators;
    #[path = "put_clients.rs"]
    mod put_clients;
    #[path = "revoking.rs"]
    mod revoking;
    #[path = "suite.rs"]
    mod suite;
}

fn actor() -> Actor {
    Actor::new("test").unwrap()
}

fn client_id(text: &str) -> ClientId {
    ClientId::new(text).unwrap()
}

fn reader(id: &str) -> NewClient {
    let look = [Action::Read, Action::Search, Action::History].into_iter().collect();
    NewClient::with_rules(client_id(id), "A reader", vec![Rule::within_all(Types::All, look)])
}

fn refused<T: std::fmt::Debug>(result: Result<T, ChangeError>) -> CannotFollow {
    match result {
        Err(ChangeError::Refused(reason)) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn an_empty_or_missing_registry_beside_a_tenant_is_an_error_and_makes_nothing() {
    let place = Place::new();
    let missing = |place: &Place| {
        let error = place.try_open(Beside::ExistingTenant).unwrap_err();
        assert!(matches!(error, OpenError::RegistryMissing { .. }), "{error}");
        assert!(error.to_string().contains("backup"), "{error}");
    };
    missing(&place);
    assert!(!place.path().exists(), "a missing registry stays missing");

    // Empty: begun, and nothing ever changed in it.
    drop(place.open());
    missing(&place);

    // Its only change torn.
    let opened = place.open();
    opened.registry.owner(&actor()).unwrap();
    drop(opened);
    let bytes = fs::read(place.log()).unwrap();
    fs::write(place.log(), &bytes[..bytes.len() - 1]).unwrap();
    missing(&place);

    // Whole again, it opens.
    fs::write(place.log(), &bytes).unwrap();
    let opened = place.try_open(Beside::ExistingTenant).unwrap();
    assert!(!opened.first_start);
    drop(opened);

    // The format alone says that a log was lost.
    fs::remove_file(place.log()).unwrap();
    missing(&place);
    assert!(matches!(place.try_open(Beside::NoTenant), Err(OpenError::LogMissing { .. })));
}

#[test]
fn a_log_cut_anywhere_leaves_a_state_that_was_once_acknowledged() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    let owner = registry.owner(&actor()).unwrap().unwrap();
    let mut ends = vec![(0, 0, false), (fs::metadata(place.log()).unwrap().len(), 1, true)];
    let second = registry.create_key(&client_id("owner"), "second", &actor()).unwrap();
    ends.push((fs::metadata(place.log()).unwrap().len(), 2, true));
    registry.revoke_key(&owner.key_id, &actor()).unwrap();
    ends.push((fs::metadata(place.log()).unwrap().len(), 2, false));
    drop(opened);
    let bytes = fs::read(place.log()).unwrap();

    // Each cut opens the whole registry: a prime step keeps the test short, the log's own tests
    // cut at every byte.
    let places = (0..=bytes.len()).step_by(13).chain(ends.iter().map(|end| end.0 as usize));
    for cut_at in places {
        fs::write(place.log(), &bytes[..cut_at]).unwrap();
        let opened = place.open();
        let (_, keys, owner_stands) = ends.iter().rfind(|end| end.0 as usize <= cut_at).unwrap();
        assert_eq!(opened.registry.keys().len(), *keys, "cut at {cut_at}");
        let stands = opened.registry.authenticate(owner.secret.expose()).is_some();
        assert_eq!(stands, *owner_stands, "cut at {cut_at}");
        let second_stands = opened.registry.authenticate(second.secret.expose()).is_some();
        assert_eq!(second_stands, *keys == 2, "cut at {cut_at}");
        assert_eq!(opened.first_start, *keys == 0, "cut at {cut_at}");
    }
}

#[test]
fn a_registry_left_without_a_close_opens_with_everything_acknowledged() {
    let place = Place::new();
    let opened = place.open();
    let key = opened.registry.owner(&actor()).unwrap().unwrap();
    // What a killed process leaves: the files as they are at this moment.
    let copy = Place::new();
    fs::create_dir_all(copy.path().join("view")).unwrap();
    for name in ["format", "changes.log", TRAIL, "trail.head"] {
        fs::copy(place.path().join(name), copy.path().join(name)).unwrap();
    }
    for file in files_below(&place.path().join("view")) {
        let name = file.strip_prefix(place.path()).unwrap().to_owned();
        let target = copy.path().join(name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
    let reopened = copy.open();
    assert!(reopened.registry.authenticate(key.secret.expose()).is_some());
    assert_eq!(reopened.registry.changes(None, 0, 10).unwrap().len(), 1);
}

// GW-063
#[test]
fn who_looked_before_somebody_changed_something_changes_nothing() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    registry.create_client(reader("lab"), &actor()).unwrap();
    let (lab, seen) = (client_id("lab"), registry.sequence());
    let looked = || actor().only_after(seen);
    registry.create_client(reader("ward"), &actor()).unwrap();
    let refused = registry.disable_client(&lab, &looked()).unwrap_err();
    assert!(matches!(refused, ChangeError::Overtaken), "{refused:?}");
    assert!(registry.client(&lab).unwrap().disabled.is_none());
    assert!(matches!(registry.check_unchanged(&looked()), Err(ChangeError::Overtaken)));
    registry.check_unchanged(&actor()).unwrap();
    let looked = actor().only_after(registry.sequence());
    registry.disable_client(&lab, &looked).unwrap();
    assert!(matches!(registry.enable_client(&lab, &looked), Err(ChangeError::Overtaken)));
}

// GW-063
#[test]
fn a_registry_with_changes_is_not_opened_without_its_trail() {
    let place = Place::new();
    let opened = place.open();
    opened.registry.owner(&actor()).unwrap().unwrap();
    drop(opened);
    fs::remove_file(place.path().join(TRAIL)).unwrap();
    let error = place.try_open(Beside::NoTenant).unwrap_err();
    assert!(matches!(error, OpenError::TrailMissing { .. }), "{error}");
    assert!(!place.path().join(TRAIL).exists());
    // Earlier releases left neither, and what begins then says so.
    fs::remove_file(place.path().join("trail.head")).unwrap();
    let lines = place.open().registry.trail().lines(0, 10).unwrap();
    assert_eq!(lines.iter().map(|it| &*it.operation).collect::<Vec<_>>(), ["changes.begin"]);
    // One that came out of a backup begins with one.
    let changes = registry::whole_changes(&place.path()).unwrap();
    let restored = Place::new();
    registry::write_whole_changes(&restored.path(), &changes).unwrap();
    assert_eq!(restored.open().registry.trail().lines(0, 10).unwrap(), []);
}

#[test]
fn damage_is_an_error_that_names_file_offset_and_mend() {
    let place = Place::new();
    let opened = place.open();
    opened.registry.owner(&actor()).unwrap();
    let first = fs::metadata(place.log()).unwrap().len();
    opened.registry.create_key(&client_id("owner"), "", &actor()).unwrap();
    drop(opened);
    let mut bytes = fs::read(place.log()).unwrap();
    bytes[first as usize + 40] ^= 1;
    fs::write(place.log(), &bytes).unwrap();
    let error = place.try_open(Beside::ExistingTenant).unwrap_err().to_string();
    for part in ["changes.log", &format!("at byte {first}"), "after change 1", "backup"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains('\n'));
    assert_eq!(fs::read(place.log()).unwrap(), bytes);
}

#[test]
fn another_format_is_refused() {
    let place = Place::new();
    drop(place.open());
    let format = place.path().join("format");
    assert_eq!(fs::read_to_string(&format).unwrap(), "hearthgate registry 1\n");
    fs::write(&format, "hearthgate registry 2\n").unwrap();
    for beside in [Beside::NoTenant, Beside::ExistingTenant] {
        let error = place.try_open(beside).unwrap_err();
        assert!(matches!(error, OpenError::NewerFormat { found: 2, supported: 1, .. }), "{error}");
    }
    for unreadable in ["", "hearthgate registry 1", "hearthgate registry 01\n", "1\n"] {
        fs::write(&format, unreadable).unwrap();
        assert!(matches!(
            place.try_open(Beside::NoTenant),
            Err(OpenError::FormatUnreadable { .. })
        ));
    }
}

#[test]
fn the_change_audit_answers_for_all_for_a_client_and_for_a_key() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    let owner = registry.owner(&Actor::first_start()).unwrap().unwrap();
    registry.create_client(reader("lab"), &Actor::local_user(7)).unwrap();
    let lab = registry.create_key(&client_id("lab"), "", &actor()).unwrap();
    // An id that another begins with.
    registry.create_client(reader("lab2"), &actor()).unwrap();
    registry.revoke_key(&owner.key_id, &actor()).unwrap();

    let check = |registry: &Registry| {
        let of = |subject: Option<Subject>, after, limit| -> Vec<u64> {
            let changes = registry.changes(subject.as_ref(), after, limit).unwrap();
            changes.iter().map(|change| change.sequence).collect()
        };
        let client = |id: &str| Some(Subject::Client(client_id(id)));
        assert_eq!(of(None, 0, 10), [1, 2, 3, 4, 5]);
        assert_eq!(of(None, 2, 2), [3, 4]);
        assert_eq!(of(client("owner"), 0, 10), [1, 5]);
        assert_eq!(of(client("lab"), 0, 10), [2, 3]);
        assert_eq!(of(Some(Subject::Key(lab.key_id.clone())), 0, 10), [3]);
        assert!(of(client("nobody"), 0, 10).is_empty());
        let second = &registry.changes(None, 1, 1).unwrap()[0];
        assert_eq!(
            (second.actor.as_str(), second.summary.as_str()),
            ("uid 7", "create client lab")
        );
    };
    check(registry);
    drop(opened);

    let view = place.path().join("view");
    let reopened = place.open();
    assert_eq!(reopened.report.view, ViewReport::Current);
    check(&reopened.registry);
    drop(reopened);

    // Deleted: built anew.
    fs::remove_dir_all(&view).unwrap();
    let reopened = place.open();
    assert_eq!(reopened.report.view, ViewReport::Rebuilt(None));
    check(&reopened.registry);
    drop(reopened);

    // Damaged in every file, empty, and of another log: set aside and built anew.
    let damages: [&dyn Fn(); 3] = [
        &|| {
            files_below(&view).iter().for_each(|file| {
                let mut bytes = fs::read(file).unwrap();
                bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
                fs::write(file, bytes).unwrap();
            })
        },
        &|| files_below(&view).iter().for_each(|file| fs::write(file, b"").unwrap()),
        &|| {
            let other = Place::new();
            let opened = other.open();
            opened.registry.create_client(reader("else"), &actor()).unwrap();
            drop(opened);
            fs::remove_dir_all(&view).unwrap();
            fs::rename(other.path().join("view"), &view).unwrap();
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        damage();
        let reopened = place.open();
        let ViewReport::Rebuilt(Some(aside)) = &reopened.report.view else {
            panic!("damage {number}: {:?}", reopened.report);
        };
        assert!(aside.exists());
        check(&reopened.registry);
    }
}

#[test]
fn a_view_that_is_behind_is_brought_up_to_date() {
    let place = Place::new();
    let opened = place.open();
    opened.registry.owner(&actor()).unwrap();
    drop(opened);
    let kept = place.dir.path().join("kept");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([place.path().join("view"), kept.clone()])
        .status()
        .unwrap();
    assert!(copied.success());
    let opened = place.open();
    opened.registry.create_client(reader("lab"), &actor()).unwrap();
    opened.registry.create_client(reader("ward"), &actor()).unwrap();
    drop(opened);
    fs::remove_dir_all(place.path().join("view")).unwrap();
    fs::rename(kept, place.path().join("view")).unwrap();
    let reopened = place.open();
    assert_eq!(reopened.report.view, ViewReport::CaughtUp(2));
    assert_eq!(reopened.registry.changes(None, 0, 10).unwrap().len(), 3);
}

#[test]
fn no_file_and_no_debug_text_holds_a_key() {
    let place = Place::new();
    let opened = place.open();
    let created = opened.registry.owner(&actor()).unwrap().unwrap();
    let text = created.secret.expose().clone();
    let secret = text.rsplit_once(created.key_id.as_str()).unwrap().1[1..].to_owned();
    let caller = opened.registry.authenticate(&text).unwrap();
    let debug = format!(
        "{created:?} {caller:?} {opened:?} {:?} {:?}",
        opened.registry.keys(),
        opened.registry.changes(None, 0, 10).unwrap()
    );
    assert!(debug.contains("[redacted]") && !debug.contains(&secret), "{debug}");
    drop(opened);
    let raw = {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&secret).unwrap()
    };
    let hexadecimal: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    let files = files_below(&place.path());
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let bytes = fs::read(&file).unwrap();
        for form in [secret.as_bytes(), &raw, hexadecimal.as_bytes()] {
            assert!(!contains(&bytes, form), "{}", file.display());
        }
    }
}

#[test]
fn the_files_are_for_this_account_alone() {
    let place = Place::new();
    fs::create_dir(place.path()).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    drop(place.open());
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.path()), 0o700);
    assert_eq!(mode(place.log()), 0o600);
    assert_eq!(mode(place.path().join("format")), 0o600);
    fs::set_permissions(place.log(), fs::Permissions::from_mode(0o644)).unwrap();
    drop(place.open());
    assert_eq!(mode(place.log()), 0o600);
}
