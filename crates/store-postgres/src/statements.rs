//! The SQL that runs all the time. Plain enough for Citus, YugabyteDB and CockroachDB: no
//! advisory locks, no sequences, one writer's rows found by the tenant first.
//!
//! Instants are microseconds since 1970. `t`, `version` and `owner` are the same 64 bits as in
//! the record.

/// The database's clock.
pub(crate) const CLOCK: &str = "SELECT (extract(epoch FROM now()) * 1000000)::bigint";

pub(crate) const HEAD: &str = "SELECT t, instant, hash FROM hearthgate.heads WHERE tenant = $1";

pub(crate) const FIRST_FHIR_VERSION: &str =
    "SELECT fhir_version FROM hearthgate.commits WHERE tenant = $1 ORDER BY t LIMIT 1";

/// Waits until a transaction that moves the head has ended.
pub(crate) const HEAD_SETTLED: &str = "SELECT t FROM hearthgate.heads WHERE tenant = $1 FOR UPDATE";

pub(crate) const COMMIT_BY_ID: &str =
    "SELECT t, hash FROM hearthgate.commits WHERE tenant = $1 AND id = $2";

pub(crate) const COMMITS_FROM: &str = "SELECT t, instant, hash FROM hearthgate.commits \
     WHERE tenant = $1 AND t >= $2 ORDER BY t LIMIT 2";

/// Only if the head is still where the group begins.
pub(crate) const MOVE_HEAD: &str = "UPDATE hearthgate.heads SET t = $4, instant = $5, hash = $6 \
     WHERE tenant = $1 AND t = $2 AND hash = $3";

pub(crate) const INSERT_COMMITS: &str = "INSERT INTO hearthgate.commits \
     (tenant, t, instant, id, kind, fhir_version, client, key, digest, previous, hash, versions) \
     SELECT $1::text, * FROM unnest($2::bigint[], $3::bigint[], $4::bytea[], $5::smallint[], \
     $6::smallint[], $7::bytea[], $8::bytea[], $9::bytea[], $10::bytea[], $11::bytea[], \
     $12::integer[])";

pub(crate) const INSERT_VERSIONS: &str = "INSERT INTO hearthgate.versions \
     (tenant, type, id, version, t, ordinal, instant, flags, owner, dictionary, content_hash, \
     length, body) \
     SELECT $1::text, * FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::integer[], \
     $7::bigint[], $8::smallint[], $9::bigint[], $10::bigint[], $11::bytea[], $12::bigint[], \
     $13::bytea[])";

/// Whoever bore an identifier first keeps the position of that.
pub(crate) const INSERT_IDENTIFIERS: &str = "INSERT INTO hearthgate.identifiers \
     (tenant, type, identifier, id, t) \
     SELECT $1::text, * FROM unnest($2::text[], $3::bytea[], $4::text[], $5::bigint[]) \
     ON CONFLICT DO NOTHING";

/// Only while the epoch is ours; extends the lease, and keeps it from being taken until the
/// transaction has ended.
pub(crate) const RENEW: &str = "UPDATE hearthgate.leases \
     SET expires = (extract(epoch FROM now()) * 1000000)::bigint + $3 \
     WHERE tenant = $1 AND epoch = $2";

/// Whether the epoch is ours, and whether the lease lasts, by the database's clock.
pub(crate) const HELD: &str = "SELECT epoch = $2, \
     expires > (extract(epoch FROM now()) * 1000000)::bigint \
     FROM hearthgate.leases WHERE tenant = $1";

pub(crate) const LEASE: &str = "SELECT epoch, holder, since, \
     expires - (extract(epoch FROM now()) * 1000000)::bigint \
     FROM hearthgate.leases WHERE tenant = $1 FOR UPDATE";

/// Who holds the lease, and for how long still; locks nothing.
pub(crate) const HOLDER: &str = "SELECT holder, \
     expires - (extract(epoch FROM now()) * 1000000)::bigint \
     FROM hearthgate.leases WHERE tenant = $1";

pub(crate) const TAKE_LEASE: &str = "UPDATE hearthgate.leases SET epoch = $2, holder = $3, \
     since = (extract(epoch FROM now()) * 1000000)::bigint, \
     expires = (extract(epoch FROM now()) * 1000000)::bigint + $4 WHERE tenant = $1";

/// Ends the epoch too, so that a renewal still on its way changes nothing.
pub(crate) const RELEASE: &str = "UPDATE hearthgate.leases SET expires = 0, epoch = epoch + 1 \
     WHERE tenant = $1 AND epoch = $2";

pub(crate) const NEWEST: &str = "SELECT version, t, ordinal, instant, flags, dictionary, length \
     FROM hearthgate.versions WHERE tenant = $1 AND type = $2 AND id = $3 AND t <= $4 \
     ORDER BY version DESC LIMIT 1";

