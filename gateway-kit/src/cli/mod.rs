//! From what was typed to what is in force.
//!
//! Two types, as ripgrep has them: `Typed` is what stands on the command line, in the environment
//! and in the file, as text; [`Settings`] is what it means. Between them stands one function,
//! [`parse`], which reads no global but the file that it is told of.

mod amount;
mod auth;
mod auth_options;
mod auth_value;
mod command_line;
mod environment;
mod error;
mod file;
mod limits;
mod meaning;
mod oauth;
mod options;
mod reached;
mod reading;
mod tls;
mod tokens;
mod typed;
mod value;
mod warnings;

pub use error::Error;

use crate::health;
use crate::print_config::configuration;
use crate::settings::Settings;
use command_line::{Asked, Request};
use environment::Environment;
use meaning::Meaning;
use std::ffi::OsString;
use std::path::PathBuf;
use typed::Typed;

/// What the process is to do.
#[derive(Debug)]
pub enum Invocation {
    /// Serve.
    Serve(Box<Settings>),
    /// Print this text, what is in force as TOML, and end with 0.
    CheckConfig(String),
    /// Print this text, a client's configuration, and end with 0.
    PrintConfig(String),
    /// Print this text, the help or the version, and end with 0.
    Help(String),
    /// Be the demo server on stdin and stdout: [`crate::demo::serve`].
    DemoServer,
    /// Ask whether a gateway is well: [`crate::health::ask`].
    Health(health::Asked),
    /// Ask how things stand: [`crate::status::ask`].
    Status {
        /// Whom to ask.
        asked: health::Asked,
        /// Whether the document is wanted as it came.
        json: bool,
    },
    /// Verify these files of audit records, in this order.
    AuditVerify(Vec<PathBuf>),
    /// Be the guard of a gateway: `guard::run` with stdin.
    Guard {
        /// What the gateway's children have in their environment.
        marker: String,
    },
}

/// Says what `args` (the program's own name not among them) and `env` ask for.
///
/// # Errors
///
/// One line for stderr; the process ends with [`Error::EXIT_CODE`].
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    binary_name: &'static str,
) -> Result<Invocation, Error> {
    let env: Environment = env.into_iter().collect();
    Ok(match command_line::read(args, binary_name)? {
        Request::Text(text) => Invocation::Help(text),
        Request::DemoServer => Invocation::DemoServer,
        Request::Health { url: Some(url), .. } => {
            let roots = Some(meaning::roots(&env)?);
            Invocation::Health(health::Asked { url, roots })
        }
        Request::Health { asked, url: None } => {
            Invocation::Health(reached::health(&typed(asked, &env)?)?)
        }
        Request::Status { asked, json } => Invocation::Status {
            asked: reached::status(&typed(asked, &env)?)?,
            json,
        },
        Request::AuditVerify(files) => Invocation::AuditVerify(files),
        Request::Guard { marker } => Invocation::Guard { marker },
        Request::PrintConfig { asked, client } => {
            let meaning = understand(asked, &env)?;
            let (policy, url, variable) = meaning.reached_as()?;
            let name = &policy.service_name;
            Invocation::PrintConfig(configuration(client, name, &url, variable.as_deref()))
        }
        Request::Serve { asked, check } => {
            let mut meaning = understand(asked, &env)?;
            let document = std::mem::take(&mut meaning.document);
            let settings = meaning
                .settings()?
                .ok_or_else(|| command_line::nothing_to_serve(binary_name))?;
            if check {
                Invocation::CheckConfig(document)
            } else {
                Invocation::Serve(Box::new(settings))
            }
        }
    })
}

/// Lays the three layers over each other and reads the result.
fn understand(asked: Asked, env: &Environment) -> Result<Meaning, Error> {
    Meaning::of(&typed(asked, env)?, env)
}

/// Lays the three layers over each other.
fn typed(asked: Asked, env: &Environment) -> Result<Typed, Error> {
    let variable = || environment::value(env, "MCP_GATEWAY_CONFIG").map(PathBuf::from);
    let mut typed = Typed::default();
    if let Some(path) = asked.config.or_else(variable) {
        typed.overlay(file::read(&path)?)?;
    }
    typed.overlay(environment::read(env)?)?;
    typed.overlay(asked.typed)?;
    Ok(typed)
}
