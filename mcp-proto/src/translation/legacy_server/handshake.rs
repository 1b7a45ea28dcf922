//! The handshake: what the server and the client have told of themselves.

use serde_json::value::RawValue;

use super::members::{self, Members};
use super::{LegacyServer, code};
use crate::envelope::{Envelope, Field};
use crate::version::Version;

/// The extension of 2026-07-28 that took the place of 2025-11-25's tasks, and is not the same.
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// Most bytes of what a client tells of itself, which each of its calls repeats.
const MOST_CLIENT_BYTES: usize = 64 * 1024;

/// The levels of log messages (MCP 2025-11-25, logging, "Log Levels").
const LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

/// Log messages from this level on are sent to a client that has set none (MCP 2025-11-25 leaves
/// it to the server).
const DEFAULT_LEVEL: &str = "info";

/// What the server notifies of if asked to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offer {
    pub(super) tools: bool,
    pub(super) prompts: bool,
    pub(super) resources: bool,
    /// Whether it notifies of updates of single resources.
    pub(super) updates: bool,
}

/// What the server has told of itself.
pub(super) struct Server {
    capabilities: Members,
    /// JSON text.
    info: Option<Box<RawValue>>,
    /// JSON text.
    instructions: Option<Box<RawValue>>,
}

impl Server {
    pub(super) fn new(discover_result: &[u8]) -> Self {
        let mut result = members::members(&members::blank(discover_result)).unwrap_or_default();
        let capabilities = result.get("capabilities");
        let mut capabilities = capabilities
            .and_then(|capabilities| members::members(capabilities.get().as_bytes()))
            .unwrap_or_default();
        drop_tasks(&mut capabilities);
        let meta = result.get("_meta");
        let meta = meta.and_then(|meta| members::members(meta.get().as_bytes()));
        let info = meta.and_then(|mut meta| meta.remove("io.modelcontextprotocol/serverInfo"));
        Self {
            capabilities,
            info,
            instructions: result.remove("instructions"),
        }
    }

    /// The answer to `initialize`.
    fn initialize_result(&self, version: Version) -> String {
        // A modern server need not name itself; a legacy one must.
        const NAMELESS: &str = "{\"name\":\"unknown\",\"version\":\"unknown\"}";
        let info = self.info.as_deref().and_then(members::object);
        let mut result = format!(
            "{{\"protocolVersion\":\"{}\",\"capabilities\":{},\"serverInfo\":{}",
            version.as_str(),
            members::to_json(&self.capabilities),
            info.unwrap_or(NAMELESS),
        );
        let instructions = self.instructions.as_deref().map(RawValue::get);
        if let Some(instructions) = instructions.filter(|text| text.starts_with('"')) {
            result += ",\"instructions\":";
            result += instructions;
        }
        result.push('}');
        result
    }

    pub(super) fn has_logging(&self) -> bool {
        self.capabilities.contains_key("logging")
    }

    pub(super) fn offer(&self) -> Offer {
        let offers = |capability, flag| {
            let members = self.capabilities.get(capability);
            let members = members.and_then(|value| members::members(value.get().as_bytes()));
            members.is_some_and(|members| {
                let flag = members.get(flag);
                flag.is_some_and(|flag| flag.get() == "true")
            })
        };
        Offer {
            tools: offers("tools", "listChanged"),
            prompts: offers("prompts", "listChanged"),
            resources: offers("resources", "listChanged"),
            updates: offers("resources", "subscribe"),
        }
    }
}

/// What the client has told of itself, as 2026-07-28 has it.
#[derive(Default)]
pub(super) struct Client {
    pub(super) capabilities: Members,
    pub(super) info: Option<Box<RawValue>>,
    level: Option<&'static str>,
}

