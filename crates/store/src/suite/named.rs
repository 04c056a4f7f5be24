//! Commits that answer requests which their clients named.

use fhir_core::Instant;

use super::StoreUnderTest;
use super::fixture::{append, commit, put};
use crate::{Commit, Earlier, Idempotency, Store, T};

fn request(client: &str, key: &str, digest: u8) -> Idempotency {
    Idempotency { client: client.into(), key: key.into(), digest: [digest; 32] }
}

fn answering(t: u64, request: &Idempotency) -> Commit {
    let versions = if t == 3 { Vec::new() } else { vec![put("Patient/a", t, "")] };
    Commit { idempotency: Some(request.clone()), ..commit(t, versions) }
}

async fn found(store: &dyn Store, request: &Idempotency, at: u64) -> Vec<(u64, i64, bool)> {
    let (of, name) = request.name();
    let bearers = store.identified(&of, &name, T::new(at)).await;
    let mut found: Vec<_> = bearers
        .expect("the store is whole")
        .iter()
        .map(|bearer| Earlier::read(bearer).expect("it is a commit's"))
        .map(|earlier| (earlier.t.get(), earlier.second, earlier.answered(request)))
        .collect();
    found.sort_unstable();
    found
}

/// Also after a restart and a crash, by its own client and key alone, and from its position on; a
/// commit that changes nothing too.
pub async fn a_commit_is_found_by_the_name_of_its_request(under_test: &mut dyn StoreUnderTest) {
    let [mine, other_body] = [1, 2].map(|digest| request("client", "key", digest));
    let others =
        [request("other", "key", 1), request("client", "", 1), request("clientkey", "", 1)];
    let long = request("client", &"k".repeat(5000), 1);
    let group = [commit(1, vec![]), answering(2, &mine), answering(3, &long)];
    append(under_test.store(), &group[..2]);
    append(under_test.store(), &group[2..]);
    let second = |t: u64| Instant::as_seconds(group[t as usize - 1].instant);
    for round in 0..3 {
        let store = under_test.store();
        assert_eq!(found(store, &mine, 9).await, [(2, second(2), true)]);
        assert_eq!(found(store, &other_body, 9).await, [(2, second(2), false)]);
        assert_eq!(found(store, &long, 9).await, [(3, second(3), true)]);
        assert_eq!(found(store, &mine, 1).await, []);
        for other in &others {
            assert_eq!(found(store, other, 9).await, []);
        }
        if round == 0 {
            under_test.restart();
        } else {
            under_test.crash();
        }
    }
    // The same name again, as after its time: both are found.
    append(under_test.store(), &[answering(4, &other_body)]);
    under_test.crash();
    let both = found(under_test.store(), &mine, 9).await;
    assert_eq!(
        both.iter().map(|(t, _, same)| (*t, *same)).collect::<Vec<_>>(),
        [(2, true), (4, false)]
    );
}
