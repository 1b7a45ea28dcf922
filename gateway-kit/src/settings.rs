//! What is in force: the end of all configuration, and the start of an embedder's.

use crate::fetch::Roots;
use crate::page::page;
use crate::print_config::token_variable;
use crate::static_tokens::TokenFile;
use crate::tls::Tls;
use mcp_proto::Policy;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;
use std::thread;

/// The variables that a child gets of the gateway's own environment; `LC_*` comes with them.
const PASSED_ON: [&str; 9] = [
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "TERM",
];

/// Everything that a gateway needs to know before it starts.
///
/// The command line makes one ([`crate::cli::parse`]); an embedder starts from
/// [`Settings::new`] and changes the fields.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the machines of `mcp-proto` need; complete after [`Settings::listening`].
    pub policy: Policy,
    /// The addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// The wrapped server.
    pub child: ChildCommand,
    /// The log.
    pub log: LogSettings,
    /// Whether each request gets a line on stderr, in the log's form.
    pub access_log: bool,
    /// Where audit records go.
    pub audit: AuditSink,
    /// Where metrics and the status are served; nowhere if `None`.
    pub admin: Option<AdminAddress>,
    /// A file with more static tokens, which is to be watched ([`TokenFile::watch`]).
    pub token_file: Option<TokenFile>,
    /// The variable in which callers are told to have their token; the service's own if `None`.
    pub token_variable: Option<String>,
    /// What the listeners speak TLS with; plain HTTP if `None`.
    pub tls: Option<Tls>,
    /// What a verifier that does not work does to the start.
    pub startup_check: StartupCheck,
    /// Threads of the runtime.
    pub workers: usize,
    /// Whether a guard process ends the children of a gateway that is killed.
    pub guard: bool,
    /// The whole URL that users type, path included, where a proxy stands in front.
    pub public_url: Option<String>,
    /// The certificates that other servers' certificates must lead to.
    pub roots: Roots,
    /// What is allowed but may not be meant, a line each, for the log at the start.
    pub warnings: Vec<String>,
}

impl Settings {
    /// The defaults around `child`: 127.0.0.1:8080, and no guard, since an embedder's binary has
    /// no `guard` subcommand unless it gives itself one.
    pub fn new(child: ChildCommand) -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        Self {
            policy: Policy {
                ports: vec![listen.port()],
                ..Policy::default()
            },
            listen: vec![listen],
            child,
            log: LogSettings::default(),
            access_log: false,
            audit: AuditSink::default(),
            admin: None,
            token_file: None,
            token_variable: None,
            tls: None,
            startup_check: StartupCheck::default(),
            workers: default_workers(),
            guard: false,
            public_url: None,
            roots: Roots::default(),
            warnings: Vec::new(),
        }
    }

    /// Completes the policy once the listeners are bound, since a port may have been 0: `bound`
    /// are their addresses, in the order of `listen`. Returns the URL that clients use.
    pub fn listening(&mut self, bound: &[SocketAddr]) -> String {
        self.policy.ports = bound.iter().map(SocketAddr::port).collect();
        self.policy.ports.dedup();
        let first = bound.first().or(self.listen.first()).copied();
        let first = first.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        self.policy.https = self.tls.is_some();
        let url = url(self.public_url.as_deref(), first, &self.policy);
        self.policy.auth.resource.clone_from(&url);
        self.policy.page = page(
            &self.policy.service_name,
            &self.policy.service_version,
            &url,
            token_variable(&self.policy, self.token_variable.as_deref()).as_deref(),
        );
        url
    }
}

/// The public URL, or `http://ADDRESS/PATH` (`https` with TLS), with loopback where the address is
/// "any".
pub(crate) fn url(public_url: Option<&str>, bound: SocketAddr, policy: &Policy) -> String {
    if let Some(url) = public_url {
        return url.to_owned();
    }
    let scheme = if policy.https { "https" } else { "http" };
    format!("{scheme}://{}{}", reachable(bound), policy.path)
}

/// An address at which this machine reaches a listener that is bound to `bound`.
pub(crate) fn reachable(mut bound: SocketAddr) -> SocketAddr {
    bound.set_ip(match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    });
    bound
}

