//! The gateway on tokio and hyper.
//!
//! The machines of [`mcp_proto`] decide; this crate owns the sockets, pipes, timers and child
//! processes, and carries bytes and mail between them.
//!
//! ```no_run
//! use gateway_kit::settings::{ChildCommand, Settings};
//! use gateway_tokio::Server;
//!
//! # async fn run() -> std::io::Result<()> {
//! let child = ChildCommand::new("node").args(["server.js"]).inherit(std::env::vars_os());
//! let server = Server::bind(Settings::new(child)).await?;
//! println!("{}", server.url());
//! server.run(async { tokio::signal::ctrl_c().await.unwrap() }).await;
//! # Ok(())
//! # }
//! ```

mod child;
mod connection;
mod driver;
mod inbox;
mod listen;
mod process;
mod socket;
mod sweep;

pub use listen::Server;
