//! How the process takes memory from the system.

/// From now on pages of memory are small ones. In huge ones, a pool of small pieces of which few
/// are in use takes the whole page: with a million resources that was a quarter of all memory, and
/// searches took no less time for it (docs/performance.md). Where the system knows no huge pages
/// nothing changes.
pub fn take_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        // It costs memory alone.
        tracing::debug!(%error, "huge pages of memory cannot be done without");
    }
}
