//! The embedded backend from outside.

mod damage;
mod folder;
mod kill;
mod state;
mod suite;
mod support;
mod torn_tail;
