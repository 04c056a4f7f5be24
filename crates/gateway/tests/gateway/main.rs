//! The gateway from outside: real sockets, a registry of its own, and a stub for the server.

mod answers;
mod beside;
mod bodies;
mod callers;
mod foreign;
mod framing;
mod harness;
mod identity;
mod operating;
mod renewals;
mod roles;
mod secrets;
mod stub;
mod upstream;
mod upstream_tls;
