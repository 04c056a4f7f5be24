//! The developer's commands, run as `cargo xtask`.
fn main() {}