pub(crate) const VERSION: &str = "SELECT version, t, ordinal, instant, flags, dictionary, length \
     FROM hearthgate.versions WHERE tenant = $1 AND type = $2 AND id = $3 AND t <= $4 \
     AND version = $5";

pub(crate) const VERSIONS: &str = "SELECT version, t, ordinal, instant, flags, dictionary, length \
     FROM hearthgate.versions WHERE tenant = $1 AND type = $2 AND id = $3 AND t <= $4 \
     ORDER BY version DESC";

pub(crate) const BODY: &str = "SELECT v.t, v.ordinal, v.flags, v.dictionary, v.length, v.content_hash, v.body, v.owner, c.id \
     FROM hearthgate.versions v JOIN hearthgate.commits c ON c.tenant = v.tenant AND c.t = v.t \
     WHERE v.tenant = $1 AND v.type = $2 AND v.id = $3 AND v.version = $4";

/// A chunk a row, its number counted from 0. It is there as a whole or not at all, and is not
/// written over.
pub(crate) const INSERT_BLOB: &str = "INSERT INTO hearthgate.blobs (tenant, id, number, bytes) \
     SELECT $1::text, $2::bytea, * FROM unnest($3::integer[], $4::bytea[])";

pub(crate) const BLOB: &str = "SELECT bytes FROM hearthgate.blobs \
     WHERE tenant = $1 AND id = $2 ORDER BY number";

pub(crate) const BLOB_LENGTHS: &str = "SELECT id, sum(length(bytes))::bigint \
     FROM hearthgate.blobs WHERE tenant = $1 AND id = ANY($2) GROUP BY id";

pub(crate) const REMOVE_BLOB: &str = "DELETE FROM hearthgate.blobs WHERE tenant = $1 AND id = $2";

pub(crate) const BLOBS: &str = "SELECT DISTINCT id FROM hearthgate.blobs WHERE tenant = $1";

/// So many, from behind an id.
pub(crate) const BLOBS_AFTER: &str = "SELECT DISTINCT id FROM hearthgate.blobs \
     WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3";

/// Which of these blobs versions name, as the beginnings of their references; by the index
/// `versions_by_blob`, whose condition it repeats.
pub(crate) const NAMED_BLOBS: &str = "SELECT substr(body, 1, 16) FROM hearthgate.versions \
     WHERE tenant = $1 AND flags & 8 <> 0 AND substr(body, 1, 16) = ANY($2)";

pub(crate) const REMOVE_BLOBS: &str =
    "DELETE FROM hearthgate.blobs WHERE tenant = $1 AND id = ANY($2)";

pub(crate) const IDENTIFIED: &str = "SELECT id FROM hearthgate.identifiers \
     WHERE tenant = $1 AND type = $2 AND identifier = $3 AND t <= $4";

pub(crate) const WALK: &str = "SELECT c.t, c.instant, c.id, c.kind, v.ordinal, v.type, v.id, v.version, v.flags, \
     v.owner, v.dictionary, v.content_hash, v.length, v.body \
     FROM hearthgate.commits c JOIN hearthgate.versions v ON v.tenant = c.tenant AND v.t = c.t \
     WHERE c.tenant = $1 AND c.t > $2 AND c.t <= $3 ORDER BY c.t, v.ordinal";

/// $2 and $3 are the first place, $4 and $5 the one after the last.
pub(crate) const HISTORY_NEWEST_FIRST: &str = "SELECT version, t, ordinal, instant, flags, \
     dictionary, length, type, id FROM hearthgate.versions \
     WHERE tenant = $1 AND (t, ordinal) >= ($2, $3) AND (t, ordinal) < ($4, $5) \
     ORDER BY t DESC, ordinal DESC LIMIT $6";

pub(crate) const HISTORY_OLDEST_FIRST: &str = "SELECT version, t, ordinal, instant, flags, \
     dictionary, length, type, id FROM hearthgate.versions \
     WHERE tenant = $1 AND (t, ordinal) >= ($2, $3) AND (t, ordinal) < ($4, $5) \
     ORDER BY t, ordinal LIMIT $6";

pub(crate) const TYPE_NEWEST_FIRST: &str = "SELECT version, t, ordinal, instant, flags, \
     dictionary, length, type, id FROM hearthgate.versions \
     WHERE tenant = $1 AND type = $7 AND (t, ordinal) >= ($2, $3) AND (t, ordinal) < ($4, $5) \
     ORDER BY t DESC, ordinal DESC LIMIT $6";

pub(crate) const TYPE_OLDEST_FIRST: &str = "SELECT version, t, ordinal, instant, flags, \
     dictionary, length, type, id FROM hearthgate.versions \
     WHERE tenant = $1 AND type = $7 AND (t, ordinal) >= ($2, $3) AND (t, ordinal) < ($4, $5) \
     ORDER BY t, ordinal LIMIT $6";

pub(crate) const COUNT_HISTORY: &str = "SELECT count(*) FROM hearthgate.versions \
     WHERE tenant = $1 AND (t, ordinal) >= ($2, $3) AND (t, ordinal) < ($4, $5)";

