//! The binary as a user starts it: what becomes of its children, whom it lets in, what it keeps of
//! that, and how it stops.

mod http;
mod mock;
mod processes;
mod run;

mod audit;
mod connections;
mod forwarded;
mod introspection;
mod jwt;
mod log;
mod secrets;
mod services;
mod shutdown;
mod start;
mod static_tokens;
mod survivors;
