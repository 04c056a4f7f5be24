//! Where work is done that may take a processor for more than a moment.

use tokio::runtime::{Handle, RuntimeFlavor};

/// JSON up to so many bytes is read where its request is, in about half a millisecond.
const SMALL: usize = 32 << 10;

/// Does what may take some milliseconds of a processor, while others go on elsewhere where there
/// is an elsewhere.
pub(crate) fn aside<R>(work: impl FnOnce() -> R) -> R {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Does what takes as long as JSON of `length` bytes is long: where its request is, or of much
/// while others go on elsewhere.
pub fn where_it_may_last<R>(length: usize, work: impl FnOnce() -> R) -> R {
    if length <= SMALL { work() } else { aside(work) }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn others_go_on_while_much_is_read() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
        let runtime = runtime.unwrap();
        let read = runtime.spawn(async {
            let (tell, told) = channel();
            // On the one thread that there is for requests.
            let mut others = tokio::task::JoinSet::new();
            others.spawn(async move { tell.send(()).expect("it is waited for") });
            where_it_may_last(SMALL + 1, || told.recv_timeout(Duration::from_secs(20)))
        });
        runtime.block_on(read).unwrap().expect("the other one has run");
        let read = || where_it_may_last(usize::MAX, || 1);
        assert_eq!(read(), 1, "without a runtime too");
    }
}
