//! What a binary does besides serving.

use std::fmt;
use std::io::{self, Write};
#[cfg(target_os = "linux")]
use std::process::Command;
use std::process::ExitCode;

use crate::cli::{self, Invocation};
#[cfg(target_os = "linux")]
use crate::init;
use crate::settings::Settings;
use crate::{audit, demo, descriptors, guard, health, logging, status};

/// Does what the command line says, for the binary of this name; `serve` serves until it is told to
/// stop. The log has been set up by then. As PID 1 it has a child do all that: see `init`. To be called
/// first in `main`: see [`descriptors::close_inherited`].
pub fn main(binary_name: &'static str, serve: impl FnOnce(Settings) -> io::Result<()>) -> ExitCode {
    if let Err(error) = descriptors::close_inherited() {
        tell(format_args!(
            "{binary_name}: inherited descriptors cannot be listed: {error}"
        ));
        return ExitCode::FAILURE;
    }
    #[cfg(target_os = "linux")]
    if let Some(ended) = init_or_below_it().transpose() {
        return ended.unwrap_or_else(|error| {
            tell(format_args!("{binary_name}: as PID 1 or below it: {error}"));
            ExitCode::FAILURE
        });
    }
    let invocation = cli::parse(
        std::env::args_os().skip(1),
        std::env::vars_os(),
        binary_name,
    );
    let result = match invocation {
        Ok(Invocation::Serve(settings)) => log_and_serve(*settings, serve),
        Ok(
            Invocation::CheckConfig(text) | Invocation::PrintConfig(text) | Invocation::Help(text),
        ) => io::stdout().write_all(text.as_bytes()),
        Ok(Invocation::DemoServer) => demo::serve(io::stdin().lock(), io::stdout()),
        Ok(Invocation::Health(asked)) => {
            let (is_healthy, line) = health::ask(&asked);
            let said = writeln!(io::stdout(), "{line}");
            if said.is_ok() && !is_healthy {
                return ExitCode::FAILURE;
            }
            said
        }
        Ok(Invocation::Status { asked, json }) => status::ask(&asked, json)
            .map_err(io::Error::other)
            .and_then(|text| io::stdout().write_all(text.as_bytes())),
        Ok(Invocation::AuditVerify(files)) => audit::verify_files(&files, io::stdout())
            .map(drop)
            .map_err(io::Error::other),
        Ok(Invocation::Guard { marker }) => guard::run(&marker, io::stdin()),
        Err(error) => {
            tell(format_args!("{error}"));
            return ExitCode::from(cli::Error::EXIT_CODE);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(format_args!("{binary_name}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// As PID 1, runs this program anew as a child, and tells how that ended. Nothing for anyone else, who is to
/// go on.
#[cfg(target_os = "linux")]
fn init_or_below_it() -> io::Result<Option<ExitCode>> {
    if !init::is_needed() {
        return init::unblock_signals().map(|()| None);
    }
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1));
    init::run(again).map(|status| Some(status.into()))
}

fn log_and_serve(
    settings: Settings,
    serve: impl FnOnce(Settings) -> io::Result<()>,
) -> io::Result<()> {
    let _log = logging::init(&settings.log).map_err(io::Error::other)?;
    if let Some(missing) = descriptors::raise_limit(&settings.policy.limits) {
        tracing::warn!(
            missing,
            "too few descriptors for all connections and sessions at once"
        );
    }
    #[cfg(target_os = "linux")]
    let settings = Settings {
        guard: settings.guard && !init::is_above(),
        ..settings
    };
    serve(settings)
}

/// Tells where the gateway listens, whatever the log's level. A stdout that is closed is no reason
/// not to serve.
pub fn announce(url: &str) {
    let _ = writeln!(io::stdout(), "{url}");
}

/// Why a binary ends that was told twice to stop.
pub fn stopped_at_once() -> io::Error {
    io::Error::other("stopped before everything was finished")
}

/// Writes a line to stderr. `eprintln!` would panic where stderr cannot be written, and the exit
/// status would then no longer say what went wrong.
fn tell(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}
