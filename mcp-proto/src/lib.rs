//! The protocol core of an MCP gateway: it serves a stdio MCP server over Streamable HTTP.
//!
//! Everything that decides is here, and nothing that moves bytes. Three state machines are told
//! what happened (`handle_*`, with the time) and say what to do (`poll_output`); whoever drives
//! them owns the sockets, pipes, timers and child processes.
//!
//! | machine | one per | decides |
//! | --- | --- | --- |
//! | [`Gateway`] | process | who may speak, and with which session and child |
//! | [`Exchange`] | HTTP request | how one request becomes one response |
//! | [`Upstream`] | child process | the session, the relay, the child's life |
//!
//! Machines write to each other by opaque mail that the driver carries. The contract is in
//! `docs/DRIVING.md`; `examples/by_hand.rs` drives all three with no runtime at all.
//!
//! Revisions 2025-03-26, 2025-06-18 and 2025-11-25 of MCP are served, and children that answer
//! with 2024-11-05.
//!
//! With the feature `h1` there is a fourth machine, which knows nothing of MCP: an HTTP/1.1 server
//! connection, for drivers that bring no HTTP server of their own.

mod access;
pub mod admin;
mod audit;
pub mod auth;
mod decimal;
pub mod envelope;
mod error_data;
mod exchange;
pub mod framing;
mod gateway;
#[cfg(feature = "h1")]
pub mod h1;
mod head;
mod id;
mod limits;
mod modern;
pub mod origin;
mod policy;
mod refusal;
mod request_id;
pub mod sse;
mod time;
mod translation;
mod upstream;
mod version;

pub use access::{AccessRecord, Route};
pub use audit::{
    AuditClass, AuditEvent, AuditOutcome, AuditRecord, Caller, SessionDigest, SessionEnd,
};
pub use exchange::{Exchange, ExchangeMail, ExchangeOutput};
pub use gateway::{
    ChildStanding, Gateway, GatewayMail, GatewayOutput, NotReady, SessionStanding, Standing,
};
pub use head::{ContentType, Cors, Field, RequestHead, ResponseHead};
pub use id::{ExchangeId, SessionId, UpstreamId};
pub use limits::Limits;
pub use policy::{Policy, SealKey, Share};
pub use refusal::Refusal;
pub use request_id::{Instance, RequestId};
pub use time::{Instant, Now};
pub use upstream::{
    ChildState, Opening, Stop, Upstream, UpstreamMail, UpstreamOutput, UpstreamStanding,
};
pub use version::{Era, MODERN, Version};
