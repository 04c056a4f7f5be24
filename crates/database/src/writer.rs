//! The serial step: judges transactions one after the other, appends what was judged good as one
//! group, publishes the new head, and only then answers any of them (guarantees G3, G11).
//!
//! Two threads take turns ([`crate::line`]): while one writes a group, the other judges the next
//! by what that group will have done. Should it then not be written, the next is not either.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use fhir_core::Instant;
use parking_lot::Mutex;
use store::{AppendError, Commit, T};
use tokio::sync::oneshot;

use crate::database::{Job, Shared, Taken};
use crate::indexing::ToApply;
use crate::judge::{self, GroupStates, Judge, NotDurable};
use crate::lately::Lately;
use crate::line::{Basis, Next};
use crate::recent::Recent;
use crate::waiting::Held;
use crate::{CommitError, Receipt, Visibility};

/// The threads of the serial step, and what passes from one to the other.
pub(crate) struct Writers {
    shared: Arc<Shared>,
    /// Of the one that judges.
    judging: Mutex<Judging>,
    /// Why a group was last not written.
    failure: Mutex<Option<Arc<AppendError>>>,
    said: Mutex<Standing>,
}

/// What the judgement of a group leaves for the next.
struct Judging {
    recent: Recent,
    lately: Lately,
    /// The group judged last, until it is written and visible, or failed.
    commits: Weak<Vec<Commit>>,
    /// Where it ends.
    t: T,
    instant: Instant,
    /// The failures when that was judged.
    failures: u64,
}

/// Whether writes are refused for a reason that passes, as the log was last told: it is told
/// of changes, not of each refusal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Writes,
    DiskFull,
    ClockBehind,
}

/// A transaction of a group, its answer waiting for the group to be durable.
struct Answer {
    held: Held,
    to: oneshot::Sender<Result<Receipt, CommitError>>,
    result: Result<Receipt, CommitError>,
    scope: Option<trace::Scope>,
}

/// A group that is judged.
struct Group {
    basis: Basis,
    commits: Arc<Vec<Commit>>,
    /// For the search index, one for each commit; nothing where it was not prepared.
    to_apply: Vec<Option<ToApply>>,
    answers: Vec<Answer>,
}

/// Without both of its writers a database takes no commits. When a panic ends one, whoever waits
/// is told that the outcome is unknown.
struct UntilItEnds(Arc<Shared>);

impl Drop for UntilItEnds {
    fn drop(&mut self) {
        self.0.failed.store(true, Ordering::Release);
        if std::thread::panicking() {
            self.0.line.end();
        }
    }
}

impl Writers {
    /// Starts both threads.
    pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<Vec<JoinHandle<()>>> {
        let head = shared.store.head();
        let writers = Arc::new(Self {
            shared: Arc::clone(shared),
            judging: Mutex::new(Judging {
                recent: Recent::since(head.t),
                lately: Lately::default(),
                commits: Weak::new(),
                t: head.t,
                instant: head.instant,
                failures: 0,
            }),
            failure: Mutex::default(),
            said: Mutex::default(),
        });
        writers.refusal_by_clock();
        let start = |number| {
            let writers = Arc::clone(&writers);
            std::thread::Builder::new()
                .name(format!("hearthgate-commit-{number}"))
                .spawn(move || writers.run())
        };
        [1, 2].map(start).into_iter().collect::<io::Result<_>>().inspect_err(|_| shared.line.end())
    }

    fn run(&self) {
        let _ends = UntilItEnds(Arc::clone(&self.shared));
        while let Some(basis) = self.shared.line.judge() {
            if let Some(group) = self.judge(basis) {
                self.write(group);
            }
        }
    }

    /// Says in the log how it stands, when that has changed.
    fn say(&self, standing: Standing, error: Option<&CommitError>) {
        if std::mem::replace(&mut *self.said.lock(), standing) == standing {
            return;
        }
        let error = error.map(|error| error as &dyn std::error::Error);
        match standing {
            Standing::Writes => tracing::info!("writes are taken again"),
            Standing::DiskFull => {
                tracing::error!("the disk is full: writes are refused until there is room");
            }
            Standing::ClockBehind => tracing::error!(
                error,
                "writes are refused until the clock agrees with the data: set it right"
            ),
        }
    }

    fn refusal_by_clock(&self) -> Option<CommitError> {
        let refusal = self.shared.clock_behind();
        if refusal.is_some() {
            self.say(Standing::ClockBehind, refusal.as_ref());
        }
        refusal
    }

