//! The binary as a user starts it: what becomes of its children, whom it lets in, what it keeps of
//! that, and how it stops.
//!
//! Each binary's package includes this directory into a test of its own, whose root says in `BINARY`
//! where the binary is, and in `EXAMPLE` which of its examples embeds a gateway.

mod http;
mod mock;
mod processes;
mod run;

mod access;
mod admin;
mod audit;
mod connections;
mod embedded;
mod forwarded;
mod hostile;
mod introspection;
mod jwt;
mod log;
mod secrets;
mod services;
mod shutdown;
mod start;
mod static_tokens;
mod survivors;
mod tls;
