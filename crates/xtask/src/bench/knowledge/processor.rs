//! What work costs on one core: the thread's processor time, which other programs on the machine
//! lengthen less than they do the clock's. Linux tells it to some milliseconds.

use std::fs::read_to_string;
use std::time::Duration;

use super::Failure;

/// Processor time of this thread (proc(5), schedstat).
pub(in crate::bench) fn processor_time() -> Result<Duration, Failure> {
    let told = read_to_string("/proc/thread-self/schedstat")?;
    let nanos = told.split_whitespace().next().ok_or("a thread without times")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

/// Microseconds that `work` takes once, measured over about so many seconds.
pub(in crate::bench) fn micros(seconds: f64, mut work: impl FnMut()) -> Result<f64, Failure> {
    /// How many times as often the work is done at most when it was too little.
    const STEP: u32 = 16;
    let mut times = 1_u32;
    loop {
        let begun = processor_time()?;
        for _ in 0..times {
            work();
        }
        let taken = processor_time()?.saturating_sub(begun).as_secs_f64();
        if taken >= seconds {
            return Ok(taken / f64::from(times) * 1e6);
        }
        let more = (1..STEP).find(|more| f64::from(*more) * taken >= seconds * 1.1);
        let grown = times.checked_mul(more.unwrap_or(STEP).max(2));
        times = grown.ok_or("work that takes no time")?;
    }
}
