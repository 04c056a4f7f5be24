//! The port from outside.

mod model;
mod record;
