//! An event as bytes.
//!
//! Numbers are varints (LEB128, the shortest form), texts their length and bytes. In order: form
//! (1, and 1 more with an instant when it happened, 2 more with an id that it was told as), instant
//! (8 bytes, little-endian), where the form says so the instant when it happened and that id,
//! request id, a byte that says which optional texts follow and whether the caller is restricted, those texts (client, user, user as a resource, purpose,
//! break-glass, query, and by the highest bit the role), the act, the outcome (1), entries, resources
//! shown, patients: each a number of them and they. An act is its kind (1), a byte that says what
//! follows, that, and its status. There is one way to write an event.

use fhir_core::Instant;

use super::{Act, Event, KINDS, Kind, Outcome, Shown};

/// The form of what was told when it happened, and what is added to it for what was told of later.
const FORM: u8 = 1;
const HAS_OCCURRED: u8 = 1;
const HAS_TOLD_AS: u8 = 2;
const LAST_FORM: u8 = FORM + HAS_OCCURRED + HAS_TOLD_AS;
/// The longest text, in bytes: beyond it a query is cut.
const LONGEST: usize = 1 << 16;
const RESTRICTED: u8 = 1 << 6;
const HAS_ROLE: u8 = 1 << 7;
const OUTCOMES: [Outcome; 5] =
    [Outcome::Done, Outcome::Denied, Outcome::NotFound, Outcome::Refused, Outcome::Failed];

/// These bytes are no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no event of the audit log")]
pub struct InvalidEvent;

/// Appends the event.
pub fn encode(event: &Event, into: &mut Vec<u8>) {
    let occurred = event.occurred.map_or(0, |_| HAS_OCCURRED);
    into.push(FORM + occurred + event.told_as.as_ref().map_or(0, |_| HAS_TOLD_AS));
    for instant in [Some(event.instant), event.occurred].into_iter().flatten() {
        into.extend_from_slice(&instant.as_micros().to_le_bytes());
    }
    event.told_as.iter().for_each(|id| text(id, into));
    text(&event.request_id, into);
    let texts = optional(event);
    let mut flags = if event.restricted { RESTRICTED } else { 0 };
    for (at, given) in texts.iter().enumerate() {
        flags |= u8::from(given.is_some()) << at;
    }
    flags |= if event.role.is_some() { HAS_ROLE } else { 0 };
    into.push(flags);
    texts.into_iter().flatten().for_each(|given| text(given, into));
    event.role.iter().for_each(|role| text(role, into));
    act(&event.act, into);
    let outcome = OUTCOMES.iter().position(|outcome| *outcome == event.outcome);
    into.push(outcome.and_then(|at| u8::try_from(at).ok()).unwrap_or_default());
    number(event.entries.len() as u64, into);
    event.entries.iter().for_each(|entry| act(entry, into));
    number(event.shown.len() as u64, into);
    for shown in &event.shown {
        text(&shown.resource_type, into);
        text(&shown.id, into);
        number(shown.version, into);
    }
    number(event.patients.len() as u64, into);
    event.patients.iter().for_each(|patient| text(patient, into));
}

/// The optional texts, in the order of their bits.
fn optional(event: &Event) -> [Option<&str>; 6] {
    [
        event.client.as_deref(),
        event.user.as_deref(),
        event.fhir_user.as_deref(),
        event.purpose.as_deref(),
        event.break_glass.as_deref(),
        event.query.as_deref(),
    ]
}

fn act(act: &Act, into: &mut Vec<u8>) {
    into.push(act.kind.0);
    let texts = [act.name.as_deref(), act.resource_type.as_deref(), act.id.as_deref()];
    let mut flags = u8::from(act.version.is_some()) << 3;
    for (at, given) in texts.iter().enumerate() {
        flags |= u8::from(given.is_some()) << at;
    }
    into.push(flags);
    texts.into_iter().flatten().for_each(|given| text(given, into));
    if let Some(version) = act.version {
        number(version, into);
    }
    number(u64::from(act.status), into);
}

fn text(text: &str, into: &mut Vec<u8>) {
    let text = &text[..text.floor_char_boundary(LONGEST)];
    number(text.len() as u64, into);
    into.extend_from_slice(text.as_bytes());
}

