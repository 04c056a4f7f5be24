//! A socket that whoever started the process listens on already, and hands over (systemd's
//! `LISTEN_FDS`): clients that connect while one process ends and the next begins wait in its
//! queue, and none is refused.

use std::net::TcpListener;

use listenfd::ListenFd;

use crate::config::Gateway;
use crate::serve::ServeError;

/// The socket on which clients connect: the first that was handed over, where there is one.
///
/// # Errors
/// [`ServeError`] when it is no such socket, or plain HTTP may not be spoken on its address.
pub(crate) fn listener(gateway: &Gateway) -> Result<Option<TcpListener>, ServeError> {
    let listener = ListenFd::from_env().take_tcp_listener(0).map_err(ServeError::HandedOver)?;
    if let Some(listener) = &listener {
        let address = listener.local_addr().map_err(ServeError::HandedOver)?;
        if !gateway.may_listen_on(address) {
            return Err(ServeError::HandedOverInsecure);
        }
    }
    Ok(listener)
}
