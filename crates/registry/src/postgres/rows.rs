//! Changes as rows: written as the files' frames are, with the same two checksums, and checked
//! when they are read.

use std::time::Duration;

use contract::Instant;
use tokio::time::timeout;
use tokio_postgres::{Client, Row};

use super::connect::{Purpose, Sessions};
use super::error::{Failure, PostgresError};
use super::schema;
use crate::change::Change;
use crate::frame;
use crate::log::{Entry, Head};

/// How long one question for changes may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many changes are asked for at once.
const PAGE: i64 = 1000;
/// At how many bytes of changes a page ends, though there are more: with the change that reaches it.
const PAGE_BYTES: i64 = 4 << 20;
/// The number of no row.
const NONE_KNOWN: i64 = 0;

/// The head itself comes first, so that a database that is another one is noticed; its bytes do not
/// count, so that there is always one behind it. The last column says how many changes a page
/// without a bound of bytes would have. (`octet_length` does not fetch the text.)
const LATER: &str = "SELECT sequence, instant, actor, change, checksum, \
    (SELECT version FROM hearthgate_registry.format WHERE component = 'registry'), found \
    FROM (SELECT *, count(*) OVER () AS found, coalesce(sum(bytes) OVER (ORDER BY sequence \
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before \
        FROM (SELECT *, CASE WHEN sequence = $4::bigint THEN 0 \
                ELSE octet_length(change) + octet_length(actor) END AS bytes \
            FROM hearthgate_registry.changes WHERE sequence >= $1 ORDER BY sequence LIMIT $2) page \
        ) counted \
    WHERE before < $3 ORDER BY sequence";

const APPEND: &str = "INSERT INTO hearthgate_registry.changes \
    SELECT $1::bigint, $2::bigint, $3::text, $4::text, $5::bigint \
    WHERE (SELECT version FROM hearthgate_registry.format WHERE component = 'registry') <= $6::integer \
    AND CASE WHEN $7::bigint = 0 THEN NOT EXISTS (SELECT 1 FROM hearthgate_registry.changes) \
        ELSE EXISTS (SELECT 1 FROM hearthgate_registry.changes \
            WHERE sequence = $7::bigint AND instant = $8::bigint \
            AND checksum & 4294967295 = $9::bigint) END \
    ON CONFLICT (sequence) DO NOTHING";

const COPY: &str = "INSERT INTO hearthgate_registry.changes \
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[]) \
    WHERE NOT EXISTS (SELECT 1 FROM hearthgate_registry.changes)";

/// A change as its row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangeRow {
    sequence: i64,
    instant: i64,
    actor: String,
    change: String,
    checksum: i64,
}

/// Changes that follow what was known, as far as they can be followed.
pub(crate) struct Later {
    pub(crate) changes: Vec<(Entry, Change)>,
    /// Why those behind them cannot.
    pub(crate) stop: Option<PostgresError>,
    /// There may be more of them.
    pub(crate) is_full: bool,
}

impl ChangeRow {
    /// `None` when the change is longer than one may be.
    pub(crate) fn new(sequence: u64, instant: Instant, actor: &str, change: &[u8]) -> Option<Self> {
        let checksum = frame::checksums(sequence, instant.as_micros(), actor, change)?;
        Some(Self {
            sequence: i64::try_from(sequence).ok()?,
            instant: instant.as_micros(),
            actor: actor.to_owned(),
            change: String::from_utf8(change.to_vec()).ok()?,
            checksum: checksum.cast_signed(),
        })
    }

    fn read(row: &Row) -> Result<Self, Failure> {
        Ok(Self {
            sequence: row.try_get(0)?,
            instant: row.try_get(1)?,
            actor: row.try_get(2)?,
            change: row.try_get(3)?,
            checksum: row.try_get(4)?,
        })
    }

    /// The change as the files' log has it; what is wrong where the row is not as it was written.
    pub(crate) fn entry(&self) -> Result<Entry, &'static str> {
        let sequence = u64::try_from(self.sequence).map_err(|_| "its number is none")?;
        let change = self.change.as_bytes();
        let expected = frame::checksums(sequence, self.instant, &self.actor, change)
            .ok_or("it is longer than any change can be")?;
        let checksum = self.checksum.cast_unsigned();
        if expected >> 32 != checksum >> 32 {
            return Err("its number or instant does not match its checksum");
        }
        if expected != checksum {
            return Err("it does not match its checksum");
        }
        Ok(Entry {
            sequence,
            instant: Instant::from_micros(self.instant),
            actor: self.actor.clone(),
            change: change.to_vec(),
            offset: 0,
            checksum: (checksum & u64::from(u32::MAX)) as u32,
        })
    }
}

