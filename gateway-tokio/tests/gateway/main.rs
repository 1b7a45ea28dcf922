//! The binary as a user starts it: what becomes of its children, and how it stops.

mod http;
mod processes;
mod run;

mod connections;

mod log;
mod shutdown;
mod start;
mod survivors;
