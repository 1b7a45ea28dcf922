//! The binary `mcp-gateway`.

use std::io;
use std::process::ExitCode;

use gateway_kit::binary;
use gateway_kit::settings::Settings;
use gateway_tokio::Server;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    binary::main("mcp-gateway", serve)
}

fn serve(settings: Settings) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.workers)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut stop = async move || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let mut hang_up = signal(SignalKind::hangup())?;
        // Verifiers that do not answer may take a while to be tried.
        let server = tokio::select! {
            server = Server::bind(settings) => server?,
            () = stop() => return Ok(()),
        };
        let reopen = server.audit_reopener();
        tokio::spawn(async move {
            while hang_up.recv().await.is_some() {
                reopen();
            }
        });
        binary::announce(server.url());
        let (first, second) = tokio::sync::oneshot::channel::<()>();
        let watch = async move {
            stop().await;
            drop(first);
            stop().await;
        };
        let ordered = async move {
            let _ = second.await;
        };
        tokio::select! {
            () = server.run(ordered) => Ok(()),
            // A second signal: at once. What is dropped kills its children.
            () = watch => Err(binary::stopped_at_once()),
        }
    })
}
