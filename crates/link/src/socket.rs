//! TCP that notices when the other half is away: without this, a request into a network that drops
//! everything would wait for as long as the kernel sends it again, a quarter of an hour.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

/// How long what was sent may stay unanswered by the other host's kernel, before the connection
/// counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// How long a connection may be silent before its other end is asked for.
const SILENT: Duration = Duration::from_secs(2);
/// Between two such questions.
const BETWEEN: Duration = Duration::from_secs(1);
/// So many without an answer, and the connection counts as lost.
const UNANSWERED: u32 = 3;

/// Has the kernel end the connection within seconds once nothing comes through any more.
///
/// # Errors
/// What the system says.
pub fn watch_over(socket: impl AsFd) -> io::Result<()> {
    let socket = socket.as_fd();
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, SILENT)?;
    sockopt::set_tcp_keepintvl(socket, BETWEEN)?;
    sockopt::set_tcp_keepcnt(socket, UNANSWERED)?;
    let lost_after = u32::try_from(LOST_AFTER.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(socket, lost_after)?;
    Ok(())
}
