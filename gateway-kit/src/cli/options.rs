//! The one table of options: the command line, the environment and the file all read it.

use super::auth_options::{AUDIT_RECORDS, AUTHENTICATION, OAUTH};
use super::limits::LIMITS;

/// How many values an option takes, and how they are typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One value.
    One,
    /// Any number: the option is repeated, a variable has commas, the file an array.
    Many,
    /// `--name` alone says yes; `--name=off` says no.
    Flag,
    /// `on` or `off`.
    Switch,
    /// The words after `--`, or an array in the file: no variable holds them.
    Words,
}

/// An option, under the one name that it has everywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    /// The key in the file, and the option's name after `--`.
    pub(crate) name: &'static str,
    /// What the help calls its value.
    pub(crate) value: &'static str,
    pub(crate) shape: Shape,
    pub(crate) help: &'static str,
}

pub(crate) const SERVICE_NAME: &str = "service-name";
pub(crate) const SERVICE_VERSION: &str = "service-version";
pub(crate) const PORT: &str = "port";
pub(crate) const HOST: &str = "host";
pub(crate) const PATH: &str = "path";
pub(crate) const PUBLIC_URL: &str = "public-url";
pub(crate) const ALLOWED_HOST: &str = "allowed-host";
pub(crate) const ALLOWED_ORIGIN: &str = "allowed-origin";
pub(crate) const TLS_CERTIFICATE: &str = "tls-certificate";
pub(crate) const TLS_KEY: &str = "tls-key";
pub(crate) const ALLOW_UNAUTHENTICATED: &str = "allow-unauthenticated";
pub(crate) const COMMAND: &str = "command";
pub(crate) const DEMO: &str = "demo";
pub(crate) const CWD: &str = "cwd";
pub(crate) const ENV: &str = "env";
pub(crate) const STARTUP_PROBE: &str = "startup-probe";
pub(crate) const DISCOVER: &str = "discover";
pub(crate) const START_AHEAD: &str = "start-ahead";
pub(crate) const SHARE: &str = "share";
pub(crate) const SEAL_KEY_FILE: &str = "seal-key-file";
pub(crate) const ADMIN: &str = "admin";
pub(crate) const GUARD: &str = "guard";
pub(crate) const LOG_FORMAT: &str = "log-format";
pub(crate) const ACCESS_LOG: &str = "access-log";
pub(crate) const LOG_LEVEL: &str = "log-level";
pub(crate) const WORKERS: &str = "workers";

/// The prefix of every option's environment variable.
pub(crate) const PREFIX: &str = "MCP_GATEWAY_";

/// The options whose variable also goes without the prefix.
const PLAIN: [&str; 3] = [SERVICE_NAME, SERVICE_VERSION, PORT];

