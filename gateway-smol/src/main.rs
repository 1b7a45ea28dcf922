//! The binary `mcp-gateway-smol`.

use std::convert::Infallible;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use async_executor::Executor;
use async_io::block_on;
use async_signal::{Signal, Signals};
use futures_lite::StreamExt;
use futures_lite::future::or;
use gateway_kit::binary;
use gateway_kit::settings::Settings;
use gateway_smol::Server;

fn main() -> ExitCode {
    binary::main("mcp-gateway-smol", serve)
}

fn serve(settings: Settings) -> io::Result<()> {
    let executor = Arc::new(Executor::new());
    // Nothing is sent: the workers end when it is dropped.
    let (running, ended) = async_channel::bounded::<Infallible>(1);
    let workers: Vec<_> = (0..settings.workers)
        .map(|_| {
            let (executor, ended) = (Arc::clone(&executor), ended.clone());
            thread::Builder::new()
                .name("worker".to_owned())
                .spawn(move || block_on(executor.run(ended.recv())))
        })
        .collect::<io::Result<_>>()?;
    let result = block_on(serve_on(settings, Arc::clone(&executor)));
    drop(running);
    for worker in workers {
        // A task that panics does not end its worker.
        let _ = worker.join();
    }
    // What has not ended is dropped with the executor, which kills its children.
    result
}

async fn serve_on(settings: Settings, executor: Arc<Executor<'static>>) -> io::Result<()> {
    let mut stops = Signals::new([Signal::Term, Signal::Int])?;
    let mut hang_ups = Signals::new([Signal::Hup])?;
    // Verifiers that do not answer may take a while to be tried.
    let bound = or(
        async { Some(Server::bind(settings, Arc::clone(&executor)).await) },
        async {
            stops.next().await;
            None
        },
    );
    let Some(server) = bound.await else {
        return Ok(());
    };
    let server = server?;
    let reopen = server.audit_reopener();
    let _reopening = executor.spawn(async move {
        while hang_ups.next().await.is_some() {
            reopen();
        }
    });
    binary::announce(server.url());
    let (first, ordered) = async_channel::bounded::<Infallible>(1);
    let serving = server.run(async move {
        let _ = ordered.recv().await;
    });
    or(
        async {
            serving.await;
            Ok(())
        },
        async {
            stops.next().await;
            drop(first);
            // A second signal: at once.
            stops.next().await;
            Err(binary::stopped_at_once())
        },
    )
    .await
}
