//! The gateway from outside: real sockets, a registry of its own, and a stub for the server.

mod answers;
mod bodies;
mod callers;
mod framing;
mod harness;
mod identity;
mod issuer;
mod operating;
mod renewals;
mod roles;
mod secrets;
mod stub;
mod tokens;
