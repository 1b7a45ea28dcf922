//! The handshake that the gateway owns, and what it tells of the server.

use bytes::Bytes;

use super::result::SERVER_INFO;
use super::{ModernServer, Phase, number};
use crate::envelope::{Envelope, Field};
use crate::time::Now;
use crate::translation::json::{Members, is_object, members, object, one_line};
use crate::version::{MODERN, Version};

/// The id of `initialize`: none that a request of the client's has.
pub(super) const INITIALIZE: u64 = 0;

/// What a legacy server has said of itself.
#[derive(Default)]
pub(super) struct Server {
    /// `serverInfo`, as raw JSON on one line.
    pub(super) info: Option<String>,
    /// The answer to `server/discover`.
    pub(super) discovered: Bytes,
    pub(super) logging: bool,
    pub(super) tools_list_changed: bool,
    pub(super) prompts_list_changed: bool,
    pub(super) resources_list_changed: bool,
    pub(super) resources_subscribe: bool,
}

impl Server {
    /// Reads an `InitializeResult`; `None` if it is no object.
    fn read(result: &[u8]) -> Option<Self> {
        let read = members(result)?;
        let capabilities: serde_json::Value = read
            .get("capabilities")
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or_default();
        let is_true = |path: &str| capabilities.pointer(path) == Some(&true.into());
        Some(Self {
            info: server_info(&read),
            discovered: discover_result(result),
            logging: capabilities["logging"].is_object(),
            tools_list_changed: is_true("/tools/listChanged"),
            prompts_list_changed: is_true("/prompts/listChanged"),
            resources_list_changed: is_true("/resources/listChanged"),
            resources_subscribe: is_true("/resources/subscribe"),
        })
    }
}

fn server_info(initialized: &Members<'_>) -> Option<String> {
    let info = initialized.get("serverInfo")?;
    is_object(info).then(|| one_line(info.get().to_owned()))
}

/// The `DiscoverResult` (MCP 2026-07-28, `server/discover`) of a legacy server behind the gateway,
/// made of the JSON of its `InitializeResult`; an empty server's if that is no object.
///
/// Tasks are left out of the capabilities: those of 2025-11-25 are not those of the later extension.
pub(crate) fn discover_result(initialize_result: &[u8]) -> Bytes {
    let read = members(initialize_result).unwrap_or_default();
    let capabilities = read.get("capabilities").map(|raw| raw.get());
    let capabilities = members(capabilities.unwrap_or("{}").as_bytes()).unwrap_or_default();
    let capabilities = object(
        capabilities
            .iter()
            .filter(|(name, _)| *name != "tasks")
            .map(|(name, value)| (name, value.get())),
    );
    let mut result = format!(
        "{{\"resultType\":\"complete\",\"supportedVersions\":[\"{MODERN}\"],\
         \"capabilities\":{capabilities}"
    );
    if let Some(instructions) = read.get("instructions") {
        result.push_str(&format!(",\"instructions\":{}", instructions.get()));
    }
    result.push_str(",\"ttlMs\":0,\"cacheScope\":\"private\"");
    if let Some(info) = server_info(&read) {
        result.push_str(&format!(",\"_meta\":{{{SERVER_INFO}{info}}}"));
    }
    result.push('}');
    one_line(result).into()
}

impl ModernServer {
    pub(super) fn initialize(&mut self, capabilities: &[u8]) {
        let capabilities = String::from_utf8_lossy(capabilities);
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{INITIALIZE},\"method\":\"initialize\",\"params\":{{\
             \"protocolVersion\":\"{}\",\"capabilities\":{capabilities},\
             \"clientInfo\":{{\"name\":\"mcp-gateway\",\"version\":\"{}\"}}}}}}",
            Version::LATEST.as_str(),
            env!("CARGO_PKG_VERSION"),
        );
        self.line_for_child(one_line(line));
    }

    /// Takes the child's answer to `initialize`, if that is what it is.
    pub(super) fn initialized(&mut self, document: &[u8], message: &Envelope, now: Now) {
        if message.raw(Field::Id, document).and_then(number) != Some(INITIALIZE) {
            return;
        }
        match message.raw(Field::Result, document).and_then(Server::read) {
            Some(server) => {
                self.phase = Phase::Ready(server);
                self.line_for_child(
                    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}".to_owned(),
                );
                self.follow_all();
            }
            None => self.phase = Phase::Failed,
        }
        for (line, message) in self.waiting.take() {
            self.request(&line, &message, now);
        }
    }
}
