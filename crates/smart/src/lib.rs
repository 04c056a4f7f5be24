//! SMART App Launch scopes (versions 1 and 2 of their grammar) and the rules that they mean.
//!
//! Plain functions of their inputs. A scope is read whole or refused: nothing is recognised by how
//! it begins. What a set of scopes allows is said in the contract's rules, never more than the
//! scopes say, and never more than the person may for whom an app asks. `docs/scopes.md` says what
//! each scope means, with cases that a test runs.
//!
//! Absent: tokens and their verification, who may ask for which scope, consent.

mod permissions;
mod query;
mod scope;
mod scopes;
mod translation;

pub use permissions::Permissions;
pub use scope::{Level, Problem, ResourceScope, Scope};
pub use scopes::{ScopeError, Scopes};
pub use translation::{Context, TranslationError, rules};