fn number(mut value: u64, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// The event of these bytes, all of them.
///
/// # Errors
/// [`InvalidEvent`].
pub fn decode(bytes: &[u8]) -> Result<Event, InvalidEvent> {
    let mut reader = Reader(bytes);
    let event = reader.event().ok_or(InvalidEvent)?;
    if reader.0.is_empty() { Ok(event) } else { Err(InvalidEvent) }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn event(&mut self) -> Option<Event> {
        let form = self.byte()?;
        let has = (FORM..=LAST_FORM).contains(&form).then(|| form - FORM)?;
        let instant = self.instant()?;
        let occurred = if has & HAS_OCCURRED == 0 { None } else { Some(self.instant()?) };
        let told_as = if has & HAS_TOLD_AS == 0 { None } else { Some(self.text()?) };
        let request_id = self.text()?;
        let flags = self.byte()?;
        let mut given = |bit: u8| match flags >> bit & 1 {
            0 => Some(None),
            _ => self.text().map(Some),
        };
        let (client, user, fhir_user) = (given(0)?, given(1)?, given(2)?);
        let (purpose, break_glass, query) = (given(3)?, given(4)?, given(5)?);
        let role = given(7)?;
        let act = self.act()?;
        let outcome = *OUTCOMES.get(usize::from(self.byte()?))?;
        let entries = self.list(Self::act)?;
        let shown = self.list(|reader| {
            Some(Shown {
                resource_type: reader.text()?,
                id: reader.text()?,
                version: reader.number()?,
            })
        })?;
        let patients = self.list(Self::text)?;
        let restricted = flags & RESTRICTED != 0;
        Some(Event {
            instant,
            occurred,
            told_as,
            request_id,
            client,
            user,
            fhir_user,
            role,
            purpose,
            break_glass,
            act,
            entries,
            shown,
            patients,
            query,
            outcome,
            restricted,
        })
    }

    fn instant(&mut self) -> Option<Instant> {
        let (instant, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        let micros = i64::from_le_bytes(*instant);
        let instant = Instant::from_micros(micros);
        (instant.as_micros() == micros).then_some(instant)
    }

    fn act(&mut self) -> Option<Act> {
        let kind = self.byte()?;
        (usize::from(kind) < KINDS.len()).then_some(())?;
        let flags = self.byte()?;
        (flags < 1 << 4).then_some(())?;
        let mut given = |bit: u8| match flags >> bit & 1 {
            0 => Some(None),
            _ => self.text().map(Some),
        };
        let (name, resource_type, id) = (given(0)?, given(1)?, given(2)?);
        let version = if flags >> 3 == 1 { Some(self.number()?) } else { None };
        let status = u16::try_from(self.number()?).ok()?;
        Some(Act { kind: Kind(kind), name, resource_type, id, version, status })
    }

    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.number()?).ok()?;
        // Each takes a byte at least: no number makes more room than there are bytes.
        let mut list = Vec::with_capacity(count.min(self.0.len()));
        for _ in 0..count {
            list.push(read(self)?);
        }
        Some(list)
    }

    fn text(&mut self) -> Option<Box<str>> {
        let length = usize::try_from(self.number()?).ok()?;
        (length <= LONGEST).then_some(())?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(Box::from)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for at in 0..10 {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            // What would not fit, and what is not the shortest form.
            if (at == 9 && part > 1) || (at > 0 && byte == 0) {
                return None;
            }
            value |= part << (7 * at);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::option::of;
    use proptest::prelude::*;

    fn any_text() -> impl Strategy<Value = Box<str>> {
        "[a-zA-Z0-9/=&ä-]{0,20}".prop_map(String::into_boxed_str)
    }

    fn any_act() -> impl Strategy<Value = Act> {
        let texts = (of(any_text()), of(any_text()), of(any_text()));
        (0..KINDS.len(), texts, of(any::<u64>()), any::<u16>()).prop_map(
            |(kind, (name, resource_type, id), version, status)| Act {
                kind: Kind::of(KINDS[kind]).unwrap(),
                name,
                resource_type,
                id,
                version,
                status,
            },
        )
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let who = (of(any_text()), of(any_text()), of(any_text()), of(any_text()), of(any_text()));
        let shown = (any_text(), any_text(), any::<u64>())
            .prop_map(|(resource_type, id, version)| Shown { resource_type, id, version });
        let lists = (
            prop::collection::vec(any_act(), 0..4),
            prop::collection::vec(shown, 0..4),
            prop::collection::vec(any_text(), 0..4),
        );
        let rest = ((of(any_text()), of(any_text())), 0..OUTCOMES.len(), any::<bool>());
        let when = (any::<i64>(), of(any::<i64>()), of(any_text()));
        ((when, any_text()), who, any_act(), lists, rest).prop_map(
            |(
                ((micros, occurred, told_as), request_id),
                who,
                act,
                lists,
                ((query, role), outcome, restricted),
            )| {
                let (client, user, fhir_user, purpose, break_glass) = who;
                let (entries, shown, patients) = lists;
                Event {
                    instant: Instant::from_micros(micros),
                    occurred: occurred.map(Instant::from_micros),
                    told_as,
                    request_id,
                    client,
                    user,
                    fhir_user,
                    role,
                    purpose,
                    break_glass,
                    act,
                    entries,
                    shown,
                    patients,
                    query,
                    outcome: OUTCOMES[outcome],
                    restricted,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn an_event_is_read_as_it_was_written_and_no_part_of_it_is_one(event in any_event()) {
            let mut bytes = Vec::new();
            encode(&event, &mut bytes);
            prop_assert_eq!(decode(&bytes), Ok(event));
            for length in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..length]), Err(InvalidEvent));
            }
        }

        #[test]
        fn any_bytes_are_an_event_written_so_or_none(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            form in FORM..=LAST_FORM,
        ) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = form;
            }
            if let Ok(event) = decode(&bytes) {
                let mut again = Vec::new();
                encode(&event, &mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn a_kind_has_its_code() {
        for code in KINDS {
            assert_eq!(Kind::of(code).unwrap().code(), code);
        }
        assert_eq!(Kind::of("teleport"), None);
    }
}
