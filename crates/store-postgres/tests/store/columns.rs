//! Every field of the record has its place in the rows.

use store::suite::fixture::{append, commit, delete, put_identified};
use store::{
    BodyCoding, CommitHash, CommitId, ContentHash, Idempotency, OwnerKeyId, Store, record,
};

use crate::cluster::database;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_field_of_the_record_is_kept_in_the_rows() {
    let Some(database) = database() else { return };
    let store = database.open();
    let mut first = commit(1, vec![put_identified("Patient/a", 1, &[("urn:n", "1")], "a")]);
    first.id = CommitId(u128::MAX - 1);
    first.idempotency =
        Some(Idempotency { client: "app".into(), key: "with \0 in it".into(), digest: [7; 32] });
    first.versions[0].owner = OwnerKeyId(u64::MAX);
    first.versions[0].dictionary = BodyCoding(u32::MAX);
    let second = commit(2, vec![delete("Patient/a", 2)]);
    let hash = |of, before| {
        let hash = record::encode(of, before, &mut Vec::new(), &mut Vec::new());
        hash.unwrap()
    };
    let first_hash = hash(&first, &CommitHash::ZERO);
    let second_hash = hash(&second, &first_hash);
    append(&store, &[first.clone(), second.clone()]);
    assert_eq!(store.head().hash, second_hash);

    let commits = database.sql(
        "SELECT tenant, t, instant, encode(id, 'hex'), kind, fhir_version, \
         encode(client, 'escape'), encode(key, 'escape'), encode(digest, 'hex'), \
         encode(previous, 'hex'), encode(hash, 'hex'), versions \
         FROM hearthgate.commits ORDER BY t",
    );
    let expected = [
        format!(
            "clinic|1|{}|{}|1|1|app|with \\000 in it|{}|{}|{}|1",
            first.instant.as_micros(),
            hex(&(u128::MAX - 1).to_be_bytes()),
            hex(&[7; 32]),
            hex(&[0; 32]),
            hex(&first_hash.0)
        ),
        format!(
            "clinic|2|{}|{}|1|1||||{}|{}|1",
            second.instant.as_micros(),
            hex(&second.id.0.to_be_bytes()),
            hex(&first_hash.0),
            hex(&second_hash.0)
        ),
    ];
    assert_eq!(commits.lines().collect::<Vec<_>>(), expected);

    let versions = database.sql(
        "SELECT tenant, type, id, version, t, ordinal, instant, flags, owner, dictionary, \
         encode(content_hash, 'hex'), length, encode(body, 'hex') \
         FROM hearthgate.versions ORDER BY t",
    );
    let body = &first.versions[0].body;
    let expected = [
        format!(
            "clinic|Patient|a|1|1|0|{}|{}|-1|4294967295|{}|{}|{}",
            first.instant.as_micros(),
            first.versions[0].flags.bits(),
            hex(&ContentHash::of(body).0),
            body.len(),
            hex(body)
        ),
        format!(
            "clinic|Patient|a|2|2|0|{}|{}|0|0|{}|0|",
            second.instant.as_micros(),
            second.versions[0].flags.bits(),
            hex(&ContentHash::of(b"").0)
        ),
    ];
    assert_eq!(versions.lines().collect::<Vec<_>>(), expected);
}
