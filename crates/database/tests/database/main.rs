//! The database's suite, over each backend of the store.
//!
//! A test is a function of a [`support::Clinic`]; `over_each_backend!` makes it a `#[test]` over
//! the model and over the embedded store. docs/storage.md says which guarantee which test holds.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

/// Makes each of these functions a test over each backend.
macro_rules! over_each_backend {
    ($($name:ident)*) => {
        mod over_the_model {
            $(
                #[test]
                fn $name() {
                    super::$name(&mut crate::support::Clinic::over_the_model());
                }
            )*
        }
        mod over_sled {
            $(
                #[test]
                fn $name() {
                    super::$name(&mut crate::support::Clinic::over_sled());
                }
            )*
        }
    };
}

mod as_of;
mod blobs;
mod bodies;
mod conditions;
mod damage;
mod dictionaries;
#[path = "../differential/mod.rs"]
mod differential;
mod durability;
mod gate;
mod group;
mod pipeline;
mod purge;
mod random;
mod sealing;
mod search;
mod serial;
mod snapshots;
mod support;
mod versions;