impl Client {
    fn new(params: &[u8]) -> Self {
        let mut params = members::members(params).unwrap_or_default();
        let declared = params.remove("capabilities");
        let mut capabilities = declared
            .and_then(|declared| members::members(declared.get().as_bytes()))
            .unwrap_or_default();
        drop_tasks(&mut capabilities);
        capabilities.retain(|name, value| {
            let is_modern = matches!(
                name.as_str(),
                "experimental" | "roots" | "sampling" | "elicitation" | "extensions"
            );
            is_modern && members::object(value).is_some()
        });
        // `listChanged` is gone: roots are asked for when they are needed.
        if let Some(roots) = capabilities.get_mut("roots") {
            *roots = serde_json::value::to_raw_value(&Members::new()).expect("it is an object");
        }
        Self {
            capabilities,
            info: params
                .remove("clientInfo")
                .filter(|info| members::object(info).is_some()),
            level: None,
        }
    }

    /// The level of log messages that the client is to get from this server.
    pub(super) fn level(&self, server: &Server) -> Option<&'static str> {
        let default = server.has_logging().then_some(DEFAULT_LEVEL);
        self.level.or(default)
    }

    /// Whether the client has declared what a request to it needs.
    pub(super) fn takes(&self, method: &str, params: Option<&Members>) -> bool {
        let declared = |name: &str| {
            let value = self.capabilities.get(name)?;
            members::members(value.get().as_bytes())
        };
        let has = |name| params.is_some_and(|params| params.contains_key(name));
        match method {
            "roots/list" => declared("roots").is_some(),
            "sampling/createMessage" => declared("sampling").is_some_and(|sampling| {
                !(has("tools") || has("toolChoice")) || sampling.contains_key("tools")
            }),
            "elicitation/create" => declared("elicitation").is_some_and(|modes| {
                if params.is_some_and(is_url_mode) {
                    modes.contains_key("url")
                } else {
                    // Without any mode it is this one (MCP 2025-11-25, elicitation,
                    // "Capabilities").
                    modes.contains_key("form") || !modes.contains_key("url")
                }
            }),
            _ => false,
        }
    }
}

/// Whether the parameters of `elicitation/create` send the user to a URL.
pub(super) fn is_url_mode(params: &Members) -> bool {
    let mode = params.get("mode");
    mode.is_some_and(|mode| members::is_string(mode, "url"))
}

/// Takes tasks out of the capabilities of either side: 2025-11-25's and the extension of
/// 2026-07-28 cannot be told in each other's terms.
fn drop_tasks(capabilities: &mut Members) {
    capabilities.remove("tasks");
    let Some(extensions) = capabilities.remove("extensions") else {
        return;
    };
    let mut extensions = members::members(extensions.get().as_bytes()).unwrap_or_default();
    extensions.remove(TASKS);
    if !extensions.is_empty()
        && let Ok(extensions) = serde_json::value::to_raw_value(&extensions)
    {
        capabilities.insert("extensions".to_owned(), extensions);
    }
}

impl LegacyServer {
    pub(super) fn initialize(&mut self, id: u64, line: &[u8], message: &Envelope) {
        let params = message.raw(Field::Params, line).unwrap_or(b"{}");
        if params.len() > MOST_CLIENT_BYTES {
            return self.error(id, code::INVALID_PARAMS, "The parameters are too long");
        }
        self.client = Client::new(params);
        let wanted = message.text(Field::ProtocolVersion, line);
        let version = wanted
            .and_then(|version| Version::parse(version.as_bytes()))
            .filter(|&version| version >= Version::V2025_03_26)
            .unwrap_or(Version::LATEST);
        let result = self.server.initialize_result(version);
        self.result(id, result.as_bytes());
    }

    pub(super) fn set_level(&mut self, id: u64, line: &[u8], message: &Envelope) {
        let level = message.text(Field::Level, line);
        let level = level.and_then(|level| LEVELS.into_iter().find(|known| *known == level));
        if level.is_none() {
            return self.error(id, code::INVALID_PARAMS, "Unknown log level");
        }
        self.client.level = level;
        self.result(id, b"{}");
    }
}
