//! Which arguments of which tools the headers of a call have to mirror (MCP 2026-07-28, Streamable HTTP,
//! "Custom Headers from Tool Parameters").
//!
//! ```text
//! Unknown ──a tool is called──> Asked ──the last page──> Known
//!    ^ └──────silence────────────┘ ^ └──the tools change────┘
//! ```
//!
//! Calls of tools wait while the host asks. A child that answers with an error has no tools that matter
//! here, as far as these calls are concerned.

use bytes::Bytes;

use super::Host;
use super::calls::Caller;
use crate::envelope::{self, Document, Envelope, Field, Source};
use crate::modern::{ModernRefusal, ToolHeaders};
use crate::refusal::Refusal;
use crate::time::Now;
use crate::upstream::mail::Request;

/// Most pages of tools that are asked for.
const MOST_PAGES: usize = 64;

#[derive(Default)]
pub(super) enum Tools {
    #[default]
    Unknown,
    Asked {
        headers: ToolHeaders,
        pages: usize,
        /// Whether the tools have changed meanwhile.
        changed: bool,
        /// Whether they have changed before, and it was begun anew.
        again: bool,
    },
    Known(ToolHeaders),
}

impl Host {
    /// Whether the tools are known; if not, they will be, and the calls that wait are served then.
    pub(super) fn knows_tools(&mut self, now: Now) -> bool {
        match self.tools {
            Tools::Known(_) => true,
            Tools::Asked { .. } => false,
            Tools::Unknown => {
                if !self.calls.watches_tools() {
                    self.watch_tools(now);
                }
                self.ask_tools(false, now);
                false
            }
        }
    }

    /// Whether what the headers mirror is what the tool is called with.
    pub(super) fn judge_mirrored(&self, request: &Request) -> Result<(), ModernRefusal> {
        let Tools::Known(headers) = &self.tools else {
            return Ok(());
        };
        let Some(tool) = request.message.text(Field::Name, &request.body) else {
            return Ok(());
        };
        let arguments = request.message.raw(Field::Arguments, &request.body);
        headers.judge(&tool, arguments, &request.metadata)
    }

    pub(super) fn tools_listed(&mut self, document: &[u8], message: &Envelope, now: Now) {
        let Tools::Asked {
            headers,
            pages,
            changed,
            again,
        } = &mut self.tools
        else {
            return;
        };
        *pages += 1;
        let cursor = message
            .raw(Field::Result, document)
            .and_then(|result| headers.add_page(result));
        if let Some(cursor) = cursor.filter(|_| *pages < MOST_PAGES) {
            return self.ask_page(Some(cursor.as_bytes()), now);
        }
        let (headers, changed, again) = (std::mem::take(headers), *changed, *again);
        // Calls do not wait for a server whose tools change without end.
        if changed && !again {
            return self.ask_tools(true, now);
        }
        let is_whole = message.get(Field::Result).is_some() && !changed;
        self.tools = Tools::Known(headers);
        for (sender, request) in std::mem::take(&mut self.held) {
            match self.judge_mirrored(&request) {
                Ok(()) => self.call(sender, &request, now),
                Err(refusal) => self.child.refuse(sender.exchange, refusal),
            }
        }
        if !is_whole {
            self.forget_tools();
        }
    }

    /// Takes note that the child does not say what its tools are. The next call of one has it asked
    /// again.
    pub(super) fn tools_timed_out(&mut self) {
        self.tools = Tools::Unknown;
        for (sender, _) in std::mem::take(&mut self.held) {
            self.child.refuse(sender.exchange, Refusal::RequestTimeout);
        }
    }

    pub(super) fn tools_changed(&mut self, now: Now) {
        match &mut self.tools {
            Tools::Asked { changed, .. } => *changed = true,
            Tools::Known(_) => self.ask_tools(false, now),
            Tools::Unknown => {}
        }
    }

    /// Takes note that nothing will tell of changes any more: who calls a tool next has the tools asked
    /// for again.
    pub(super) fn forget_tools(&mut self) {
        if let Tools::Known(_) = self.tools {
            self.tools = Tools::Unknown;
        }
    }

    fn ask_tools(&mut self, again: bool, now: Now) {
        self.tools = Tools::Asked {
            headers: ToolHeaders::default(),
            pages: 0,
            changed: false,
            again,
        };
        self.ask_page(None, now);
    }

    fn ask_page(&mut self, cursor: Option<&[u8]>, now: Now) {
        let cursor = cursor.map_or(Vec::new(), |cursor| [b",\"cursor\":", cursor].concat());
        self.ask(Caller::Tools, "tools/list", &cursor, now);
    }

    fn watch_tools(&mut self, now: Now) {
        let filter = b",\"notifications\":{\"toolsListChanged\":true}";
        self.ask(Caller::Watch, "subscriptions/listen", filter, now);
    }

    /// Asks the child something in the host's own name. `params` are further members of the
    /// parameters, each behind a comma.
    fn ask(&mut self, caller: Caller, method: &str, params: &[u8], now: Now) {
        let is_listen = matches!(caller, Caller::Watch);
        let request: Bytes = [
            b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"",
            method.as_bytes(),
            b"\",\"params\":{\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\
              \"io.modelcontextprotocol/clientInfo\":{\"name\":\"mcp-gateway\",\"version\":\"0\"},\
              \"io.modelcontextprotocol/clientCapabilities\":{}}",
            params,
            b"}}",
        ]
        .concat()
        .into();
        let Ok(Document::Single(message)) = envelope::scan(&request, Source::Child) else {
            return;
        };
        let minted = self.insert(caller, &request, &message, is_listen, now);
        self.write(minted, &request, &message, None, now);
    }
}
