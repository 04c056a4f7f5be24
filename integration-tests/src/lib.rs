//! What the black-box tests share: the product as child processes, clients of it, and the data
//! that goes through it.
//!
//! What stands here panics where something does not happen that must: it is a test's hand. Only
//! the words of the contract and the door of time are taken from the product; everything else is
//! asked from outside. The embedded store alone is also taken by itself, to be crashed at each of
//! its calls to the disk ([`crashes`]), and the database, to be asked what its index finds and what
//! looking at every resource finds ([`search_soak`]); and the server, to be asked what a rule lets
//! somebody see ([`access_soak`]).

pub mod access_soak;
pub mod answering;
pub mod architecture;
pub mod binary;
pub mod bundle;
pub mod chance;
pub mod client;
pub mod crash_points;
pub mod crashes;
pub mod document;
pub mod edge;
pub mod frames;
pub mod hostile_soak;
pub mod json_schema;
pub mod kills;
pub mod lane_soak;
pub mod limit_soak;
pub mod limited;
pub mod malformed;
pub mod outage_soak;
pub mod postgres;
pub mod private_disk;
pub mod process;
pub mod raw;
pub mod readers;
pub mod redis;
pub mod search_soak;
pub mod served;
pub mod simulated_disk;
pub mod site;
pub mod slow;
pub mod smuggling;
pub mod socket;
pub mod split;
pub mod test_data;
pub mod tools;
pub mod waiting;
pub mod wrk;
