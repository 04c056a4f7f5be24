//! How much the entries of one Bundle may read: a short Bundle can name a long resource often.

use super::Context;
use crate::call::Answer;
use crate::error::ServerError;

/// Bytes that may still be read.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: usize,
    limit: usize,
}

impl Allowance {
    pub(crate) fn of(context: &Context<'_>) -> Self {
        let limit = context.server.limits.answer_bytes;
        Self { left: limit, limit }
    }

    /// Whether anything may be read.
    ///
    /// # Errors
    /// [`ServerError::AnswerTooLong`].
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        if self.left == 0 { Err(ServerError::AnswerTooLong { limit: self.limit }) } else { Ok(()) }
    }

    /// Takes what a patch, or a create that found its match, was answered with, which may be far
    /// longer than what was sent. The resource is left out of one that does not fit: what was done
    /// is done.
    pub(crate) fn keep(&mut self, answer: Answer) -> Answer {
        let bytes = answer.body.as_ref().map_or(0, bytes::Bytes::len);
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                answer
            }
            None => Answer { body: None, ..answer },
        }
    }

    /// Takes what was read; from one that does not fit on, nothing does.
    ///
    /// # Errors
    /// [`ServerError::AnswerTooLong`].
    pub(crate) fn take(&mut self, answer: Answer) -> Result<Answer, ServerError> {
        let bytes = answer.body.as_ref().map_or(0, bytes::Bytes::len);
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => {
                self.left = 0;
                return Err(ServerError::AnswerTooLong { limit: self.limit });
            }
        }
        Ok(answer)
    }
}
