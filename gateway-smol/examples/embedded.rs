//! A gateway in a process of one's own: `cargo run -p gateway-smol --example
//! embedded-smol`.
//!
//! It wraps a server that this same program is when it is called with `serve`.

use std::io;
use std::sync::Arc;

use async_executor::Executor;
use async_io::block_on;
use async_signal::{Signal, Signals};
use futures_lite::StreamExt;
use gateway_kit::demo;
use gateway_kit::settings::{ChildCommand, Settings};
use gateway_smol::Server;

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return demo::serve(io::stdin().lock(), io::stdout());
    }
    // Run by this one thread; others may run it too.
    let executor = Arc::new(Executor::new());
    block_on(executor.run(async {
        let mut interrupts = Signals::new([Signal::Int])?;
        let child = ChildCommand::new(std::env::current_exe()?)
            .args(["serve"])
            .inherit(std::env::vars_os());
        let mut settings = Settings::new(child);
        settings.policy.service_name = "embedded".to_owned();
        settings.listen = vec![([127, 0, 0, 1], 0).into()];

        let server = Server::bind(settings, Arc::clone(&executor)).await?;
        println!("{}", server.url());
        server
            .run(async {
                interrupts.next().await;
            })
            .await;
        Ok(())
    }))
}
