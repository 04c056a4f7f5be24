//! How a failed command says so: one line with what, where and the mend.

use std::error::Error;
use std::io;

/// The error and what caused it in one line. Where no level names a mend (after a semicolon), the
/// usual one for the system's refusal is added.
#[must_use]
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    let mut system = None;
    let mut level = Some(error);
    while let Some(error) = level {
        let text = error.to_string();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // A transparent level, or one that quotes its source, says nothing new.
        if !line.contains(&text) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            system = Some(error.kind());
        }
        level = error.source();
    }
    if let Some(mend) = system.and_then(mend)
        && !line.contains(';')
    {
        line.push_str("; ");
        line.push_str(mend);
    }
    line
}

fn mend(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::PermissionDenied => {
            "give this account the right to it, or name another place"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only: mount it writable, or name another place"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: free space on it and start again"
        }
        io::ErrorKind::AddrInUse => {
            "another program listens there: stop it, or name another address"
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address: name one it has",
        io::ErrorKind::NotFound => "check the name",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file stands where a directory should: name another"
        }
        io::ErrorKind::ConnectionRefused => {
            "nothing answers there: start the server, or check the address"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Test {
        #[error("cannot open ./data/lock")]
        Open(#[source] io::Error),
        #[error("two\n lines; do this")]
        Mended(#[source] io::Error),
        #[error(transparent)]
        Transparent(#[from] Box<Test>),
    }

    fn denied() -> io::Error {
        io::Error::from(io::ErrorKind::PermissionDenied)
    }

    #[test]
    fn the_chain_stands_in_one_line_with_the_usual_mend() {
        let error = Test::from(Box::new(Test::Open(denied())));
        assert_eq!(
            one_line(&error),
            "cannot open ./data/lock: permission denied; \
             give this account the right to it, or name another place"
        );
    }

    #[test]
    fn a_mend_of_its_own_is_the_only_one() {
        assert_eq!(one_line(&Test::Mended(denied())), "two lines; do this: permission denied");
    }

    #[test]
    fn every_refusal_of_the_system_that_a_start_can_meet_has_a_mend() {
        for kind in [
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::ReadOnlyFilesystem,
            io::ErrorKind::StorageFull,
            io::ErrorKind::AddrInUse,
            io::ErrorKind::NotFound,
        ] {
            let line = one_line(&Test::Open(io::Error::from(kind)));
            assert!(line.contains("; ") && !line.contains('\n'), "{line}");
        }
    }
}
