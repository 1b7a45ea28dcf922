//! The binary as a user starts it: what becomes of its children, and how it stops.

mod http;
mod processes;
mod run;

mod connections;
mod inheritance;
mod log;
mod shutdown;
mod survivors;
