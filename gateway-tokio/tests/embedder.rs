//! What embedders rely on, of the gateway on tokio.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use gateway_kit::settings::Settings;
use gateway_tokio::Server;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use self::embedder::{stubborn, verifier};

#[path = "../../conformance/embedder/mod.rs"]
mod embedder;

const BINARY: &str = env!("CARGO_BIN_EXE_mcp-gateway");

/// Runs a gateway while `act` goes on.
fn serve(settings: Settings, act: impl FnOnce(SocketAddr)) {
    let runtime = Runtime::new().expect("threads can be had");
    let server = runtime
        .block_on(Server::bind(settings))
        .expect("a port is free")
        .verify_with(verifier::verify);
    let address = server.addresses()[0];
    let (stop, stopped) = oneshot::channel::<()>();
    let running = runtime.spawn(server.run(async {
        let _ = stopped.await;
    }));
    act(address);
    let _ = stop.send(());
    runtime.block_on(running).expect("the server ends well");
}

/// A gateway with a session, whose `run` was dropped.
async fn abandon(said: &Path) -> TcpStream {
    let server = Server::bind(stubborn::settings(said))
        .await
        .expect("a port is free");
    let address = server.addresses()[0];
    tokio::select! {
        () = server.run(std::future::pending()) => unreachable!("nobody stops it"),
        stream = tokio::task::spawn_blocking(move || stubborn::initialize(address)) => {
            stream.expect("a session was opened")
        }
    }
}

#[test]
fn children_end_once_nobody_runs_their_gateway() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let said = directory.path().join("process");
    let runtime = Runtime::new().expect("threads can be had");
    let _connection = runtime.block_on(abandon(&said));
    let process = stubborn::process(&said);
    let start = Instant::now();
    while process.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "the child lives");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn children_end_with_their_runtime() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let said = directory.path().join("process");
    let runtime = Runtime::new().expect("threads can be had");
    let _connection = runtime.block_on(abandon(&said));
    let process = stubborn::process(&said);
    drop(runtime);
    assert!(!process.exists(), "the child lives");
}