/// One thread for each processor that this process may use.
pub(crate) fn default_workers() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// How to start the wrapped server. There is no shell: the arguments arrive as they are.
///
/// ```
/// use gateway_kit::ChildCommand;
///
/// let child = ChildCommand::new("node")
///     .args(["server.js", "--verbose"])
///     .inherit(std::env::vars_os())
///     .env("API_KEY", "secret");
/// assert_eq!(child.args.len(), 2);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ChildCommand {
    /// The program: a path, or a name that is looked for in the `PATH` of `env`.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Where it runs; the gateway's own directory if `None`.
    pub cwd: Option<PathBuf>,
    /// Its complete environment, each name once.
    pub env: Vec<(OsString, OsString)>,
}

impl ChildCommand {
    /// A program with no arguments and an empty environment.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            cwd: None,
            env: Vec::new(),
        }
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item: Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets the directory in which the program runs.
    pub fn cwd(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cwd = Some(directory.into());
        self
    }

    /// Sets one variable; one of the same name is replaced.
    pub fn env(self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.envs([(name.into(), value.into())])
    }

    /// Takes the few variables of `env` that every program needs (`PATH`, `HOME`, `LANG`, ...) and
    /// nothing else: what the gateway knows, its secrets included, stays with it.
    pub fn inherit(self, env: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.envs(env.into_iter().filter(|(name, _)| is_passed_on(name)))
    }

    fn envs(mut self, env: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut all: BTreeMap<_, _> = self.env.into_iter().collect();
        all.extend(env);
        self.env = all.into_iter().collect();
        self
    }
}

fn is_passed_on(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| PASSED_ON.contains(&name) || name.starts_with("LC_"))
}

/// Names of variables, never their values: they may be secrets.
impl fmt::Debug for ChildCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("ChildCommand")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("cwd", &self.cwd)
            .field("env", &names)
            .finish()
    }
}

/// Where metrics and the status are served, by a thread of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminAddress {
    /// The address to listen on.
    pub address: SocketAddr,
    /// Whether it must be this one: if not, the gateway goes on without where it is taken.
    pub named: bool,
}

impl AdminAddress {
    /// What the binaries take if they are told nothing.
    pub const DEFAULT: Self = Self {
        address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090),
        named: false,
    };
}

/// Where audit records go.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum AuditSink {
    /// To stdout, a line each.
    #[default]
    Stdout,
    /// To this file, which is opened again on SIGHUP.
    File(PathBuf),
    /// Nowhere.
    Off,
}

/// What a verifier that does not work does to the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StartupCheck {
    /// The gateway does not start.
    #[default]
    Stop,
    /// It is said in the log.
    Warn,
}

/// How the log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// What is logged, as `tracing-subscriber`'s `EnvFilter` reads it: `info`,
    /// `info,gateway_kit=debug`.
    pub filter: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            filter: "info".to_owned(),
        }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(n, v)| (n.into(), v.into())).collect()
    }

    #[test]
    fn a_child_inherits_the_short_list_and_nothing_else() {
        let gateways = pairs(&[
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("DEMO_API_TOKEN", "secret"),
        ]);
        let child = ChildCommand::new("server")
            .inherit(gateways)
            .env("PATH", "/opt/bin")
            .env("MODE", "fast");
        let expected = [("LC_ALL", "C"), ("MODE", "fast"), ("PATH", "/opt/bin")];
        assert_eq!(child.env, pairs(&expected));
    }

    #[test]
    fn debug_output_names_variables_without_their_values() {
        let child = ChildCommand::new("server").env("KEY", "marker-secret");
        let shown = format!("{:?}", Settings::new(child));
        assert!(shown.contains("KEY") && !shown.contains("marker-secret"));
    }

    #[test]
    fn the_url_is_one_that_a_client_can_reach() {
        let mut settings = Settings::new(ChildCommand::new("server"));
        for (bound, url) in [
            ("127.0.0.1:1", "http://127.0.0.1:1/mcp"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080/mcp"),
            ("[::]:8080", "http://[::1]:8080/mcp"),
            ("[fe80::1]:80", "http://[fe80::1]:80/mcp"),
        ] {
            let bound: SocketAddr = bound.parse().unwrap();
            assert_eq!(settings.listening(&[bound]), url);
            assert_eq!(settings.policy.auth.resource, url);
            assert_eq!(settings.policy.ports, [bound.port()]);
            assert!(settings.policy.page.contains(url));
        }
        settings.public_url = Some("https://gw.example.org/mcp".to_owned());
        let bound = "0.0.0.0:1".parse().unwrap();
        assert_eq!(settings.listening(&[bound]), "https://gw.example.org/mcp");
    }
}
