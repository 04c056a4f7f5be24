//! Reads what a request asks.
