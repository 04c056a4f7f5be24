//! The gateway from outside: real sockets, a registry of its own, and a stub for the server.

mod acme;
mod addresses;
mod answers;
mod audited;
mod beside;
mod bodies;
mod callers;
mod foreign;
mod framing;
mod harness;
mod http2;
mod identity;
mod issuer;
mod limits;
mod names;
mod operating;
mod reloads;
mod renewals;
mod roles;
mod secrets;
mod stub;
mod subjects;
mod tls;
mod tokens;
mod upstream;
mod upstream_tls;
