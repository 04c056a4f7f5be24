//! When answers are given that may be about what their caller may not see. To find that something
//! is hidden takes longer than to find nothing: it must be read first. So that the clock does not
//! tell one from the other, such answers are given when a step of some milliseconds ends, however
//! early in it they were ready (docs/security.md, "Parts of the data").
//!
//! What takes longer than a step to be read is answered a step later: a large resource.

use std::time::Duration;

use contract::{Interaction, Rule};
use http::StatusCode;

/// A step. A read of a resource of some kilobytes takes a tenth of it.
const STEP: Duration = Duration::from_millis(4);

/// Which answers to a request are given when a step ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stepped {
    /// None: whoever asks sees all of a type or nothing.
    None,
    /// Those that refuse.
    Refusals,
    /// All: what is hidden is answered like what was done.
    All,
}

impl Stepped {
    /// Those to `interaction` of whoever has these rules.
    pub(super) fn of(rules: &[Rule], interaction: &Interaction) -> Self {
        if rules.iter().all(Rule::is_unrestricted) {
            return Self::None;
        }
        match interaction {
            Interaction::Delete(_)
            | Interaction::ConditionalDelete(_)
            | Interaction::BatchOrTransaction => Self::All,
            _ => Self::Refusals,
        }
    }

    /// How long an answer waits that was ready after `taken`.
    pub(super) fn wait(self, status: StatusCode, taken: Duration) -> Duration {
        match self {
            Self::All => {}
            Self::Refusals if status.is_client_error() => {}
            Self::None | Self::Refusals => return Duration::ZERO,
        }
        let into_step = taken.as_nanos() % STEP.as_nanos();
        STEP.saturating_sub(Duration::from_nanos(u64::try_from(into_step).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // LEAK-26
    #[test]
    fn who_sees_a_part_is_refused_at_the_end_of_a_step_and_nobody_else() {
        let kind = |method: &str| {
            Interaction::classify(method, "/Patient/1", None).expect("an interaction")
        };
        let rules = |within: &str| -> Vec<Rule> {
            let rules = serde_json::json!([{ "types": ["*"], "actions": ["*"], "within": within }]);
            serde_json::from_value(rules).expect("rules")
        };
        let (read, deletion) = (kind("GET"), kind("DELETE"));
        for interaction in [&read, &deletion] {
            assert_eq!(Stepped::of(&rules("all"), interaction), Stepped::None);
        }
        let of_one = rules("compartment(Patient/1)");
        assert_eq!(Stepped::of(&of_one, &read), Stepped::Refusals);
        assert_eq!(Stepped::of(&of_one, &deletion), Stepped::All);
        assert_eq!(Stepped::of(&of_one, &Interaction::BatchOrTransaction), Stepped::All);
    }

    // LEAK-26
    #[test]
    fn an_answer_that_shows_nothing_is_given_when_its_step_ends() {
        let micros = Duration::from_micros;
        for taken in [0, 1, 150, 3_999] {
            let answered =
                micros(taken) + Stepped::Refusals.wait(StatusCode::NOT_FOUND, micros(taken));
            assert_eq!(answered, STEP, "{taken}");
        }
        let late = micros(4_001) + Stepped::All.wait(StatusCode::NO_CONTENT, micros(4_001));
        assert_eq!(late, 2 * STEP);
        let shown = Stepped::Refusals.wait(StatusCode::OK, micros(150));
        assert_eq!(shown, Duration::ZERO);
        let whole = Stepped::None.wait(StatusCode::NOT_FOUND, micros(150));
        assert_eq!(whole, Duration::ZERO);
    }
}
