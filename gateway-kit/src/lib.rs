//! What the gateway's binaries share and no runtime needs.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`cli`] | the command line, the environment and the file, and what they mean |
//! | [`settings`] | what is in force, as an embedder can also build it with no command line |
//! | [`logging`] | the log on stderr, and a child's stderr made fit for it |
//! | [`access`] | the access log: one line a request |
//! | [`audit`] | the audit trail: one line of JSON a record, chained by hashes, and its verification |
//! | [`print_config`] | the configuration that each client needs to reach the gateway |
//! | [`page`] | what a person sees who opens the gateway in a browser |
//! | [`outside`] | performs what the core asks for: fetches and checked signatures |
//! | [`fetch`] | the HTTP client, which asks no address that it may not |
//! | [`signature`] | signatures of JWTs |
//! | [`static_tokens`] | static tokens, and the file of them that is read again |
//! | [`tls`] | the certificate and its key, and what happens when they change |
//! | [`watch`] | small files that are read again and again |
//! | [`driver`] | the machines of `mcp-proto` driven, as far as that needs no runtime |
//! | [`listen`] | listeners, and the options of their connections |
//! | [`child`] | a child's command, its process group, and its stderr in the log |
//! | [`metrics`] | what is counted, for Prometheus |
//! | [`health`] | what `mcp-gateway health` does |
//! | [`status`] | how things stand, as a document and as a table |
//! | [`binary`] | what a binary does besides serving |
//! | [`demo`] | a small stdio MCP server to try the gateway with |
//! | [`descriptors`] | what the gateway inherits and its children must not |
//! | [`guard`] | the small process that leaves no child behind when the gateway is killed |
//! | [`init`] | what PID 1 of a container has to do besides |
//!
//! There is no `async fn` here and no runtime: what blocks says so.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(unix)]
pub mod access;
mod admin;
#[cfg(unix)]
pub mod audit;
#[cfg(unix)]
pub mod binary;
#[cfg(unix)]
pub mod child;
pub mod cli;
pub mod demo;
#[cfg(unix)]
pub mod descriptors;
#[cfg(unix)]
pub mod driver;
pub mod fetch;
#[cfg(unix)]
pub mod guard;
pub mod health;
#[cfg(target_os = "linux")]
pub mod init;
#[cfg(unix)]
pub mod listen;
pub mod logging;
#[cfg(unix)]
pub mod metrics;
pub mod outside;
pub mod page;
mod pool;
pub mod print_config;
pub mod settings;
pub mod signature;
pub mod static_tokens;
#[cfg(unix)]
pub mod status;
pub mod tls;
pub mod watch;

pub use settings::{
    AdminAddress, AuditSink, ChildCommand, LogFormat, LogSettings, Settings, StartupCheck,
};

/// How the gateway names itself to other servers.
pub(crate) const USER_AGENT: &str = concat!("mcp-gateway/", env!("CARGO_PKG_VERSION"));
