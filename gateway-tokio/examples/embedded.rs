//! A gateway in a process of one's own: `cargo run -p gateway-tokio --example embedded`.
//!
//! It wraps a server that this same program is when it is called with `serve`.

use std::io;

use gateway_kit::demo;
use gateway_kit::settings::{ChildCommand, Settings};
use gateway_tokio::Server;

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return demo::serve(io::stdin().lock(), io::stdout());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let child = ChildCommand::new(std::env::current_exe()?)
            .args(["serve"])
            .inherit(std::env::vars_os());
        let mut settings = Settings::new(child);
        settings.policy.service_name = "embedded".to_owned();
        settings.listen = vec![([127, 0, 0, 1], 0).into()];

        let server = Server::bind(settings).await?;
        println!("{}", server.url());
        server
            .run(async {
                let _ = tokio::signal::ctrl_c().await;
            })
            .await;
        Ok(())
    })
}
