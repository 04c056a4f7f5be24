//! How far threads stand behind those that answer requests for a processor: what nobody waits for
//! has to leave it to them. On Linux alone, where a thread has a priority of its own; elsewhere it
//! would be of the process.

/// Of threads that make ready what is written: whoever reads goes before them. Further behind they
/// write less, by more than a tenth, where nobody reads.
pub const BEHIND_READERS: i32 = 5;
/// Of threads that make what is found later: they have to keep up with what is committed.
pub(crate) const BEHIND_REQUESTS: i32 = 5;
/// Of threads that use all that is left of the processors.
pub const BEHIND_ALL: i32 = 10;

/// Lets threads that are less far behind go before this one, and before those that it starts.
pub fn give_way(behind: i32) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, behind) {
        tracing::debug!(%error, behind, "a thread in the background has no lower priority");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = behind;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{BEHIND_ALL, BEHIND_REQUESTS, give_way};

    #[test]
    fn a_thread_that_gives_way_takes_along_those_it_starts_and_no_other() {
        let own = || rustix::process::getpriority_process(None).unwrap();
        let before = own();
        let thread = std::thread::Builder::new().spawn(move || {
            give_way(BEHIND_REQUESTS);
            let started = std::thread::Builder::new().spawn(own);
            let of_started = started.unwrap().join().unwrap();
            give_way(BEHIND_ALL);
            (of_started, own())
        });
        assert_eq!(thread.unwrap().join().unwrap(), (BEHIND_REQUESTS, BEHIND_ALL));
        assert_eq!(own(), before);
    }
}