    /// Judges what waits, and what comes while the disk is busy, as one group. With it comes the
    /// disk; `None` when there is no group.
    fn judge(&self, basis: Basis) -> Option<Group> {
        let Shared { line, .. } = &*self.shared;
        let judging = &mut *self.judging.lock();
        let basis = self.settle(basis, judging);
        let before = basis.over_the_group_before.then(|| judging.commits.upgrade()).flatten();
        let before = before.unwrap_or_default();
        // What became durable since the line said so is seen twice, which changes nothing.
        let durable = self.shared.snapshot(Visibility::everything());
        let (mut t, mut instant) = (judging.t, judging.instant);
        let mut states = GroupStates::default();
        let mut commits: Vec<Commit> = Vec::new();
        let mut to_apply = Vec::new();
        let mut answers: Vec<Answer> = Vec::new();
        loop {
            let (job, size) = match line.next() {
                Next::Job(job, size) => (job, size),
                Next::Disk => break,
                Next::Nothing | Next::Ended => return None,
            };
            let Job { transaction, terms, taken, held, answer: to, scope } = job;
            if answers.is_empty()
                && let Some(refusal) = self.refusal_by_clock()
            {
                line.leave_out(size);
                drop(held);
                drop(to.send(Err(refusal)));
                continue;
            }
            let next_instant = self.shared.instant_after(instant);
            let id = transaction.id;
            let not_durable = NotDurable { before: &before, own: &commits };
            if !transaction.conditions.is_empty() || terms.are_judged() {
                judging.recent.remember_after(durable.at(), not_durable.iter());
            }
            let mut judge = Judge {
                durable: &durable,
                commits: not_durable,
                group: &mut states,
                recent: &judging.recent,
                lately: &mut judging.lately,
                sealing: &self.shared.sealing,
            };
            let judged = judge.judge((transaction, &terms), t.next(), next_instant);
            let result = match futures_executor::block_on(judged) {
                // What answers a named request is written down even if it changes nothing.
                Ok(judged) if judged.versions.is_empty() && terms.named.is_none() => {
                    Ok(Receipt { t, ..judged.receipt })
                }
                Ok(judged) => {
                    (t, instant) = (t.next(), next_instant);
                    let tenant = self.shared.tenant.clone();
                    let of = (id, tenant, self.shared.fhir_version);
                    let mut commit = judge::commit(of, t, instant, judged.versions);
                    commit.idempotency = terms.named.map(|named| named.request);
                    judging.recent.note(&commit);
                    let Taken { indexed, valued } = taken;
                    judging.lately.note(&commit, valued, &self.shared.watched);
                    commits.push(commit);
                    to_apply.push(indexed.map(|it| it.judged(&judged.receipt)));
                    Ok(judged.receipt)
                }
                Err(error) => Err(error),
            };
            answers.push(Answer { held, to, result, scope });
        }
        let commits = Arc::new(commits);
        (judging.t, judging.instant) = (t, instant);
        judging.commits = Arc::downgrade(&commits);
        Some(Group { basis, commits, to_apply, answers })
    }

    /// What a group rests on, with the head it follows: nothing is judged by a group that is
    /// known not to be written.
    fn settle(&self, basis: Basis, judging: &mut Judging) -> Basis {
        let Shared { line, store, .. } = &*self.shared;
        let failed = basis.failures != judging.failures;
        let basis = if failed { line.wait_for_the_group_before() } else { basis };
        if !basis.over_the_group_before {
            let head = store.head();
            (judging.t, judging.instant) = (head.t, head.instant);
            if failed {
                // What it remembers of groups that were not written never happened.
                (judging.recent, judging.lately) = (Recent::since(head.t), Lately::default());
                judging.failures = basis.failures;
            }
        }
        basis
    }

    /// Appends, publishes, leaves the disk to the next group, and answers.
    fn write(&self, Group { basis, commits, to_apply, answers }: Group) {
        let Shared { line, .. } = &*self.shared;
        let failure = if line.holds(basis) {
            // The whole group is written for each of them.
            let scopes = answers.iter().filter_map(|answer| answer.scope.clone());
            let _for_these = trace::together(scopes).map(trace::enter);
            self.append(&commits, to_apply).err()
        } else {
            self.failure.lock().clone().map(|error| Failure { error, begun: false })
        };
        line.give_up_the_disk();
        for Answer { held, to, result, .. } in answers {
            let answer = match (&failure, result) {
                (None, answer) => answer,
                (Some(Failure { begun: true, .. }), Ok(_)) => Err(CommitError::OutcomeUnknown),
                // Even a refusal may rest on a commit that now is not there.
                (Some(Failure { error, .. }), _) => Err(CommitError::Store(Arc::clone(error))),
            };
            // A caller that is gone does not undo its commit.
            drop(held);
            drop(to.send(answer));
        }
    }

    fn append(&self, commits: &[Commit], to_apply: Vec<Option<ToApply>>) -> Result<(), Failure> {
        if commits.is_empty() {
            return Ok(());
        }
        let mut span = trace::child("append");
        if let Some(span) = &mut span {
            span.set("hearthgate.commits", commits.len());
        }
        let appended = {
            let _within = span.as_ref().map(|span| trace::enter(span.scope()));
            self.shared.store.append(commits)
        };
        drop(span);
        let error = match appended {
            Ok(head) => {
                self.shared.publish(head.t, commits, to_apply);
                self.say(Standing::Writes, None);
                return Ok(());
            }
            Err(error) => error,
        };
        if matches!(error, AppendError::Poisoned(_)) {
            self.shared.failed.store(true, Ordering::Release);
        }
        if matches!(error, AppendError::DiskFull) {
            self.say(Standing::DiskFull, None);
        } else {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "a group was not written");
        }
        let begun = matches!(error, AppendError::Poisoned(Some(_)));
        let error = Arc::new(error);
        *self.failure.lock() = Some(Arc::clone(&error));
        self.shared.line.fail();
        Err(Failure { error, begun })
    }
}

/// Why a group is not in the log.
struct Failure {
    error: Arc<AppendError>,
    /// The write was begun, and what became of it the next open finds.
    begun: bool,
}