pub(crate) const COUNT_TYPE: &str = "SELECT count(*) FROM hearthgate.versions \
     WHERE tenant = $1 AND type = $6 AND (t, ordinal) >= ($2, $3) AND (t, ordinal) < ($4, $5)";

pub(crate) const POSITION_AT: &str = "SELECT t FROM hearthgate.commits \
     WHERE tenant = $1 AND instant <= $2 ORDER BY instant DESC LIMIT 1";

/// Backwards through the log to the first sealed body that is in its row, and not in a blob. Columns
/// as of WALK.
pub(crate) const NEWEST_SEALED_ROW: &str = "SELECT c.t, c.instant, c.id, c.kind, v.ordinal, v.type, v.id, v.version, v.flags, \
     v.owner, v.dictionary, v.content_hash, v.length, v.body \
     FROM hearthgate.versions v JOIN hearthgate.commits c ON c.tenant = v.tenant AND c.t = v.t \
     WHERE v.tenant = $1 AND v.owner <> 0 AND v.length > 0 AND v.flags & 8 = 0 \
     ORDER BY v.t DESC, v.ordinal DESC LIMIT 1";

/// As that, wherever the body is. Columns as of WALK.
pub(crate) const NEWEST_SEALED: &str = "SELECT c.t, c.instant, c.id, c.kind, v.ordinal, v.type, v.id, v.version, v.flags, \
     v.owner, v.dictionary, v.content_hash, v.length, v.body \
     FROM hearthgate.versions v JOIN hearthgate.commits c ON c.tenant = v.tenant AND c.t = v.t \
     WHERE v.tenant = $1 AND v.owner <> 0 AND v.length > 0 ORDER BY v.t DESC, v.ordinal DESC LIMIT 1";

/// The identifiers of every resource of which a version has one of these keys.
pub(crate) const BORNE_UNDER: &str = "SELECT i.type, i.identifier, i.id FROM hearthgate.identifiers i \
     JOIN (SELECT DISTINCT type, id FROM hearthgate.versions WHERE tenant = $1 AND owner = ANY($2)) v \
     ON v.type = i.type AND v.id = i.id WHERE i.tenant = $1";

pub(crate) const DELETE_IDENTIFIERS: &str = "DELETE FROM hearthgate.identifiers i \
     USING unnest($2::text[], $3::bytea[], $4::text[]) AS u (type, identifier, id) \
     WHERE i.tenant = $1 AND i.type = u.type AND i.identifier = u.identifier AND i.id = u.id";

/// Every version with a body of these resources after a position, the oldest first, but for those
/// with one of these keys. Columns as of WALK.
pub(crate) const VERSIONS_OF: &str = "SELECT c.t, c.instant, c.id, c.kind, v.ordinal, v.type, v.id, v.version, v.flags, \
     v.owner, v.dictionary, v.content_hash, v.length, v.body \
     FROM (SELECT DISTINCT type, id FROM unnest($2::text[], $3::text[]) AS u (type, id)) u \
     JOIN hearthgate.versions v ON v.tenant = $1 AND v.type = u.type AND v.id = u.id \
     JOIN hearthgate.commits c ON c.tenant = v.tenant AND c.t = v.t \
     WHERE v.length > 0 AND v.owner <> ALL($4) AND v.t > $5 ORDER BY c.t, v.ordinal";

pub(crate) const COMMITS_AFTER: &str = "SELECT t, instant, id, kind, fhir_version, client, key, digest, previous, hash, versions \
     FROM hearthgate.commits WHERE tenant = $1 AND t > $2 ORDER BY t LIMIT 1000";

/// By number in the arrays, from 1; none for what is not there.
pub(crate) const FIRST_BORNE: &str = "SELECT u.number, i.t \
     FROM unnest($2::text[], $3::bytea[], $4::text[]) WITH ORDINALITY AS u (type, identifier, id, number) \
     JOIN hearthgate.identifiers i ON i.tenant = $1 AND i.type = u.type \
     AND i.identifier = u.identifier AND i.id = u.id";

/// Versions, and those whose instant is not their commit's.
pub(crate) const COUNT_PLACES: &str = "SELECT count(*), count(*) FILTER (WHERE c.instant IS DISTINCT FROM v.instant) \
     FROM hearthgate.versions v LEFT JOIN hearthgate.commits c ON c.tenant = v.tenant AND c.t = v.t \
     WHERE v.tenant = $1";

pub(crate) const SHRINKING_NUMBER: &str = "SELECT type, id FROM \
     (SELECT type, id, t, lag(t) OVER (PARTITION BY type, id ORDER BY version) AS earlier \
     FROM hearthgate.versions WHERE tenant = $1) v WHERE earlier >= t LIMIT 1";

pub(crate) const COUNT_IDENTIFIERS: &str =
    "SELECT count(*) FROM hearthgate.identifiers WHERE tenant = $1";
