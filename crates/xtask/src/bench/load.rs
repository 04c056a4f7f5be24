//! Clients that ask as fast as they are answered, and what that gave.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use fhir_core::Clock;
use tokio::task::JoinSet;

use super::Failure;

/// Whoever does one thing after the other, each after the answer to the one before.
pub(crate) trait Client: Send + 'static {
    /// Does it once.
    fn once(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// How long to measure, and how long to work before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What one round of one target gave.
#[derive(Debug)]
pub(crate) struct Round {
    /// Answers in a second.
    pub(crate) rate: f64,
    /// The median time to an answer.
    pub(crate) median: Duration,
    /// The time that one in a hundred takes longer than.
    pub(crate) slowest_of_100: Duration,
    /// Processor time of the process under test for one answer, where it is one of its own.
    pub(crate) cpu: Option<Duration>,
    /// What share of a processor its load took, where that is a program of one thread: near 1 it is
    /// what is full.
    pub(crate) load: Option<f64>,
}

const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// Lets the clients work for a window; `cpu` says how much the process under test has used.
pub(crate) async fn measure<C: Client>(
    clients: Vec<C>,
    window: Window,
    clock: &Arc<dyn Clock>,
    cpu: impl Fn() -> Result<Option<Duration>, Failure>,
) -> Result<Round, Failure> {
    let phase = Arc::new(AtomicU8::new(WARMING_UP));
    let mut working: JoinSet<Result<Vec<u32>, Failure>> = clients
        .into_iter()
        .map(|client| work(client, Arc::clone(&phase), Arc::clone(clock)))
        .collect();
    tokio::time::sleep(window.warm_up).await;
    let (began, used) = (clock.monotonic(), cpu()?);
    phase.store(MEASURING, Ordering::Relaxed);
    tokio::time::sleep(window.measured).await;
    phase.store(OVER, Ordering::Relaxed);
    let (elapsed, used_after) = (clock.monotonic() - began, cpu()?);
    let mut micros = Vec::new();
    while let Some(worked) = working.join_next().await {
        micros.append(&mut worked??);
    }
    Round::of(micros.len(), elapsed, micros, used.zip(used_after).map(|(used, after)| after - used))
}

impl Round {
    /// A round in which `answers` were given within `elapsed`, after times of `micros`.
    pub(crate) fn of(
        answers: usize,
        elapsed: Duration,
        mut micros: Vec<u32>,
        cpu: Option<Duration>,
    ) -> Result<Self, Failure> {
        if micros.is_empty() {
            return Err("nothing was answered".into());
        }
        micros.sort_unstable();
        let answers = u32::try_from(answers)?;
        let at = |hundredths: usize| {
            let index = micros.len() * hundredths / 100;
            Duration::from_micros(micros[index.min(micros.len() - 1)].into())
        };
        Ok(Self {
            rate: f64::from(answers) / elapsed.as_secs_f64(),
            median: at(50),
            slowest_of_100: at(99),
            cpu: cpu.map(|cpu| cpu / answers),
            load: None,
        })
    }
}

async fn work<C: Client>(
    mut client: C,
    phase: Arc<AtomicU8>,
    clock: Arc<dyn Clock>,
) -> Result<Vec<u32>, Failure> {
    let mut micros = Vec::with_capacity(1 << 16);
    loop {
        let began_in = phase.load(Ordering::Relaxed);
        if began_in == OVER {
            return Ok(micros);
        }
        let began = clock.monotonic();
        client.once().await?;
        if began_in == MEASURING {
            micros.push(u32::try_from((clock.monotonic() - began).as_micros())?);
        }
    }
}
