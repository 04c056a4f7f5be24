//! Who waits for the serial step, and which of two threads does which part of it.
//!
//! The step has two places: one thread judges, one has the disk. Whoever judges keeps adding to
//! its group while the disk is busy, then takes the disk and leaves the judging to the other.
//! With little to do one thread does both in turn and the other is not woken.
//!
//! Large jobs wait aside and are groups of their own: a few groups of small ones go before each,
//! and at least one between two of them, so that no small one waits for more than one large, and
//! no large one for more than those few (`PASSED_OVER`). What follows from what waits is in `state`.

mod state;

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use self::state::{State, WORTH_WAKING, Waits};

/// While a group is smaller than the last ones it waits for more, even for an idle disk, as long
/// as one came within this time: those whose answers just left are asking again.
const EXPECTED_WITHIN: Duration = Duration::from_micros(150);
/// The most bytes of a group of large jobs, of which the first may be larger: small ones wait
/// while it is judged and written.
const LARGE_GROUP_BYTES: usize = 1 << 20;

/// A large job of so many bytes is a group of its own.
pub(crate) const ALONE: usize = LARGE_GROUP_BYTES + 1;

/// How much work a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    Small,
    Large,
}

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
            small: VecDeque::new(),
            large: VecDeque::new(),
            passed_over: 0,
            open: true,
            ended: false,
            judging: false,
            disk_busy: false,
            judge_waits: Waits::No,
            weight: Weight::Small,
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

    /// Puts a job of `size` bytes at the end of those of its weight.
    pub(crate) fn join(&self, job: J, size: usize, weight: Weight) -> Result<(), NotTaken> {
        let mut state = self.state.lock();
        if !state.open {
            return Err(NotTaken::Closed);
        }
        if state.waiting() + state.gathered >= self.limit {
            return Err(NotTaken::Full);
        }
        match weight {
            Weight::Small => state.small.push_back((job, size)),
            Weight::Large => state.large.push_back((job, size)),
        }
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

    /// How many wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        let state = self.state.lock();
        state.waiting() + state.gathered
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
        let jobs = (std::mem::take(&mut state.small), std::mem::take(&mut state.large));
        drop(state);
        self.place.notify_all();
        self.judge.notify_all();
        drop(jobs);
    }

    /// Waits until there is something to judge and nobody does; `None` when all is done.
    pub(crate) fn judge(&self) -> Option<Basis> {
        let mut state = self.state.lock();
        loop {
            if state.ended || (!state.open && state.waiting() == 0) {
                drop(state);
                self.place.notify_all();
                return None;
            }
            let worth = !state.disk_busy || state.waiting() >= WORTH_WAKING;
            if !state.judging && state.waiting() > 0 && worth {
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
            if state.gathered == 0 {
                state.weight = state.weight_of_next();
            }
            let large = state.weight == Weight::Large;
            let bytes =
                if large { self.group_bytes.min(LARGE_GROUP_BYTES) } else { self.group_bytes };
            let fits = |size| state.gathered == 0 || state.gathered_bytes + size <= bytes;
            let queue = if large { &state.large } else { &state.small };
            // Nobody waits for another large one to come.
            let more = state.gathered < self.group
                && queue.front().map_or(!large, |&(_, size)| fits(size));
            let queue = if large { &mut state.large } else { &mut state.small };
            if more && let Some((job, size)) = queue.pop_front() {
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
                if large {
                    state.passed_over = 0;
                } else if !nothing {
                    state.sizes = [state.sizes[1], state.gathered];
                    state.passed_over += u32::from(!state.large.is_empty());
                }
                state.gathered = 0;
                let worth = state.waiting() >= WORTH_WAKING;
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
    use super::state::{PASSED_OVER, WAITS};
    use super::{ALONE, LARGE_GROUP_BYTES, Line, Next, NotTaken, Weight};

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
            line.join(job, size, Weight::Small).unwrap();
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
        (0..6).for_each(|job| line.join(job, 1, Weight::Small).unwrap());
        assert_eq!(line.join(6, 1, Weight::Small), Err(NotTaken::Full));
        line.judge().unwrap();
        assert!(matches!(line.next(), Next::Job(0, 1)));
        assert_eq!(line.join(6, 1, Weight::Small), Err(NotTaken::Full));
        assert_eq!(gather(&line).0, [1, 2, 3]);
        line.join(6, 1, Weight::Small).unwrap();
        line.close();
        assert_eq!(line.join(7, 1, Weight::Small), Err(NotTaken::Closed));
    }

    #[test]
    fn what_is_left_out_makes_no_group() {
        let line = line();
        line.join(1, 5, Weight::Small).unwrap();
        line.judge().unwrap();
        assert!(matches!(line.next(), Next::Job(1, 5)));
        line.leave_out(5);
        assert!(matches!(line.next(), Next::Nothing));
        line.join(2, 5, Weight::Small).unwrap();
        assert!(!line.judge().unwrap().over_the_group_before);
    }

    /// Whoever is alone after many waits for none of them for long.
    #[test]
    fn a_group_smaller_than_the_last_ones_comes_to_the_disk_all_the_same() {
        let line = Line::new(1000, 1000, 1000);
        let mut sizes = Vec::new();
        for size in [64, 64, 1, 1, 1, 1] {
            (0..size).for_each(|job| line.join(job, 0, Weight::Small).unwrap());
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
        line.join(1, 1, Weight::Small).unwrap();
        let first = line.judge().unwrap();
        gather(&line);
        (0..4).for_each(|job| line.join(job, 1, Weight::Small).unwrap());
        line.fail();
        assert!(!line.holds(first));
        line.give_up_the_disk();
        let second = line.judge().unwrap();
        assert!(line.holds(second) && second != first);
    }

    /// The jobs of the next group, which is then written.
    fn group(line: &Line<u32>) -> Vec<u32> {
        line.judge().unwrap();
        let (taken, end) = gather(line);
        assert!(matches!(end, Next::Disk));
        line.give_up_the_disk();
        taken
    }

    #[test]
    fn a_large_job_waits_for_a_few_groups_of_small_ones_and_no_longer() {
        let line = line();
        line.join(100, 1, Weight::Large).unwrap();
        for passed in 0..PASSED_OVER {
            line.join(passed, 1, Weight::Small).unwrap();
            assert_eq!(group(&line), [passed]);
        }
        line.join(50, 1, Weight::Small).unwrap();
        assert_eq!(group(&line), [100]);
        assert_eq!(group(&line), [50]);
    }

    #[test]
    fn between_two_large_jobs_small_ones_go_that_came_meanwhile() {
        let line = Line::new(100, 4, LARGE_GROUP_BYTES);
        let size = LARGE_GROUP_BYTES / 2 + 1;
        line.join(100, size, Weight::Large).unwrap();
        line.join(101, size, Weight::Large).unwrap();
        // None waits: the first goes at once, and alone, since both are too much.
        assert_eq!(group(&line), [100]);
        line.join(1, 1, Weight::Small).unwrap();
        assert_eq!(group(&line), [1]);
        assert_eq!(group(&line), [101]);
    }

    #[test]
    fn large_jobs_share_a_group_when_no_small_ones_wait_and_they_are_not_too_much() {
        let line = Line::new(100, 100, 1 << 30);
        for job in 0..5 {
            line.join(job, LARGE_GROUP_BYTES / 4, Weight::Large).unwrap();
        }
        assert_eq!((group(&line), group(&line)), (vec![0, 1, 2, 3], vec![4]));
        line.join(1, LARGE_GROUP_BYTES * 9, Weight::Large).unwrap();
        assert_eq!(group(&line), [1]);
        for (job, size) in [(1, 0), (2, ALONE), (3, 0)] {
            line.join(job, size, Weight::Large).unwrap();
        }
        assert_eq!([group(&line), group(&line), group(&line)], [[1], [2], [3]]);
    }

    #[test]
    fn a_group_that_waits_for_the_disk_takes_no_large_job_in() {
        let line = line();
        line.join(1, 1, Weight::Small).unwrap();
        line.judge().unwrap();
        assert!(matches!(line.next(), Next::Job(1, 1)));
        line.join(100, 1, Weight::Large).unwrap();
        line.join(2, 1, Weight::Small).unwrap();
        assert_eq!(gather(&line).0, [2]);
    }

    #[test]
    fn the_end_is_an_end_for_all() {
        let line = line();
        line.join(1, 1, Weight::Small).unwrap();
        line.judge().unwrap();
        line.end();
        assert!(matches!(line.next(), Next::Ended));
        assert!(line.judge().is_none() && !line.is_open());
    }
}
