//! The `_meta` of modern requests, which says in each of them what `initialize` said once.

use super::LegacyServer;
use super::members::{self, Members};

/// The revision of the child.
const REVISION: &str = "2026-07-28";

/// What the reserved keys begin with (MCP 2026-07-28, "General fields: `_meta`").
const PREFIX: &str = "io.modelcontextprotocol/";

impl LegacyServer {
    /// The `_meta` of a call, with what the client has put into it.
    pub(super) fn call_meta(&self, given: Option<&[u8]>, token: Option<u64>) -> String {
        self.meta(given, token, self.client.level(&self.server))
    }

    /// The `_meta` of a `subscriptions/listen`. Without a level: what is logged belongs to calls.
    pub(super) fn listen_meta(&self) -> String {
        self.meta(None, None, None)
    }

    fn meta(&self, given: Option<&[u8]>, token: Option<u64>, level: Option<&str>) -> String {
        let mut meta = format!(
            "{{\"{PREFIX}protocolVersion\":\"{REVISION}\",\"{PREFIX}clientCapabilities\":{}",
            members::to_json(&self.client.capabilities)
        );
        if let Some(info) = &self.client.info {
            meta += &format!(",\"{PREFIX}clientInfo\":{}", info.get());
        }
        if let Some(level) = level {
            meta += &format!(",\"{PREFIX}logLevel\":\"{level}\"");
        }
        if let Some(token) = token {
            meta += &format!(",\"progressToken\":{token}");
        }
        let given = given.and_then(members::members).unwrap_or_default();
        let given: Members = given.into_iter().filter(|(key, _)| !is_ours(key)).collect();
        if !given.is_empty() {
            meta.push(',');
            meta += &members::to_json(&given)[1..];
        } else {
            meta.push('}');
        }
        meta
    }
}

/// Whether a key is one that the client cannot set here.
fn is_ours(key: &str) -> bool {
    let name = key.strip_prefix(PREFIX);
    matches!(
        name,
        Some("protocolVersion" | "clientCapabilities" | "clientInfo" | "logLevel")
    ) || key == "progressToken"
}
