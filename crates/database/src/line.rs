//! Who waits for the serial step, and which of two threads does which part of it.
//!
//! The step has two places: one thread judges, one has the disk. Whoever judges keeps adding to
//! its group while the disk is busy, then takes the disk and leaves the judging to the other.
//! With little to do one thread does both in turn and the other is not woken.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// While the disk is busy, judging begins when so many wait: waking a thread for each would cost
/// more than it gains.
const WORTH_WAKING: usize = 16;
/// While a group is smaller than the last ones it waits for more, even for an idle disk, as long
/// as one came within this time: those whose answers just left are asking again.
const EXPECTED_WITHIN: Duration = Duration::from_micros(150);
/// It waits so often at most.
const WAITS: u32 = 6;

/// The line, of jobs `J` with a size in bytes.
#[derive(Debug)]
pub(crate) struct Line<J> {
    state: Mutex<State<J>>,
    /// Threads without a place wait here.
    place: Condvar,
    /// The one that judges waits here.
    judge: Condvar,
    /// The most that wait.
    limit: usize,
    /// The most of a group, and their most bytes; the first of a group may be larger.
    group: usize,
    group_bytes: usize,
}

#[derive(Debug)]
struct State<J> {
    jobs: VecDeque<(J, usize)>,
    open: bool,
    /// A thread ended by a panic: nothing of what is here is done any more.
    ended: bool,
    judging: bool,
    disk_busy: bool,
    /// What the one that judges waits for.
    judge_waits: Waits,
    /// What it has taken in, and their bytes.
    gathered: usize,
    gathered_bytes: usize,
    /// How many it had when it last waited for more, and how often it did.
    waited_with: usize,
    waits: u32,
    /// How many groups were not written.
    failures: u64,
    /// The sizes of the last two groups.
    sizes: [usize; 2],
}

impl<J> State<J> {
    /// How many a group is expected to have: half of those who lately asked at once, so that
    /// while their group is written the other half makes its own ready.
    fn expected(&self) -> usize {
        self.sizes[0].max(self.sizes[1]) / 2
    }

    /// Whether the group that is judged should wait for more while the disk is idle.
    fn may_grow(&self) -> bool {
        let small = self.gathered > 0 && self.gathered < self.expected();
        small && self.gathered > self.waited_with && self.waits < WAITS
    }

    /// Whether what waits is worth waking the one that judges.
    fn is_worth_waking(&self) -> bool {
        let waiting = self.jobs.len();
        if self.disk_busy {
            return waiting >= WORTH_WAKING;
        }
        self.gathered == 0 || self.gathered + waiting >= self.expected()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    No,
    ForJobsOrTheDisk,
    ForTheDisk,
}

/// Why a job was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    Full,
    Closed,
}

/// On what a group is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Basis {
    /// The group before is still being written.
    pub(crate) over_the_group_before: bool,
    /// How many groups were not written until then.
    pub(crate) failures: u64,
}

/// What the one that judges does next.
#[derive(Debug)]
pub(crate) enum Next<J> {
    /// Judge this one too; its size in bytes.
    Job(J, usize),
    /// Its group is ready, the disk is its own, and another may judge.
    Disk,
    /// There was nothing in its group, and another may judge.
    Nothing,
    /// All has ended.
    Ended,
}

impl<J> Line<J> {
    pub(crate) fn new(limit: usize, group: usize, group_bytes: usize) -> Self {
        let state = State {
            jobs: VecDeque::new(),
            open: true,
            ended: false,
            judging: false,
            disk_busy: false,
            judge_waits: Waits::No,
            gathered: 0,
            gathered_bytes: 0,
            waited_with: 0,
            waits: 0,
            failures: 0,
            sizes: [0; 2],
        };
        Self {
            state: Mutex::new(state),
            place: Condvar::new(),
            judge: Condvar::new(),
            limit,
            group,
            group_bytes,
        }
    }

