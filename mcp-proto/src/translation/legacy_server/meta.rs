//! The `_meta` of modern requests, which says in each of them what `initialize` said once.

use super::LegacyServer;
use crate::translation::json::{members, object, quoted};

/// The revision of the child, as JSON text.
const REVISION: &str = "\"2026-07-28\"";

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
        let (token, level) = (token.map(|token| token.to_string()), level.map(quoted));
        // MCP 2026-07-28, "General fields: `_meta`".
        let ours = [
            ("io.modelcontextprotocol/protocolVersion", Some(REVISION)),
            (
                "io.modelcontextprotocol/clientCapabilities",
                Some(&*self.client.capabilities),
            ),
            (
                "io.modelcontextprotocol/clientInfo",
                self.client.info.as_deref(),
            ),
            ("io.modelcontextprotocol/logLevel", level.as_deref()),
            ("progressToken", token.as_deref()),
        ];
        let given = given.and_then(members).unwrap_or_default();
        let is_ours = |key: &str| ours.iter().any(|(name, _)| *name == key);
        let theirs = given.iter().filter(|(key, _)| !is_ours(key));
        let theirs = theirs.map(|(key, value)| (key.as_str(), value.get()));
        let ours = ours
            .iter()
            .filter_map(|(key, value)| Some((*key, (*value)?)));
        object(ours.chain(theirs))
    }
}
