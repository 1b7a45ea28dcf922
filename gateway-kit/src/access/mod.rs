//! The access log: one line a request, on stderr beside the log.
//!
//! A line is formatted where the request ends, into a buffer that a thread writes every few
//! milliseconds: at the rates at which requests are relayed, neither a wake-up nor a write for each of
//! them can be had. It says what became of the request, and nothing that the client is not known to
//! be harmless by: no token, no session id, no payload, no path that is not served.

mod line;
mod log;

pub use log::{AccessLog, AccessWriter};
