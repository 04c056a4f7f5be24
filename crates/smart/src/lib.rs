//! SMART App Launch scopes (versions 1 and 2 of their grammar) and the rules that they mean, and
//! the tokens that carry them.
//!
//! Plain functions of their inputs. A scope is read whole or refused: nothing is recognised by how
//! it begins. What a set of scopes allows is said in the contract's rules, never more than the
//! scopes say, and never more than the person may for whom an app asks. `docs/scopes.md` says what
//! each scope means, with cases that a test runs. A token is believed when an issuer's key signed
//! it, for this place and this time (`docs/tokens.md`).
//!
//! Absent: fetching keys, who may ask for which scope, consent.

mod algorithm;
mod key_set;
mod permissions;
mod query;
mod scope;
mod scopes;
mod token;
mod translation;

pub use algorithm::{Algorithm, InvalidAlgorithm};
pub use key_set::{KeySet, KeySetError, LONGEST_KEY_SET, SigningKey};
pub use permissions::Permissions;
pub use scope::{Level, Problem, ResourceScope, Scope};
pub use scopes::{ScopeError, Scopes};
pub use token::{Claims, Expected, LONGEST_TOKEN, TokenProblem, UnverifiedToken};
pub use translation::{Context, TranslationError, bounded_by, rules};
