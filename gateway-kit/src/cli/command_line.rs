//! The command line as a layer, and the subcommands.

use super::error::Error;
use super::limits::LIMITS;
use super::options::{self, COMMAND, Shape, Spec};
use super::typed::{Given, Source, Typed};
use crate::print_config::Client;
use clap::builder::{PossibleValuesParser, ValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use mcp_proto::Limits;
use std::ffi::OsString;
use std::path::PathBuf;

const CONFIG: &str = "config";
const CHECK_CONFIG: &str = "check-config";
const CLIENT: &str = "client";
const MARKER: &str = "marker";
const DEMO_SERVER: &str = "demo-server";
const PRINT_CONFIG: &str = "print-config";
const GUARD: &str = "guard";
const AUDIT: &str = "audit";
const HEALTH: &str = "health";
const URL: &str = "url";
const STATUS: &str = "status";
const JSON: &str = "json";
const VERIFY: &str = "verify";
const FILE: &str = "file";

const AFTER_HELP: &str = r#"Every option can also be given in the environment and in a TOML file. The command line wins
over the environment, and that over the file; a list replaces the list below it.

Environment: MCP_GATEWAY_ and the option's name, as in MCP_GATEWAY_SESSION_TTL=10m. SERVICE_NAME,
  SERVICE_VERSION and PORT also go without the prefix; the prefixed ones win over them. Lists have
  commas, as in MCP_GATEWAY_ENV=API_KEY,MODE=fast. An empty variable counts as unset.
  SERVICE_API_TOKEN (demo and demo-mcp have DEMO_API_TOKEN) holds the service's own token, and
  SERVICE_API_TOKEN_PREVIOUS the one before it while clients change over; with auth http and without
  static, it is what the gateway tries the service with.
File (--config FILE, or MCP_GATEWAY_CONFIG): the options without their dashes, as in
  session-ttl = "10m", host = ["127.0.0.1", "::1"], command = ["node", "server.js"].
  No variable holds the command.
Times are seconds, or 200ms, 30s, 10m, 1h; sizes are bytes, or 16KiB, 4MiB, 1GiB."#;

/// What the command line asks for.
pub(crate) enum Request {
    /// Help or the version: text for stdout.
    Text(String),
    Serve {
        asked: Asked,
        check: bool,
    },
    PrintConfig {
        asked: Asked,
        client: Client,
    },
    DemoServer,
    Health {
        asked: Asked,
        url: Option<String>,
    },
    Status {
        asked: Asked,
        json: bool,
    },
    AuditVerify(Vec<PathBuf>),
    Guard {
        marker: String,
    },
}

/// The layer of options that came with a request.
pub(crate) struct Asked {
    pub(crate) typed: Typed,
    pub(crate) config: Option<PathBuf>,
}

/// Reads the arguments, the program's own name not among them.
pub(crate) fn read(
    args: impl IntoIterator<Item = OsString>,
    binary_name: &'static str,
) -> Result<Request, Error> {
    let args = [binary_name.into()].into_iter().chain(args);
    let matches = match command(binary_name).try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => return refusal_or_text(&error),
    };
    let mut asked = Asked {
        typed: Typed::default(),
        config: None,
    };
    asked.take(&matches);
    Ok(match matches.subcommand() {
        Some((PRINT_CONFIG, inner)) => {
            asked.take(inner);
            let name = inner.get_one::<String>(CLIENT).map_or("", String::as_str);
            let client = Client::named(name).ok_or_else(|| Error::about(CLIENT, "is unknown"))?;
            Request::PrintConfig { asked, client }
        }
        Some((HEALTH, inner)) => {
            asked.take(inner);
            let url = inner.get_one(URL).cloned();
            Request::Health { asked, url }
        }
        Some((STATUS, inner)) => {
            asked.take(inner);
            let json = inner.get_flag(JSON);
            Request::Status { asked, json }
        }
        Some((GUARD, inner)) => Request::Guard {
            marker: inner.get_one(MARKER).cloned().unwrap_or_default(),
        },
        Some((AUDIT, inner)) => {
            let files = inner.subcommand_matches(VERIFY);
            let files = files.and_then(|verify| verify.get_many(FILE));
            Request::AuditVerify(files.into_iter().flatten().cloned().collect())
        }
        Some(_) => Request::DemoServer,
        None => Request::Serve {
            asked,
            check: matches.get_flag(CHECK_CONFIG),
        },
    })
}

impl Asked {
    /// Adds what `matches` has; of an option on both sides of a subcommand, the later one stands.
    fn take(&mut self, matches: &ArgMatches) {
        for spec in options::all() {
            if let Some(values) = matches.get_many::<OsString>(spec.name) {
                let values = values.cloned().collect();
                let source = Source::Option;
                self.typed.set(&spec, Given { values, source });
            }
        }
        if let Some(config) = matches.get_one::<PathBuf>(CONFIG) {
            self.config = Some(config.clone());
        }
    }
}

