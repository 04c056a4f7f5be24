//! Merging runs that follow each other in time into one, a little at a time, so that few runs
//! have to be asked and nothing waits for a merge.

use std::ops::Range;

use store::T;

use super::manifest::RunEntry;
use super::run::{Cursor, Run, RunWriter, Trees};
use crate::keys::first_position;
use crate::varint;

/// So many runs become one: each entry is written again for each eightfold growth.
const WIDTH: usize = 8;
/// Runs are alike when none has more than this many times what the others have together.
const ALIKE: u64 = 1;
/// With more runs, also those that are not alike are merged.
const MOST: usize = 40;

/// Which runs to merge: the newest that are alike, or, when there are too many, those whose
/// merging costs least.
pub(crate) fn next(runs: &[RunEntry]) -> Option<Range<usize>> {
    let window = |start: usize| start..start + WIDTH;
    let total = |range: &Range<usize>| runs[range.clone()].iter().map(|run| run.entries).sum();
    let starts = 0..(runs.len() + 1).saturating_sub(WIDTH);
    let alike = starts.clone().rev().map(window).find(|range| {
        let largest = runs[range.clone()].iter().map(|run| run.entries).max().unwrap_or(0);
        let all: u64 = total(range);
        largest <= ALIKE * (all - largest)
    });
    alike.or_else(|| {
        let windows = starts.map(window);
        windows.min_by_key(|range| total(range)).filter(|_| runs.len() > MOST)
    })
}

/// A merge under way.
#[derive(Debug)]
pub(crate) struct Merge {
    /// The numbers of the runs that become one, the oldest first.
    pub(crate) of: Vec<u64>,
    /// Where each stands that is not at its end.
    cursors: Vec<Cursor>,
    writer: RunWriter,
}

impl Merge {
    /// Begins to write the run `number` from these.
    pub(crate) fn start(trees: &Trees, number: u64, runs: &[RunEntry]) -> Result<Self, String> {
        let mut cursors = Vec::with_capacity(runs.len());
        for run in runs {
            cursors.extend(Cursor::seek(trees, run.number, &[])?);
        }
        let entries = runs.iter().map(|run| run.entries).sum();
        Ok(Self {
            of: runs.iter().map(|run| run.number).collect(),
            cursors,
            writer: RunWriter::new(trees, number, entries),
        })
    }

    /// Takes at most `entries` more; says whether that was not all.
    pub(crate) fn step(&mut self, entries: usize) -> Result<bool, String> {
        for _ in 0..entries {
            let keys = self.cursors.iter().enumerate().map(|(at, cursor)| (cursor.key(), at));
            let Some((key, at)) = keys.min() else {
                return Ok(false);
            };
            let alone = self.cursors.iter().filter(|cursor| cursor.key() == key).count() == 1;
            if alone {
                let cursor = &self.cursors[at];
                self.writer.push(cursor.key(), cursor.value())?;
                self.advance(at)?;
            } else {
                let key = key.to_vec();
                self.take_equal(&key)?;
            }
        }
        Ok(true)
    }

    /// Takes a key that several have, which is a bearer's: the first position counts.
    fn take_equal(&mut self, key: &[u8]) -> Result<(), String> {
        let mut first = T::new(u64::MAX);
        for at in (0..self.cursors.len()).rev() {
            if self.cursors[at].key() == key {
                let position = first_position(self.cursors[at].value());
                first = first.min(position.ok_or("a key in it stands there twice")?);
                self.advance(at)?;
            }
        }
        let mut value = Vec::new();
        varint::put(first.get(), &mut value);
        self.writer.push(key, &value)
    }

    fn advance(&mut self, at: usize) -> Result<(), String> {
        if !self.cursors[at].advance()? {
            self.cursors.remove(at);
        }
        Ok(())
    }

    /// The one run, which counts once a manifest names it in the place of those it is made of.
    pub(crate) fn finish(self) -> Result<Run, String> {
        self.writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(entries: &[u64]) -> Vec<RunEntry> {
        let run = |(number, entries): (u64, &u64)| RunEntry {
            number,
            entries: *entries,
            sum: 0,
            filter_words: 1,
            filter_checksum: 0,
        };
        (0..).zip(entries).map(run).collect()
    }

    #[test]
    fn the_newest_runs_that_are_alike_are_merged() {
        assert_eq!(next(&runs(&[])), None);
        assert_eq!(next(&runs(&[8; 7])), None);
        assert_eq!(next(&runs(&[8; 8])), Some(0..8));
        assert_eq!(next(&runs(&[1000, 8, 8, 8, 8, 8, 8, 8])), None);
        assert_eq!(next(&runs(&[1000, 8, 8, 8, 8, 8, 8, 8, 8])), Some(1..9));
        assert_eq!(next(&runs(&[64, 32, 32, 8, 8, 8, 8, 8, 1])), Some(1..9));
    }

    /// However commits come, there are few runs, and each entry is merged seldom.
    #[test]
    fn runs_stay_few_and_merging_cheap() {
        let patterns: [fn(u64) -> u64; 3] =
            [|_| 1, |_| 8192, |at| if at.is_multiple_of(4) { 100_000 } else { 1 }];
        for of in patterns {
            let (mut entries, mut written, mut merged) = (Vec::new(), 0, 0);
            for at in 0..20_000 {
                entries.push(of(at));
                written += of(at);
                while let Some(range) = next(&runs(&entries)) {
                    let sum = entries[range.clone()].iter().sum::<u64>();
                    merged += sum;
                    entries.splice(range, [sum]);
                }
                assert!(entries.len() <= MOST, "{entries:?}");
            }
            assert!(merged < 16 * written, "{merged} of {written}");
        }
    }
}
