//! What the operator decided, as the machines need it.

use crate::auth::AuthPolicy;
use crate::limits::Limits;
use crate::origin::{Host, Origin};

/// What the operator decided: who is served, where, and within which bounds.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The service's name, as `/health` and the page at `/` tell it.
    pub service_name: String,
    /// The service's version, as `/health` tells it.
    pub service_version: String,
    /// The path of the MCP endpoint, `/mcp` by default.
    pub path: String,
    /// The ports that the listeners are bound to: a loopback `Origin` is the gateway's own only
    /// with one of these.
    pub ports: Vec<u16>,
    /// Whether the listeners speak TLS: a loopback `Origin` is the gateway's own only with the scheme
    /// that they are reached by.
    pub https: bool,
    /// The URL's origin by which clients reach the gateway, where a proxy stands in front.
    pub public_origin: Option<Origin>,
    /// Further names by which the gateway may be addressed (`Host`).
    pub allowed_hosts: Vec<Host>,
    /// Further origins that may call, and that CORS answers.
    pub allowed_origins: Vec<Origin>,
    /// The HTML page at `/`, which tells a person in a browser what this is.
    pub page: String,
    /// Whether one child is started at once, to see whether the wrapped server works, and again after
    /// starts that failed.
    pub startup_probe: bool,
    /// Who may come in.
    pub auth: AuthPolicy,
    /// The bounds.
    pub limits: Limits,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            service_name: "mcp-gateway".to_owned(),
            service_version: env!("CARGO_PKG_VERSION").to_owned(),
            path: "/mcp".to_owned(),
            ports: Vec::new(),
            https: false,
            public_origin: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            page: String::new(),
            startup_probe: true,
            auth: AuthPolicy::default(),
            limits: Limits::default(),
        }
    }
}
