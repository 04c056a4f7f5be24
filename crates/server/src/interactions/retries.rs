//! How often and how long a write is prepared again, when others touched meanwhile what it
//! depends on.

use std::time::Duration;

use fhir_core::Clock;

use crate::error::ServerError;

/// So often it is prepared again at once.
const AT_ONCE: u32 = 16;
/// And so often in all, should the clock stand.
const MOST: u32 = 1_000;
/// For so long: whoever comes behind so many others is not done before.
const LONGEST: Duration = Duration::from_secs(10);
/// The shortest and the longest pause between two tries.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(64)];

/// The tries of one write.
pub(crate) struct Retries<'c> {
    clock: &'c dyn Clock,
    since: Duration,
    tries: u32,
}

impl<'c> Retries<'c> {
    pub(crate) fn new(clock: &'c dyn Clock) -> Self {
        Self { clock, since: clock.monotonic(), tries: 0 }
    }

    /// Waits, after several tries, before there is another one.
    ///
    /// # Errors
    /// [`ServerError::Contended`] when there is none.
    pub(crate) async fn again(&mut self) -> Result<(), ServerError> {
        self.tries += 1;
        if self.tries <= AT_ONCE {
            return Ok(());
        }
        let taken = self.clock.monotonic().saturating_sub(self.since);
        if self.tries > MOST || taken >= LONGEST {
            return Err(ServerError::Contended);
        }
        let [shortest, longest] = PAUSES;
        let doubled = 2_u32.saturating_pow((self.tries - AT_ONCE - 1).min(16));
        tokio::time::sleep(shortest.saturating_mul(doubled).min(longest)).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A clock that goes on by a second each time somebody looks at it.
    struct Going(Mutex<u64>);

    impl Clock for Going {
        fn now(&self) -> fhir_core::Instant {
            fhir_core::Instant::from_micros(0)
        }

        fn monotonic(&self) -> Duration {
            let mut seconds = self.0.lock().unwrap();
            *seconds += 1;
            Duration::from_secs(*seconds)
        }
    }

    #[tokio::test]
    async fn it_is_tried_again_at_once_then_with_pauses_and_not_for_ever() {
        let clock = Going(Mutex::new(0));
        let mut retries = Retries::new(&clock);
        for _ in 0..AT_ONCE {
            retries.again().await.unwrap();
        }
        // Nobody looked at the clock so far.
        let mut paused = 0;
        while retries.again().await.is_ok() {
            paused += 1;
        }
        assert_eq!(paused, LONGEST.as_secs() - 1);
    }
}
