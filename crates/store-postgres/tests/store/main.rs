//! The backend in PostgreSQL from outside, on a private cluster of the installed PostgreSQL.

#[cfg(test)]
mod blobs;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod columns;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod document;
#[cfg(test)]
mod lease;
#[cfg(test)]
mod outcome;
#[cfg(test)]
#[path = "../cluster/mod.rs"]
mod postgres;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod sealing;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod verify;
