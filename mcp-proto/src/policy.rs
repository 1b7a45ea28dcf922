//! What the operator decided, as the machines need it.

use std::fmt;
use std::num::NonZeroUsize;

use crate::auth::AuthPolicy;
use crate::limits::Limits;
use crate::origin::{Host, Origin};

/// Who shares a child with whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// What is safe: a child for each session where the server has sessions; one for all where it has
    /// none; and for clients that have none of a server that has, children of their own for each
    /// principal.
    #[default]
    Auto,
    /// Nobody, as far as there are sessions; where there are none, those of one principal.
    PerSession,
    /// Those of one principal.
    PerPrincipal,
    /// All share one.
    Shared,
    /// All share so many.
    Pool(NonZeroUsize),
}

/// A key that seals what goes through clients: 32 bytes of a CSPRNG. Its debug form shows none of them.
#[derive(Clone, PartialEq, Eq)]
pub struct SealKey(pub [u8; 32]);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

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
    /// Whether the wrapped server is asked `server/discover`. If it is not, it is taken for one that has
    /// a handshake: for servers that fail at a question which they do not know.
    pub discover: bool,
    /// Whether, while clients of 2026-07-28 come to a server that has a handshake, a child is kept started
    /// for those who come next: they do not wait for its start.
    pub start_ahead: bool,
    /// Who shares a child with whom.
    pub share: Share,
    /// What a `requestState` that goes through clients is sealed with: the first key seals, any opens.
    /// Replicas need the same one. With none, the gateway makes one for as long as it runs.
    pub seal_keys: Vec<SealKey>,
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
            discover: true,
            start_ahead: true,
            share: Share::default(),
            seal_keys: Vec::new(),
            auth: AuthPolicy::default(),
            limits: Limits::default(),
        }
    }
}