fn command(binary_name: &'static str) -> Command {
    Command::new(binary_name)
        .version(env!("CARGO_PKG_VERSION"))
        .about("Serves a stdio MCP server over Streamable HTTP")
        .override_usage(format!(
            "{binary_name} [OPTIONS] -- COMMAND [ARGS]...\n       {binary_name} [OPTIONS] --demo\n       \
             {binary_name} [OPTIONS] {PRINT_CONFIG} --client CLIENT\n       \
             {binary_name} [OPTIONS] {HEALTH} [--url URL]\n       \
             {binary_name} [OPTIONS] {STATUS} [--json]\n       \
             {binary_name} {AUDIT} {VERIFY} FILE..."
        ))
        .after_help(AFTER_HELP)
        .disable_help_subcommand(true)
        .args(arguments())
        .arg(
            Arg::new(CHECK_CONFIG)
                .long(CHECK_CONFIG)
                .action(ArgAction::SetTrue)
                .help("Print what is in force as TOML, and where it came from, then end"),
        )
        .subcommand(Command::new(DEMO_SERVER).about("The demo server itself, on stdin and stdout"))
        .subcommand(
            Command::new(PRINT_CONFIG)
                .about("Print the configuration that a client needs, for the options given")
                .args(arguments())
                .arg(
                    Arg::new(CLIENT)
                        .long(CLIENT)
                        .value_name("CLIENT")
                        .required(true)
                        .value_parser(PossibleValuesParser::new(Client::ALL.map(Client::name)))
                        .help("Whose configuration; claude-json is for .mcp.json"),
                ),
        )
        .subcommand(
            Command::new(HEALTH)
                .about("Ask whether the gateway of the options given is well: 0 if so, else 1")
                .args(arguments())
                .arg(
                    Arg::new(URL)
                        .long(URL)
                        .value_name("URL")
                        .help("Another gateway's, such as http://127.0.0.1:8080/health/ready"),
                ),
        )
        .subcommand(
            Command::new(STATUS)
                .about("Show sessions, children, rates and refusals of the gateway at --admin")
                .args(arguments())
                .arg(
                    Arg::new(JSON)
                        .long(JSON)
                        .action(ArgAction::SetTrue)
                        .help("Print the JSON document itself"),
                ),
        )
        .subcommand(
            Command::new(AUDIT)
                .about("What can be done with audit records")
                .disable_help_subcommand(true)
                .subcommand_required(true)
                .subcommand(
                    Command::new(VERIFY)
                        .about("Verify files of audit records, the oldest first")
                        .arg(
                            Arg::new(FILE)
                                .value_name("FILE")
                                .num_args(1..)
                                .required(true)
                                .value_parser(ValueParser::path_buf())
                                .help("A file that was given to --audit, or a part of one"),
                        ),
                ),
        )
        .subcommand(
            Command::new(GUARD).hide(true).arg(
                Arg::new(MARKER)
                    .long(MARKER)
                    .required(true)
                    .value_name("VALUE"),
            ),
        )
}

fn arguments() -> impl Iterator<Item = Arg> {
    let config = Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .value_parser(ValueParser::path_buf())
        .help("A TOML file with options (MCP_GATEWAY_CONFIG)");
    let defaults = Limits::default();
    let limits = LIMITS.iter().map(move |limit| {
        let default = (limit.show)(&defaults);
        argument(&limit.spec)
            .help(format!("{} [default: {default}]", limit.spec.help))
            .help_heading("Limits")
    });
    let plain = options::SECTIONS.into_iter().flat_map(|(heading, specs)| {
        let specs = specs.iter();
        specs.map(move |spec| argument(spec).help_heading(heading))
    });
    [config].into_iter().chain(plain).chain(limits)
}

fn argument(spec: &Spec) -> Arg {
    let arg = Arg::new(spec.name)
        .value_name(spec.value)
        .value_parser(ValueParser::os_string())
        // `--port -1` is then a wrong value of port, not an unknown argument.
        .allow_negative_numbers(true)
        .help(spec.help);
    match spec.shape {
        Shape::One | Shape::Switch => arg.long(spec.name),
        Shape::Many => arg.long(spec.name).action(ArgAction::Append),
        Shape::Flag => arg
            .long(spec.name)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("on"),
        Shape::Words => arg.last(true).num_args(1..),
    }
}

/// clap's several lines as one; help and the version are no errors.
fn refusal_or_text(error: &clap::Error) -> Result<Request, Error> {
    let text = error.to_string();
    if !error.use_stderr() {
        return Ok(Request::Text(text));
    }
    let told = text.split("\n\nUsage:").next().unwrap_or(&text);
    let told = told
        .split("\n\nFor more information")
        .next()
        .unwrap_or(told);
    let mut line = told
        .trim_start_matches("error: ")
        .split('\n')
        .map(str::trim)
        .filter(|part| !part.is_empty() && !part.starts_with("tip: to pass"))
        .collect::<Vec<_>>()
        .join("; ")
        .replace(":; ", ": ")
        // An argument may hold anything, and must not write to the terminal.
        .replace(char::is_control, "?");
    if matches!(
        error.kind(),
        ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument
    ) {
        line.push_str("; the server's command goes after --, and --help lists the options");
    }
    Err(Error::new(line))
}

/// What to say to somebody who gave nothing to serve.
pub(crate) fn nothing_to_serve(binary_name: &str) -> Error {
    Error::about(
        COMMAND,
        format!(
            "is missing: give the stdio MCP server to serve after --, as in `{binary_name} -- npx \
             -y @modelcontextprotocol/server-everything`, or try `{binary_name} --demo`"
        ),
    )
}
