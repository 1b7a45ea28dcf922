//! The binary `mcp-gateway`.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use gateway_kit::cli::{self, Invocation};
use gateway_kit::settings::Settings;
use gateway_kit::{audit, demo, descriptors, guard, logging};
use gateway_tokio::Server;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    if let Err(error) = descriptors::close_inherited() {
        tell(format_args!(
            "mcp-gateway: inherited descriptors cannot be listed: {error}"
        ));
        return ExitCode::FAILURE;
    }
    let invocation = cli::parse(
        std::env::args_os().skip(1),
        std::env::vars_os(),
        "mcp-gateway",
    );
    let result = match invocation {
        Ok(Invocation::Serve(settings)) => serve(*settings),
        Ok(
            Invocation::CheckConfig(text) | Invocation::PrintConfig(text) | Invocation::Help(text),
        ) => io::stdout().write_all(text.as_bytes()),
        Ok(Invocation::DemoServer) => demo::serve(io::stdin().lock(), io::stdout()),
        Ok(Invocation::AuditVerify(files)) => {
            return match audit::verify_files(&files, io::stdout()) {
                Ok(_) => ExitCode::SUCCESS,
                Err(error) => {
                    tell(format_args!("mcp-gateway: {error}"));
                    ExitCode::FAILURE
                }
            };
        }
        Ok(Invocation::Guard { marker }) => guard::run(&marker, io::stdin()),
        Err(error) => {
            tell(format_args!("{error}"));
            return ExitCode::from(cli::Error::EXIT_CODE);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(format_args!("mcp-gateway: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to stderr. `eprintln!` would panic where stderr cannot be written, and the exit
/// status would then no longer say what went wrong.
fn tell(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn serve(settings: Settings) -> io::Result<()> {
    let _log = logging::init(&settings.log).map_err(io::Error::other)?;
    if let Some(missing) = descriptors::raise_limit(&settings.policy.limits) {
        tracing::warn!(
            missing,
            "too few descriptors for all connections and sessions at once"
        );
    }
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
        // Whatever the log's level. A stdout that is closed is no reason not to serve.
        let _ = writeln!(io::stdout(), "{}", server.url());
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
            () = watch => Err(io::Error::other("stopped before everything was finished")),
        }
    })
}