#[rustfmt::skip]
const OPTIONS: &[Spec] = &[
    Spec { name: SERVICE_NAME, value: "NAME", shape: Shape::One, help: "The service's name [default: the command's]" },
    Spec { name: SERVICE_VERSION, value: "VERSION", shape: Shape::One, help: "The service's version [default: the gateway's]" },
    Spec { name: PORT, value: "PORT", shape: Shape::One, help: "The TCP port; 0 takes any that is free [default: 8080]" },
    Spec { name: HOST, value: "ADDRESS", shape: Shape::Many, help: "An address to listen on, IPv4 or IPv6 [default: 127.0.0.1]" },
    Spec { name: PATH, value: "PATH", shape: Shape::One, help: "The path of the MCP endpoint [default: /mcp]" },
    Spec { name: PUBLIC_URL, value: "URL", shape: Shape::One, help: "The URL that users type, where a proxy stands in front" },
    Spec { name: ALLOWED_HOST, value: "HOST", shape: Shape::Many, help: "A further name, name:port, by which the gateway may be addressed" },
    Spec { name: ALLOWED_ORIGIN, value: "ORIGIN", shape: Shape::Many, help: "A further web origin that may call, such as https://app.example.org" },
    Spec { name: TLS_CERTIFICATE, value: "FILE", shape: Shape::One, help: "Serve HTTPS with this certificate and those that lead to its authority (PEM), read again when they change" },
    Spec { name: TLS_KEY, value: "FILE", shape: Shape::One, help: "The certificate's private key (PEM)" },
    Spec { name: ALLOW_UNAUTHENTICATED, value: "on|off", shape: Shape::Flag, help: "Serve callers beyond this machine without asking who they are" },
    Spec { name: DEMO, value: "on|off", shape: Shape::Flag, help: "Serve the demo server that is part of this binary" },
    Spec { name: CWD, value: "DIRECTORY", shape: Shape::One, help: "The directory in which the server runs [default: the gateway's]" },
    Spec { name: ENV, value: "NAME[=VALUE]", shape: Shape::Many, help: "A variable for the server: NAME passes the gateway's own on" },
    Spec { name: STARTUP_PROBE, value: "on|off", shape: Shape::Switch, help: "Start the server once at the start, to see that it works, and again after starts that failed [default: on]" },
    Spec { name: DISCOVER, value: "on|off", shape: Shape::Switch, help: "Ask the server server/discover; off takes it for one that has initialize, for servers that fail at a question they do not know [default: on]" },
    Spec { name: START_AHEAD, value: "on|off", shape: Shape::Switch, help: "Keep a child started for the clients of 2026-07-28 who come next, if the server has a handshake [default: on]" },
    Spec { name: SHARE, value: "SHARING", shape: Shape::One, help: "Who shares a child: auto, per-session, per-principal, shared, or pool(COUNT) [default: auto]" },
    Spec { name: SEAL_KEY_FILE, value: "FILE", shape: Shape::One, help: "Keys that seal requestState, 64 hexadecimal digits on each line, the newest first: the same for all replicas [default: one of its own]" },
    Spec { name: GUARD, value: "on|off", shape: Shape::Switch, help: "Keep a small process that ends the children if the gateway is killed [default: on]" },
    Spec { name: ADMIN, value: "ADDRESS:PORT|off", shape: Shape::One, help: "Where /metrics and /status are served, to whoever operates this [default: 127.0.0.1:9090]" },
    Spec { name: LOG_FORMAT, value: "text|json", shape: Shape::One, help: "The form of the log on stderr [default: text]" },
    Spec { name: LOG_LEVEL, value: "FILTER", shape: Shape::One, help: "What is logged: error, warn, info, debug, or a tracing filter [default: info]" },
    Spec { name: ACCESS_LOG, value: "on|off", shape: Shape::Switch, help: "A line on stderr for each request, whatever the level [default: on]" },
    Spec { name: WORKERS, value: "COUNT", shape: Shape::One, help: "Threads of the runtime [default: one per processor]" },
    Spec { name: COMMAND, value: "COMMAND", shape: Shape::Words, help: "The stdio MCP server to serve, and its arguments" },
];

/// Every option but the limits, under the headings that the help has.
pub(crate) const SECTIONS: [(Option<&str>, &[Spec]); 4] = [
    (None, OPTIONS),
    (Some("Authentication"), AUTHENTICATION),
    (Some("OAuth"), OAUTH),
    (Some("Audit"), AUDIT_RECORDS),
];

/// Every option, the limits last.
pub(crate) fn all() -> impl Iterator<Item = Spec> {
    let limits = LIMITS.iter().map(|limit| limit.spec);
    let plain = SECTIONS.into_iter().flat_map(|(_, specs)| specs);
    plain.copied().chain(limits)
}

/// The environment variables of an option, the one that wins first.
pub(crate) fn variables(spec: &Spec) -> Vec<String> {
    if spec.shape == Shape::Words {
        return Vec::new();
    }
    let name = spec.name.replace('-', "_").to_uppercase();
    let mut variables = vec![format!("{PREFIX}{name}")];
    if PLAIN.contains(&spec.name) {
        variables.push(name);
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_is_there_once_and_is_kebab_case() {
        let mut seen = BTreeSet::new();
        for spec in all() {
            assert!(seen.insert(spec.name), "{} is there twice", spec.name);
            let kebab = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            assert!(spec.name.bytes().all(kebab), "{}", spec.name);
        }
        assert!(seen.contains("session-ttl"));
    }
}
