//! The requests that both eras have, or that can be made of what a legacy server has.

/// A request of a modern client's that is served on top of a legacy server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Method {
    Discover,
    ToolsList,
    ToolsCall,
    PromptsList,
    PromptsGet,
    ResourcesList,
    ResourceTemplatesList,
    ResourcesRead,
    Complete,
    Listen,
}

impl Method {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "server/discover" => Self::Discover,
            "tools/list" => Self::ToolsList,
            "tools/call" => Self::ToolsCall,
            "prompts/list" => Self::PromptsList,
            "prompts/get" => Self::PromptsGet,
            "resources/list" => Self::ResourcesList,
            "resources/templates/list" => Self::ResourceTemplatesList,
            "resources/read" => Self::ResourcesRead,
            "completion/complete" => Self::Complete,
            "subscriptions/listen" => Self::Listen,
            _ => return None,
        })
    }

    /// Whether the client may be asked for input while the request is served (MCP 2026-07-28, MRTR,
    /// "Supported Requests").
    pub(super) fn may_ask(self) -> bool {
        matches!(
            self,
            Self::ToolsCall | Self::PromptsGet | Self::ResourcesRead
        )
    }

    /// Whether its result carries caching hints (MCP 2026-07-28, caching, "Cacheable Results").
    pub(super) fn is_cacheable(self) -> bool {
        !matches!(
            self,
            Self::ToolsCall | Self::PromptsGet | Self::Complete | Self::Listen
        )
    }
}