    /// Puts a job of `size` bytes at the end.
    pub(crate) fn join(&self, job: J, size: usize) -> Result<(), NotTaken> {
        let mut state = self.state.lock();
        if !state.open {
            return Err(NotTaken::Closed);
        }
        if state.jobs.len() + state.gathered >= self.limit {
            return Err(NotTaken::Full);
        }
        state.jobs.push_back((job, size));
        let worth = state.is_worth_waking();
        let (judging, judge_waits) = (state.judging, state.judge_waits);
        drop(state);
        if worth && judge_waits == Waits::ForJobsOrTheDisk {
            self.judge.notify_one();
        } else if worth && !judging {
            self.place.notify_one();
        }
        Ok(())
    }

    /// Whether anything may join.
    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().open
    }

    /// Takes nothing more; what is here is still done.
    pub(crate) fn close(&self) {
        self.state.lock().open = false;
        self.place.notify_all();
    }

    /// Ends at once, when a thread cannot go on: what waits is dropped.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        (state.open, state.ended) = (false, true);
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        self.place.notify_all();
        self.judge.notify_all();
        drop(jobs);
    }

    /// Waits until there is something to judge and nobody does; `None` when all is done.
    pub(crate) fn judge(&self) -> Option<Basis> {
        let mut state = self.state.lock();
        loop {
            if state.ended || (!state.open && state.jobs.is_empty()) {
                drop(state);
                self.place.notify_all();
                return None;
            }
            let worth = !state.disk_busy || state.jobs.len() >= WORTH_WAKING;
            if !state.judging && !state.jobs.is_empty() && worth {
                break;
            }
            self.place.wait(&mut state);
        }
        state.judging = true;
        (state.gathered, state.gathered_bytes) = (0, 0);
        (state.waited_with, state.waits) = (0, 0);
        Some(Basis { over_the_group_before: state.disk_busy, failures: state.failures })
    }

    /// For the one that judges: waits until the group before is written or not, and says what its
    /// own rests on then.
    pub(crate) fn wait_for_the_group_before(&self) -> Basis {
        let mut state = self.state.lock();
        while state.disk_busy && !state.ended {
            state.judge_waits = Waits::ForTheDisk;
            self.judge.wait(&mut state);
            state.judge_waits = Waits::No;
        }
        Basis { over_the_group_before: false, failures: state.failures }
    }

    /// For the one that judges: what next.
    pub(crate) fn next(&self) -> Next<J> {
        let mut state = self.state.lock();
        loop {
            if state.ended {
                return Next::Ended;
            }
            let takes_more = state.gathered < self.group;
            let fits =
                |size| state.gathered == 0 || state.gathered_bytes + size <= self.group_bytes;
            let more = takes_more && state.jobs.front().is_none_or(|&(_, size)| fits(size));
            if more && let Some((job, size)) = state.jobs.pop_front() {
                state.gathered += 1;
                state.gathered_bytes += size;
                return Next::Job(job, size);
            }
            let nothing = state.gathered == 0;
            if nothing || !state.disk_busy {
                if more && state.may_grow() {
                    (state.waited_with, state.waits) = (state.gathered, state.waits + 1);
                    state.judge_waits = Waits::ForJobsOrTheDisk;
                    self.judge.wait_for(&mut state, EXPECTED_WITHIN);
                    state.judge_waits = Waits::No;
                    continue;
                }
                state.judging = false;
                state.disk_busy |= !nothing;
                if !nothing {
                    state.sizes = [state.sizes[1], state.gathered];
                }
                state.gathered = 0;
                let worth = state.jobs.len() >= WORTH_WAKING;
                drop(state);
                if worth {
                    self.place.notify_one();
                }
                return if nothing { Next::Nothing } else { Next::Disk };
            }
            state.judge_waits = if more { Waits::ForJobsOrTheDisk } else { Waits::ForTheDisk };
            self.judge.wait(&mut state);
            state.judge_waits = Waits::No;
        }
    }

    /// For the one that judges: the job it took last is not in its group.
    pub(crate) fn leave_out(&self, size: usize) {
        let mut state = self.state.lock();
        state.gathered -= 1;
        state.gathered_bytes -= size;
    }

    /// For the one that has the disk: whether what its group rests on was written.
    pub(crate) fn holds(&self, basis: Basis) -> bool {
        self.state.lock().failures == basis.failures
    }

    /// For the one that has the disk: its group was not written.
    pub(crate) fn fail(&self) {
        self.state.lock().failures += 1;
    }

    /// For the one that has the disk: gives it up.
    pub(crate) fn give_up_the_disk(&self) {
        let mut state = self.state.lock();
        state.disk_busy = false;
        let judge_waits = state.judge_waits != Waits::No;
        drop(state);
        if judge_waits {
            self.judge.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, Next, NotTaken, WAITS};

    fn line() -> Line<u32> {
        Line::new(6, 4, 100)
    }

    /// What one that judges takes, and how it ends.
    fn gather(line: &Line<u32>) -> (Vec<u32>, Next<u32>) {
        let mut taken = Vec::new();
        loop {
            match line.next() {
                Next::Job(job, _) => taken.push(job),
                end => return (taken, end),
            }
        }
    }

    #[test]
    fn a_group_keeps_its_bounds_and_the_first_may_pass_them() {
        let line = line();
        for (job, size) in [(1, 500), (2, 60), (3, 40), (4, 1)] {
            line.join(job, size).unwrap();
        }
        for expected in [&[1][..], &[2, 3], &[4]] {
            let basis = line.judge().unwrap();
            assert!(!basis.over_the_group_before && line.holds(basis));
            let (taken, end) = gather(&line);
            assert!(matches!(end, Next::Disk));
            assert_eq!(taken, expected);
            line.give_up_the_disk();
        }
    }

    #[test]
    fn as_many_as_may_wait_are_taken_those_that_are_judged_included() {
        let line = line();
        (0..6).for_each(|job| line.join(job, 1).unwrap());
        assert_eq!(line.join(6, 1), Err(NotTaken::Full));
        line.judge().unwrap();
        assert!(matches!(line.next(), Next::Job(0, 1)));
        assert_eq!(line.join(6, 1), Err(NotTaken::Full));
        assert_eq!(gather(&line).0, [1, 2, 3]);
        line.join(6, 1).unwrap();
        line.close();
        assert_eq!(line.join(7, 1), Err(NotTaken::Closed));
    }

    #[test]
    fn what_is_left_out_makes_no_group() {
        let line = line();
        line.join(1, 5).unwrap();
        line.judge().unwrap();
        assert!(matches!(line.next(), Next::Job(1, 5)));
        line.leave_out(5);
        assert!(matches!(line.next(), Next::Nothing));
        line.join(2, 5).unwrap();
        assert!(!line.judge().unwrap().over_the_group_before);
    }

    /// Whoever is alone after many waits for none of them for long.
    #[test]
    fn a_group_smaller_than_the_last_ones_comes_to_the_disk_all_the_same() {
        let line = Line::new(1000, 1000, 1000);
        let mut sizes = Vec::new();
        for size in [64, 64, 1, 1, 1, 1] {
            (0..size).for_each(|job| line.join(job, 0).unwrap());
            line.judge().unwrap();
            let (taken, end) = gather(&line);
            assert!(matches!(end, Next::Disk));
            sizes.push((taken.len(), line.state.lock().waits));
            line.give_up_the_disk();
        }
        // Nobody came: it waited once, and no more when the many are forgotten.
        assert_eq!(sizes, [(64, 0), (64, 0), (1, 1), (1, 1), (1, 0), (1, 0)]);
        const { assert!(WAITS > 1) };
    }

    #[test]
    fn a_group_that_was_not_written_is_known_to_the_one_that_rests_on_it() {
        let line = line();
        line.join(1, 1).unwrap();
        let first = line.judge().unwrap();
        gather(&line);
        (0..4).for_each(|job| line.join(job, 1).unwrap());
        line.fail();
        assert!(!line.holds(first));
        line.give_up_the_disk();
        let second = line.judge().unwrap();
        assert!(line.holds(second) && second != first);
    }

    #[test]
    fn the_end_is_an_end_for_all() {
        let line = line();
        line.join(1, 1).unwrap();
        line.judge().unwrap();
        line.end();
        assert!(matches!(line.next(), Next::Ended));
        assert!(line.judge().is_none() && !line.is_open());
    }
}
