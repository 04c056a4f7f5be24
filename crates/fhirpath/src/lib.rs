//! FHIRPath for FHIR R4: N1 (2.0.0) with the functions that FHIR adds.
//!
//! An [`Expression`] is compiled once, against a [`fhir_schema::Schema`] and the type that it is
//! evaluated on, so that names and types are resolved then. An evaluation borrows the JSON and
//! the expression, hands items on one by one and ends where the answer is sure.
//!
//! What lies outside the resource comes from a [`Host`]: there is no clock, no network and no
//! output here. Errors say where in the expression they stand. How deep and how long an
//! evaluation may be is bounded.
//!
//! What is supported, and where this differs from the specification, is in docs/fhirpath.md.

mod ast;
mod calendar;
mod canonical_unit;
mod compile;
mod context;
mod decimal;
mod equality;
mod error;
mod eval;
mod expression;
mod functions;
mod host;
mod lexer;
mod model;
mod parser;
mod pattern;
mod program;
mod quantity;
mod shape;
mod temporal;
mod text;
mod typing;
mod value;

pub use calendar::CalendarUnit;
pub use canonical_unit::CanonicalUnit;
pub use compile::{OrderCheck, Strictness};
pub use context::Context;
pub use decimal::Decimal;
pub use error::{CompileError, CompileProblem, EvaluationError, EvaluationProblem, Position};
pub use expression::{Expression, Options};
pub use host::{Host, NoHost, ReferenceTypes, Resolved, Unavailable};
pub use model::{NodeType, SystemType};
pub use parser::{MAX_DEPTH, MAX_LENGTH};
pub use quantity::{Quantity, Unit};
pub use temporal::{Date, DateTime, Time};
pub use value::{FhirValue, Item, TypeInfo};
