//! The HTTP/1.1 server connection, driven by hand on a clock of its own.

mod gateway;
mod lifecycle;
mod properties;
mod strictness;
mod time;
mod wire;
