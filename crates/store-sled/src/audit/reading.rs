//! Reading the audit log back, the newest event first.

use std::borrow::Cow;
use std::io;
use std::ops::ControlFlow;

use store::audit::{Extent, Reached, Unreadable, Visit, decode};

use super::frame::{self, Group, SegmentHeader};
use super::patients::hash_of;
use super::segments::{Folder, Segment};
use super::{Shared, additional};

/// More than any segment's header has.
const HEAD: usize = 256;

impl Folder {
    /// The header of a segment; `None` when it is none.
    pub(super) fn head(&self, number: u64) -> io::Result<Option<SegmentHeader>> {
        let file = self.disk().open_to_read(&self.segment(number))?;
        let length = usize::try_from(file.length()?).unwrap_or(HEAD).min(HEAD);
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(SegmentHeader::decode(&bytes).map(|(header, _)| header))
    }
}

impl Shared {
    pub(super) fn read(
        &self,
        extent: &Extent,
        visit: &mut Visit<'_>,
    ) -> Result<Reached, Unreadable> {
        let failed = |error: io::Error| Unreadable(error.to_string());
        let mut numbers = self.folder.numbers().map_err(failed)?;
        let patient = extent.patient.as_deref().map(hash_of);
        let mut looked_at = 0;
        while let Some(number) = numbers.pop() {
            let header = match self.folder.head(number) {
                // Removed meanwhile, as all before it are.
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                header => header.map_err(failed)?,
            };
            // What is damaged there, `audit verify` says.
            let Some(header) = header else { continue };
            if header.since >= extent.instants.end
                || extent.before.is_some_and(|before| header.first >= before)
            {
                continue;
            }
            let without = patient.and_then(|patient| self.without(&header, patient));
            looked_at += match without {
                Some(bytes) => bytes,
                None => {
                    let segment = self.folder.load(number, &self.tenant).map_err(failed)?;
                    let Some(segment) = segment else { continue };
                    if self.read_segment(&segment, extent, visit)?.is_break() {
                        return Ok(Reached::Beginning);
                    }
                    segment.bytes.len() as u64
                }
            };
            if header.since < extent.instants.start {
                break;
            }
            if looked_at > extent.most_bytes && !numbers.is_empty() {
                return Ok(Reached::Number(header.first));
            }
        }
        Ok(Reached::Beginning)
    }

    fn read_segment(
        &self,
        segment: &Segment,
        extent: &Extent,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, Unreadable> {
        let mut groups = Vec::new();
        segment.walk(|group| groups.push(group));
        for group in groups.into_iter().rev() {
            if group.begins >= extent.instants.end
                || group.ends < extent.instants.start
                || extent.before.is_some_and(|before| group.first >= before)
            {
                continue;
            }
            let body = self.unsealed(&segment.header, &group)?;
            let malformed = || Unreadable(format!("the group of event {} is none", group.first));
            let events = frame::events(&body).ok_or_else(malformed)?;
            for (at, event) in events.into_iter().enumerate().rev() {
                let number = group.first + at as u64;
                let event = decode(event).map_err(|_| malformed())?;
                if !extent.instants.contains(&event.instant)
                    || extent.before.is_some_and(|before| number >= before)
                {
                    continue;
                }
                if visit(number, event).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
    /// The body of a group.
    pub(super) fn unsealed<'a>(
        &self,
        header: &SegmentHeader,
        group: &Group<'a>,
    ) -> Result<Cow<'a, [u8]>, Unreadable> {
        self.unsealed_with(header, &additional(header, group.first), group.body)
    }

    pub(super) fn unsealed_with<'a>(
        &self,
        header: &SegmentHeader,
        additional: &[u8],
        body: &'a [u8],
    ) -> Result<Cow<'a, [u8]>, Unreadable> {
        if !header.is_sealed() {
            return Ok(Cow::Borrowed(body));
        }
        let keys = self.keys.as_ref();
        let keys = keys.ok_or_else(|| Unreadable("it is sealed, without keys".into()))?;
        let opened = keys.unseal(keys.of_derived(&header.key), additional, body);
        opened.map(Cow::Owned).map_err(|error| Unreadable(error.to_string()))
    }
}
