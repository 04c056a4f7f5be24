//! The port from outside.

#[cfg(test)]
mod model;
#[cfg(test)]
mod record;
