//! Listeners, and the options of their connections.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

use tracing::warn;

use crate::settings::Settings;

/// Connections that wait to be accepted, at each listener; the system may allow fewer.
const BACKLOG: i32 = 1024;

/// How long data may stay unacknowledged: with a comment at least every 25 seconds on each event
/// stream, a peer that has gone is found within a minute.
#[cfg(target_os = "linux")]
const USER_TIMEOUT_MS: u32 = 30_000;

/// Binds every address of the settings. The listeners do not block; a port that was 0 is told.
///
/// # Errors
///
/// If an address cannot be bound; it says which.
pub fn bind(settings: &Settings) -> io::Result<Vec<(TcpListener, SocketAddr)>> {
    settings
        .listen
        .iter()
        .map(|&address| {
            let listener = TcpListener::bind(address).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("cannot listen on {address}: {error}; see --host and --port"),
                )
            })?;
            // Said again, since the standard library's own backlog is short.
            rustix::net::listen(&listener, BACKLOG)?;
            listener.set_nonblocking(true)?;
            let bound = listener.local_addr()?;
            Ok((listener, bound))
        })
        .collect()
}

/// Head and body of a short answer leave in one write, which no delay may hold back; and a peer
/// that has gone is found.
pub fn configure(stream: impl AsFd) {
    if let Err(error) = rustix::net::sockopt::set_tcp_nodelay(&stream, true) {
        warn!(%error, "TCP_NODELAY could not be set");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(&stream, USER_TIMEOUT_MS) {
        warn!(%error, "TCP_USER_TIMEOUT could not be set");
    }
}
