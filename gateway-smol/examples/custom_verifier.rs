//! A gateway that asks a verifier of one's own: `cargo run -p gateway-smol --example
//! custom-verifier-smol`.
//!
//! Whoever comes with `Authorization: Bearer ada.SECRET` is `ada`, where `SECRET` is what
//! `EXAMPLE_SECRET` holds. A real verifier would ask a database, or another server. The gateway
//! wraps a server that this same program is when it is called with `serve`.

use std::io;
use std::sync::Arc;

use async_executor::Executor;
use async_io::block_on;
use async_signal::{Signal, Signals};
use futures_lite::StreamExt;
use gateway_kit::demo;
use gateway_kit::settings::{ChildCommand, Settings};
use gateway_smol::Server;
use mcp_proto::auth::{Identity, Principal, Token, Verdict, Verifier};

/// Says whose a token is. [`Verdict::Unavailable`] would say that this cannot be found out now.
async fn verify(token: Token, secret: String) -> Verdict {
    let Some((name, given)) = token.expose().split_once('.') else {
        return Verdict::Denied;
    };
    if name.is_empty() || given != secret {
        return Verdict::Denied;
    }
    Verdict::Allowed(Identity {
        principal: Principal {
            issuer: "custom-verifier".to_owned(),
            subject: name.to_owned(),
            client_id: None,
        },
        scopes: Vec::new(),
        expires_at: None,
    })
}

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return demo::serve(io::stdin().lock(), io::stdout());
    }
    let secret = std::env::var("EXAMPLE_SECRET")
        .map_err(|_| io::Error::other("EXAMPLE_SECRET is not set; set it to any text"))?;
    // Run by this one thread; others may run it too.
    let executor = Arc::new(Executor::new());
    block_on(executor.run(async {
        let mut interrupts = Signals::new([Signal::Int])?;
        let child = ChildCommand::new(std::env::current_exe()?)
            .args(["serve"])
            .inherit(std::env::vars_os());
        let mut settings = Settings::new(child);
        settings.policy.service_name = "custom-verifier".to_owned();
        settings.policy.auth.verifiers = vec![Verifier::Custom];
        settings.listen = vec![([127, 0, 0, 1], 0).into()];

        let server = Server::bind(settings, Arc::clone(&executor))
            .await?
            .verify_with(move |token| verify(token, secret.clone()));
        println!("{}", server.url());
        server
            .run(async {
                interrupts.next().await;
            })
            .await;
        Ok(())
    }))
}
