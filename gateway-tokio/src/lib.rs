//! The gateway on tokio and hyper.
//!
//! The machines of [`mcp_proto`] decide, and [`gateway_kit::driver`] carries mail between them; this
//! crate owns the sockets, pipes, timers and child processes.
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
mod listen;
mod process;
mod socket;
mod tls;

pub use listen::Server;
