//! What embedders rely on, of the gateway on smol.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use async_executor::Executor;
use async_io::{Timer, block_on};
use futures_lite::future::or;
use gateway_kit::settings::Settings;
use gateway_smol::Server;

use self::embedder::{stubborn, verifier};

#[path = "../../conformance/embedder/mod.rs"]
mod embedder;

const BINARY: &str = env!("CARGO_BIN_EXE_mcp-gateway-smol");

/// Runs a gateway while `act` goes on.
fn serve(settings: Settings, act: impl FnOnce(SocketAddr)) {
    let executor = Arc::new(Executor::new());
    let bound = Server::bind(settings, Arc::clone(&executor));
    let server = block_on(executor.run(bound))
        .expect("a port is free")
        .verify_with(verifier::verify);
    let address = server.addresses()[0];
    let (stop, stopped) = async_channel::bounded::<()>(1);
    let running = thread::spawn(move || {
        block_on(executor.run(server.run(async {
            let _ = stopped.recv().await;
        })));
    });
    act(address);
    drop(stop);
    running.join().expect("the server ends well");
}

/// A gateway with a session, whose `run` was dropped.
async fn abandon(said: &Path, executor: &Arc<Executor<'static>>) -> TcpStream {
    let server = Server::bind(stubborn::settings(said), Arc::clone(executor))
        .await
        .expect("a port is free");
    let address = server.addresses()[0];
    let (sender, opened) = async_channel::bounded(1);
    thread::spawn(move || sender.send_blocking(stubborn::initialize(address)));
    or(
        async {
            server.run(std::future::pending()).await;
            None
        },
        async { opened.recv().await.ok() },
    )
    .await
    .expect("a session was opened")
}

#[test]
fn children_end_once_nobody_runs_their_gateway() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let said = directory.path().join("process");
    let executor = Arc::new(Executor::new());
    block_on(executor.run(async {
        let _connection = abandon(&said, &executor).await;
        let process = stubborn::process(&said);
        let start = Instant::now();
        while process.exists() {
            assert!(start.elapsed() < Duration::from_secs(60), "the child lives");
            Timer::after(Duration::from_millis(20)).await;
        }
    }));
}

#[test]
fn children_end_with_their_executor() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let said = directory.path().join("process");
    let executor = Arc::new(Executor::new());
    let _connection = block_on(executor.run(abandon(&said, &executor)));
    let process = stubborn::process(&said);
    drop(executor);
    assert!(!process.exists(), "the child lives");
}
