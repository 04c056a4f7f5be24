//! Programs of others that measurements and soaks are made with.

use std::path::{Path, PathBuf};

/// Where distributions keep programs; servers are in the path of root alone.
const PLACES: [&str; 5] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin"];

/// A program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Serves files, and is a proxy.
    Nginx,
    /// A proxy.
    HaProxy,
    /// Asks as often as it is answered.
    Wrk,
    /// Asks so many times a second.
    H2load,
    /// A store of counters.
    Redis,
}

/// It is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} is not installed (Debian package {})", .0.name(), .0.package())]
pub struct Absent(pub Tool);

impl Tool {
    /// What it is called by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::HaProxy => "haproxy",
            Self::Wrk => "wrk",
            Self::H2load => "h2load",
            Self::Redis => "redis-server",
        }
    }

    /// What Debian has it in.
    #[must_use]
    pub fn package(self) -> &'static str {
        match self {
            Self::Nginx => "nginx-light",
            Self::H2load => "nghttp2-client",
            Self::HaProxy | Self::Wrk | Self::Redis => self.name(),
        }
    }

    /// Where it is.
    ///
    /// # Errors
    /// [`Absent`] where it is not installed.
    pub fn path(self) -> Result<PathBuf, Absent> {
        let mut all = PLACES.iter().map(|place| Path::new(place).join(self.name()));
        all.find(|path| path.is_file()).ok_or(Absent(self))
    }
}

#[cfg(test)]
mod tests {
    use super::{Absent, Tool};

    #[test]
    fn what_is_absent_is_told_with_its_package() {
        let told = Absent(Tool::H2load).to_string();
        assert_eq!(told, "h2load is not installed (Debian package nghttp2-client)");
        let told = Absent(Tool::Wrk).to_string();
        assert_eq!(told, "wrk is not installed (Debian package wrk)");
    }
}
