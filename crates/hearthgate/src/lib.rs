//! What the `hearthgate` command is made of: wiring only, and the commands that need no server.
//!
//! `command` reads the command line and calls the rest. The doors through which time and chance
//! come in are here, the configuration file, the lock on the data directory, and the control
//! socket.

pub mod audit;
pub mod backup;
pub mod changes;
pub mod command;
pub mod command_socket;
pub mod compact;
pub mod config;
pub mod control;
mod data_directory;
mod definitions;
pub mod demo_data;
mod denials;
pub mod doctor;
pub mod doors;
pub mod failure;
pub mod gitops;
mod handed_over;
pub mod import;
pub mod key_copies;
pub mod key_file;
pub mod keys;
pub mod limits;
pub mod link_files;
pub mod lock;
pub mod logging;
pub mod memory;
pub mod operators;
pub mod otlp;
pub mod owner_key;
pub mod packages;
pub mod page_key;
mod progress;
pub mod purge;
pub mod quarantine;
pub mod registry_place;
pub mod reload;
mod roles;
pub mod serve;
pub mod server_control;
mod storage;
pub mod subject_key;
pub mod tenant_arguments;
pub mod tenant_key;
mod tokens;
mod traces;
mod trailed;
pub mod validate;
