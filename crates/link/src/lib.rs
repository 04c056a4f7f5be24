//! The way between gateway and server where they are on two hosts: TCP, with TLS 1.3 (RFC 8446) on
//! both ends, each of which shows a certificate that the other holds a copy of. `docs/split.md`
//! describes it for an operator, `docs/adr/0035` why it is so.
//!
//! What travels over it is the contract's (docs/contract.md), and none of it is known here. Whose
//! certificates are believed is read from files, again whenever they change.

mod address;
mod files;
mod identity;
mod listener;
mod socket;
mod stream;
mod turns;
mod verify;

pub use address::{Address, InvalidAddress};
pub use files::{FilesError, LinkFiles, Loaded};
pub use identity::Identity;
pub use listener::LinkListener;
pub use socket::watch_over;
pub use stream::{ConnectError, LinkStream, connect, refused_by_other};
pub use verify::{Fingerprint, NotBelieved};
