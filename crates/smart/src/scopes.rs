//! A list of scopes, as a token or a request for one carries it (RFC 6749, section 3.3).

use std::fmt;

use crate::scope::{Problem, Scope};

/// Scopes in the order in which they were written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scopes(Vec<Scope>);

/// Why a text is no list of scopes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the scopes cannot be read at byte {at}, in {scope:?}: {what}")]
pub struct ScopeError {
    /// Where, in bytes from the list's beginning, counted from 0.
    pub at: usize,
    /// The scope it is in.
    pub scope: String,
    /// What is wrong, and what is right.
    pub what: &'static str,
}

impl Scopes {
    /// Reads scopes between single spaces, all of them understood.
    ///
    /// # Errors
    /// [`ScopeError`] at the first that is not.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let (scopes, mut errors) = Self::parse_known(text);
        if errors.is_empty() { Ok(scopes) } else { Err(errors.swap_remove(0)) }
    }

    /// Reads the scopes that are understood, and says of the others why not: an authorization
    /// server may leave out what it does not know (RFC 6749, section 3.3).
    #[must_use]
    pub fn parse_known(text: &str) -> (Self, Vec<ScopeError>) {
        let mut scopes = Vec::new();
        let mut errors = Vec::new();
        let mut at = 0;
        for token in text.split(' ') {
            let read = match token {
                "" => Err(Problem { at: 0, what: "one space stands between two scopes" }),
                token => token.parse(),
            };
            match read {
                Ok(scope) => scopes.push(scope),
                Err(Problem { at: within, what }) => {
                    errors.push(ScopeError { at: at + within, scope: token.to_owned(), what });
                }
            }
            at += token.len() + 1;
        }
        (Self(scopes), errors)
    }

    /// The scopes.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.0.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(formatter, "{space}{scope}")?;
        }
        Ok(())
    }
}
