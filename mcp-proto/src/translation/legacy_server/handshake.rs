//! The handshake: what the server and the client have told of themselves.

use serde_json::value::RawValue;

use super::{LegacyServer, can_be_relayed, code};
use crate::envelope::{Envelope, Field};
use crate::translation::json::{
    Members, is_object, members, nested, object, one_line, quoted, text,
};
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
    /// JSON text, as that of the others.
    capabilities: String,
    info: Option<String>,
    instructions: Option<String>,
    pub(super) has_logging: bool,
    pub(super) offer: Offer,
}

impl Server {
    pub(super) fn new(discover_result: &[u8]) -> Self {
        let result = members(discover_result).unwrap_or_default();
        let capabilities = nested(&result, "capabilities").unwrap_or_default();
        let offers = |capability, flag| {
            let members = nested(&capabilities, capability);
            members.is_some_and(|members| {
                let flag = members.get(flag);
                flag.is_some_and(|flag| flag.get() == "true")
            })
        };
        let info = nested(&result, "_meta")
            .and_then(|meta| meta.get("io.modelcontextprotocol/serverInfo").copied())
            .filter(|info| is_object(info));
        let instructions = text(&result, "instructions");
        Self {
            info: info.map(|info| one_line(info.get().to_owned())),
            instructions: instructions.map(|instructions| quoted(&instructions)),
            has_logging: capabilities.contains_key("logging"),
            offer: Offer {
                tools: offers("tools", "listChanged"),
                prompts: offers("prompts", "listChanged"),
                resources: offers("resources", "listChanged"),
                updates: offers("resources", "subscribe"),
            },
            capabilities: without_tasks(&capabilities, |_, _| true),
        }
    }

    /// The answer to `initialize`.
    fn initialize_result(&self, version: Version) -> String {
        // A modern server need not name itself; a legacy one must.
        const NAMELESS: &str = "{\"name\":\"unknown\",\"version\":\"unknown\"}";
        let version = quoted(version.as_str());
        let members = [
            ("protocolVersion", &*version),
            ("capabilities", &self.capabilities),
            ("serverInfo", self.info.as_deref().unwrap_or(NAMELESS)),
        ];
        let instructions = self.instructions.as_deref();
        let instructions = instructions.map(|text| ("instructions", text));
        object(members.into_iter().chain(instructions))
    }
}

/// What the client has told of itself, as 2026-07-28 has it.
pub(super) struct Client {
    /// JSON text, as that of the others.
    pub(super) capabilities: String,
    pub(super) info: Option<String>,
    level: Option<&'static str>,
}

impl Client {
    /// The client that has sent these parameters of `initialize`.
    pub(super) fn new(params: &[u8]) -> Self {
        let params = members(params).unwrap_or_default();
        let declared = nested(&params, "capabilities").unwrap_or_default();
        let is_modern = |name: &str, value: &RawValue| {
            let known = [
                "experimental",
                "roots",
                "sampling",
                "elicitation",
                "extensions",
            ];
            known.contains(&name) && is_object(value)
        };
        let info = params.get("clientInfo").filter(|info| is_object(info));
        Self {
            capabilities: without_tasks(&declared, is_modern),
            info: info.map(|info| info.get().to_owned()),
            level: None,
        }
    }

    /// The level of log messages that the client is to get from this server.
    pub(super) fn level(&self, server: &Server) -> Option<&'static str> {
        let default = server.has_logging.then_some(DEFAULT_LEVEL);
        self.level.or(default)
    }

    /// Whether the client has declared what a request to it needs.
    pub(super) fn takes(&self, method: &str, params: Option<&Members<'_>>) -> bool {
        let declared = members(self.capabilities.as_bytes()).unwrap_or_default();
        let has = |name| params.is_some_and(|params| params.contains_key(name));
        match method {
            "roots/list" => declared.contains_key("roots"),
            "sampling/createMessage" => nested(&declared, "sampling").is_some_and(|sampling| {
                !(has("tools") || has("toolChoice")) || sampling.contains_key("tools")
            }),
            "elicitation/create" => nested(&declared, "elicitation").is_some_and(|modes| {
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
pub(super) fn is_url_mode(params: &Members<'_>) -> bool {
    text(params, "mode").is_some_and(|mode| mode == "url")
}

/// The capabilities of either side, of which `keep` says which, as JSON text; without those of
/// tasks: 2025-11-25's and the extension of 2026-07-28 cannot be told in each other's terms.
fn without_tasks(capabilities: &Members<'_>, keep: impl Fn(&str, &RawValue) -> bool) -> String {
    let mut extensions = nested(capabilities, "extensions").unwrap_or_default();
    extensions.remove(TASKS);
    let extensions = (!extensions.is_empty()).then(|| {
        let extensions = extensions.iter();
        object(extensions.map(|(name, value)| (name, value.get())))
    });
    let kept = capabilities.iter().filter_map(|(name, value)| {
        let value = match name.as_str() {
            "tasks" => return None,
            "extensions" => extensions.as_deref()?,
            // `listChanged` is gone: roots are asked for when they are needed.
            "roots" => "{}",
            _ => value.get(),
        };
        keep(name, capabilities[name]).then_some((name, value))
    });
    object(kept)
}

impl LegacyServer {
    pub(super) fn initialize(&mut self, id: u64, line: &[u8], message: &Envelope) {
        let params = message.raw(Field::Params, line).unwrap_or(b"{}");
        if params.len() > MOST_CLIENT_BYTES {
            return self.error(id, code::INVALID_PARAMS, "The parameters are too long");
        }
        self.client = Client::new(params);
        if !can_be_relayed(self.listen_request(0, "{}").as_bytes()) {
            self.client = Client::new(b"{}");
            return self.error(id, code::INVALID_PARAMS, "The parameters nest too deeply");
        }
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