/// The changes after `head`, one page of them.
pub(crate) async fn later(sessions: &Sessions, head: Head) -> Result<Later, PostgresError> {
    let known = head.sequence.cast_signed();
    let asking = page(sessions, known, known);
    let rows = in_time(sessions, asking).await?;
    let mut is_full = false;
    if let Some(row) = rows.first() {
        schema::check(row.try_get(5)?)?;
        let found: i64 = row.try_get(6)?;
        is_full = found == PAGE || i64::try_from(rows.len()).is_ok_and(|count| count < found);
    }
    let rows: Vec<_> = rows.iter().map(ChangeRow::read).collect::<Result<_, _>>()?;
    let (changes, stop) = follow(head, &rows);
    Ok(Later { changes, stop, is_full })
}

/// A page of rows from number `from` on; the bytes of the row of number `known` do not count.
async fn page(sessions: &Sessions, from: i64, known: i64) -> Result<Vec<Row>, Failure> {
    let session = sessions.session(Purpose::Asking).await?;
    Ok(session.query(LATER, &[&from, &PAGE, &PAGE_BYTES, &known]).await?)
}

/// What is answered in time; otherwise the next question has a new session, which has what this one
/// may lack.
async fn in_time<T>(
    sessions: &Sessions,
    asking: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let answered = timeout(PATIENCE, asking).await;
    let answered = answered.unwrap_or(Err(Failure::Silent(PATIENCE)));
    if answered.is_err() {
        sessions.forget(Purpose::Asking);
    }
    answered
}

/// The changes after number `after`, one page of them, none where there are none.
pub(crate) async fn after(
    sessions: &Sessions,
    after: u64,
) -> Result<Vec<(Entry, Change)>, PostgresError> {
    let from = i64::try_from(after).unwrap_or(i64::MAX).saturating_add(1);
    let rows = in_time(sessions, page(sessions, from, NONE_KNOWN)).await?;
    let mut changes: Vec<(Entry, Change)> = Vec::with_capacity(rows.len());
    for row in &rows {
        let row = ChangeRow::read(row)?;
        let last = changes.last().map(|(entry, _)| Head::of(entry));
        let before = last.unwrap_or(Head { sequence: after, ..Head::EMPTY });
        changes.push(next(before, &row)?);
    }
    Ok(changes)
}

/// The changes that `rows` add to `head`, up to the first that cannot follow.
fn follow(head: Head, rows: &[ChangeRow]) -> (Vec<(Entry, Change)>, Option<PostgresError>) {
    let mut changes = Vec::new();
    let (mut last, mut rows) = (head, rows);
    if head != Head::EMPTY {
        let known = rows.split_first().and_then(|(row, left)| {
            rows = left;
            row.entry().ok()
        });
        if known.is_none_or(|known| Head::of(&known) != head) {
            return (changes, Some(PostgresError::Another { sequence: head.sequence }));
        }
    }
    for row in rows {
        match next(last, row) {
            Ok((entry, change)) => {
                last = Head::of(&entry);
                changes.push((entry, change));
            }
            Err(error) => return (changes, Some(error)),
        }
    }
    (changes, None)
}

/// The change of `row`, which must be the next after `last`.
fn next(last: Head, row: &ChangeRow) -> Result<(Entry, Change), PostgresError> {
    let sequence = last.sequence + 1;
    let damaged = |what| PostgresError::Damaged { sequence, what };
    if row.sequence != sequence.cast_signed() {
        return Err(damaged("it is missing, and others follow it"));
    }
    let entry = row.entry().map_err(damaged)?;
    if last != Head::EMPTY && entry.instant <= last.instant {
        return Err(damaged("it is dated before the one it follows"));
    }
    let change = serde_json::from_slice(&entry.change)
        .map_err(|source| PostgresError::UnknownChange { sequence, source })?;
    Ok((entry, change))
}

