//! The gateway on smol's executor and reactor.
//!
//! The machines of [`mcp_proto`] decide, HTTP/1.1 included ([`mcp_proto::h1`]), and
//! [`gateway_kit::driver`] carries mail between them; this crate owns the sockets, pipes, timers and
//! child processes.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use async_executor::Executor;
//! use gateway_kit::settings::{ChildCommand, Settings};
//! use gateway_smol::Server;
//!
//! # async fn run(stop: impl Future<Output = ()>) -> std::io::Result<()> {
//! let executor = Arc::new(Executor::new());
//! let child = ChildCommand::new("node").args(["server.js"]).inherit(std::env::vars_os());
//! let serving = async {
//!     let server = Server::bind(Settings::new(child), Arc::clone(&executor)).await?;
//!     println!("{}", server.url());
//!     server.run(stop).await;
//!     Ok(())
//! };
//! executor.run(serving).await
//! # }
//! ```

mod alarm;
mod child;
mod connection;
mod listen;
mod process;
mod source;
mod tls;

pub use listen::Server;
