//! What the line knows, and what follows from it: which jobs are next, how many a group is expected
//! to have, what is worth waking a thread for. Who waits for whom is not here.

use std::collections::VecDeque;

use super::Weight;

/// While the disk is busy, judging begins when so many wait: waking a thread for each would cost
/// more than it gains.
pub(super) const WORTH_WAKING: usize = 16;

/// A group waits for more so often at most.
pub(super) const WAITS: u32 = 6;

/// While small jobs wait, so many of their groups go before a large job does.
pub(super) const PASSED_OVER: u32 = 4;

/// Who waits, and what the group that is judged has.
#[derive(Debug)]
pub(super) struct State<J> {
    pub(super) small: VecDeque<(J, usize)>,
    pub(super) large: VecDeque<(J, usize)>,
    /// Groups of small jobs since a large one, if any waits, was passed over first.
    pub(super) passed_over: u32,
    pub(super) open: bool,
    /// A thread ended by a panic: nothing of what is here is done any more.
    pub(super) ended: bool,
    pub(super) judging: bool,
    pub(super) disk_busy: bool,
    /// What the one that judges waits for.
    pub(super) judge_waits: Waits,
    /// What it has taken in, and their bytes; all of them are of one weight.
    pub(super) weight: Weight,
    pub(super) gathered: usize,
    pub(super) gathered_bytes: usize,
    /// How many it had when it last waited for more, and how often it did.
    pub(super) waited_with: usize,
    pub(super) waits: u32,
    /// How many groups were not written.
    pub(super) failures: u64,
    /// The sizes of the last two groups.
    pub(super) sizes: [usize; 2],
}

impl<J> State<J> {
    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.small.len() + self.large.len()
    }

    /// What a group that has nothing yet takes in.
    pub(super) fn weight_of_next(&self) -> Weight {
        let passes = !self.small.is_empty() && self.passed_over < PASSED_OVER;
        if self.large.is_empty() || passes { Weight::Small } else { Weight::Large }
    }

    /// How many a group is expected to have: half of those who lately asked at once, so that
    /// while their group is written the other half makes its own ready.
    pub(super) fn expected(&self) -> usize {
        self.sizes[0].max(self.sizes[1]) / 2
    }

    /// Whether the group that is judged should wait for more while the disk is idle.
    pub(super) fn may_grow(&self) -> bool {
        let few = self.gathered > 0 && self.gathered < self.expected();
        self.weight == Weight::Small
            && few
            && self.gathered > self.waited_with
            && self.waits < WAITS
    }

    /// Whether what waits is worth waking the one that judges.
    pub(super) fn is_worth_waking(&self) -> bool {
        let waiting = self.waiting();
        if self.disk_busy {
            return waiting >= WORTH_WAKING;
        }
        self.gathered == 0 || self.gathered + waiting >= self.expected()
    }
}

/// What the one that judges waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    No,
    ForJobsOrTheDisk,
    ForTheDisk,
}