/// Adds `row` behind `head`; how many rows that were added.
pub(crate) async fn append(client: &Client, row: &ChangeRow, head: Head) -> Result<u64, Failure> {
    let (before, instant) = (head.sequence.cast_signed(), head.instant.as_micros());
    let checksum = i64::from(head.checksum);
    let ChangeRow { sequence, instant: at, actor, change, checksum: own } = row;
    let added = client
        .execute(
            APPEND,
            &[sequence, at, actor, change, own, &schema::FORMAT, &before, &instant, &checksum],
        )
        .await?;
    Ok(added)
}

/// The row of the same number as `row`.
pub(crate) async fn standing(
    client: &Client,
    row: &ChangeRow,
) -> Result<Option<ChangeRow>, Failure> {
    let there = "SELECT sequence, instant, actor, change, checksum \
                 FROM hearthgate_registry.changes WHERE sequence = $1";
    let found = client.query_opt(there, &[&row.sequence]).await?;
    found.as_ref().map(ChangeRow::read).transpose()
}

/// Adds all of `rows` where there is none, or nothing.
pub(crate) async fn copy(client: &Client, rows: &[ChangeRow]) -> Result<(), Failure> {
    let numbers = |of: fn(&ChangeRow) -> i64| rows.iter().map(of).collect::<Vec<_>>();
    let texts = |of: fn(&ChangeRow) -> &str| rows.iter().map(of).collect::<Vec<_>>();
    let (sequences, instants) = (numbers(|row| row.sequence), numbers(|row| row.instant));
    let (actors, changes) = (texts(|row| &row.actor), texts(|row| &row.change));
    let checksums = numbers(|row| row.checksum);
    client.execute(COPY, &[&sequences, &instants, &actors, &changes, &checksums]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVOKED: &[u8] = br#"{"change":"revokeTokens","tokens":{"client":"lab"}}"#;

    fn rows() -> Vec<ChangeRow> {
        let row = |sequence: u64| {
            let instant = Instant::from_micros(i64::try_from(sequence).unwrap() * 10);
            ChangeRow::new(sequence, instant, "test", REVOKED).unwrap()
        };
        (1..=4).map(row).collect()
    }

    fn followed(rows: &[ChangeRow]) -> (usize, Option<PostgresError>) {
        let (changes, stop) = follow(Head::EMPTY, rows);
        (changes.len(), stop)
    }

    // GW-064
    #[test]
    fn every_harm_to_a_row_is_named_and_what_stands_before_it_is_followed() {
        assert!(matches!(followed(&rows()), (4, None)));
        let harms: [fn(&mut Vec<ChangeRow>); 6] = [
            |rows| rows[2].actor = "Test".to_owned(),
            |rows| rows[2].change = rows[2].change.replace("lab", "lob"),
            |rows| rows[2].instant += 1,
            |rows| rows[2].checksum ^= 1,
            |rows| drop(rows.remove(2)),
            |rows| {
                let early = Instant::from_micros(20);
                rows[2] = ChangeRow::new(3, early, "test", REVOKED).unwrap();
            },
        ];
        for (number, harm) in harms.into_iter().enumerate() {
            let mut rows = rows();
            harm(&mut rows);
            let (count, stop) = followed(&rows);
            assert_eq!(count, 2, "harm {number}");
            assert!(
                matches!(stop, Some(PostgresError::Damaged { sequence: 3, .. })),
                "harm {number}: {stop:?}"
            );
        }
        let mut rows = rows();
        let unknown = br#"{"change":"ofALaterRelease"}"#;
        rows[3] = ChangeRow::new(4, Instant::from_micros(40), "test", unknown).unwrap();
        let (count, stop) = followed(&rows);
        assert!(matches!(stop, Some(PostgresError::UnknownChange { sequence: 4, .. })), "{stop:?}");
        assert_eq!(count, 3);
    }

    #[test]
    fn a_database_that_does_not_go_on_from_what_is_known_is_another() {
        let rows = rows();
        let head = |row: &ChangeRow| Head::of(&row.entry().unwrap());
        assert_eq!(follow(head(&rows[1]), &rows[1..]).0.len(), 2);
        let mut other = rows.clone();
        other[1] = ChangeRow::new(2, Instant::from_micros(21), "test", REVOKED).unwrap();
        for (what, rows) in [("other", &other[1..]), ("gone", &rows[2..]), ("empty", &[])] {
            let (changes, stop) = follow(head(&self::rows()[1]), rows);
            assert!(changes.is_empty(), "{what}");
            assert!(matches!(stop, Some(PostgresError::Another { sequence: 2 })), "{what}");
        }
    }
}
