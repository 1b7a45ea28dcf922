//! What modern clients send.

use mcp_proto::ExchangeId;

use super::plan::{Ask, What};
use super::{Call, Leg, STATE};
use crate::play::client::{describe, dress};
use crate::play::ledger::{ID, TOKEN, filler};
use crate::play::plan::BodyEnd;
use crate::play::{Act, Play};
use crate::request::Request;
use crate::rng::hash;

/// What an abandoned, tampered or answered round comes back with.
pub(super) struct Return {
    /// What the client got, or made of it.
    pub(super) sealed: String,
    /// The child's own state, if the gateway has to take it.
    pub(super) state: Option<String>,
    /// Members of `inputResponses`.
    pub(super) responses: String,
    /// Whether it has to be refused.
    pub(super) is_forged: bool,
}

impl Play {
    pub(in crate::play) fn ask(&mut self, client: usize, ask: Ask) {
        let (n, id, token) = self.clients[client].next_id();
        let name = format!("m{client}.{n}");
        let stall = ask.stall;
        let call = Call {
            client,
            ask,
            id,
            token,
            legs: 0,
            words: 0,
        };
        self.modern.calls.insert(name.clone(), call);
        let exchange = self.leg(&name, None, None);
        if let Some((end, after)) = stall {
            self.count(&format!("modern body {end:?}"));
            if end != BodyEnd::Never {
                self.plan(after, client, n, Act::EndBody(exchange, end));
            }
        }
    }

    /// Sends a request of a call's; a later one with what the round brought, and the same credential.
    pub(super) fn leg(
        &mut self,
        name: &str,
        back: Option<&Return>,
        before: Option<ExchangeId>,
    ) -> ExchangeId {
        let call = self.modern.calls.get_mut(name).expect("a call");
        call.legs += 1;
        let (client, leg, ask) = (call.client, call.legs, call.ask.clone());
        let (mut id, token) = (call.id.clone(), call.token.clone());
        if leg > 1 {
            id = format!("\"{leg} {}\"", hash(name.as_bytes()));
        }
        let marker = format!("{name}/{leg}");
        let template = template(name, &marker, &ask, back);
        let text = template.replace(ID, &id).replace(TOKEN, &token);
        let sealed = back.map_or(String::new(), |back| format!("\"{}\"", back.sealed));
        let text = text.replace(STATE, &sealed);
        let mut request = dress(Request::modern(text), ask.how);
        let mut must_fail = back.filter(|back| back.is_forged).map(|_| -32602);
        match ask.what {
            What::Tool { mirrored } => {
                let value = if mirrored { "eu" } else { "us" };
                request = request.field("mcp-param-region", value);
                if !mirrored {
                    must_fail = must_fail.or(Some(-32020));
                }
            }
            What::Bad(choice) => {
                let (bad, code) = spoil(request, choice);
                request = bad;
                must_fail = Some(code);
            }
            _ => {}
        }
        let stalls = leg == 1 && ask.stall.is_some();
        if stalls {
            request = request.stalling();
        }
        let borne = before.and_then(|before| self.modern.legs.get(&before));
        let borne = borne.map(|leg| leg.borne);
        let exchange = self.send_bearing(client, request, borne, vec![], None, None);
        let borne = self.clients[client].asked[&exchange].borne;
        let leg = Leg {
            marker: marker.clone(),
            call: name.to_owned(),
            id,
            token: if ask.token { token } else { String::new() },
            template,
            borne,
            state: back.and_then(|back| back.state.clone()),
            must_fail,
            read: 0,
            by: None,
            answers: 0,
            lost: ask.how.unread || stalls,
            over: None,
        };
        self.modern.legs.insert(exchange, leg);
        self.modern.sent.insert(marker, exchange);
        self.read_late(client, exchange, ask.how);
        self.count(&format!("modern {}", word(ask.what)));
        // What the machines did at once, before it was known whose it is.
        self.received(exchange);
        exchange
    }
}

fn word(what: What) -> &'static str {
    match what {
        What::Discover => "discover",
        What::List => "list",
        What::Get => "get",
        What::Tool { .. } => "tool",
        What::Listen => "listen",
        What::Bad(_) => "bad",
    }
}

fn template(name: &str, marker: &str, ask: &Ask, back: Option<&Return>) -> String {
    let steps = describe(&ask.steps);
    let (method, members) = match ask.what {
        What::Discover => ("server/discover", ""),
        What::List => ("prompts/list", ""),
        What::Get | What::Bad(_) => ("prompts/get", "\"name\":\"p\","),
        What::Tool { .. } => (
            "tools/call",
            "\"name\":\"t\",\"arguments\":{\"region\":\"eu\"},",
        ),
        What::Listen => (
            "subscriptions/listen",
            "\"notifications\":{\"toolsListChanged\":true},",
        ),
    };
    let filler = filler(hash(name.as_bytes()));
    let capabilities = if ask.can {
        "{\"elicitation\":{}}"
    } else {
        "{}"
    };
    let token = if ask.token {
        format!(",\"progressToken\": {TOKEN}")
    } else {
        String::new()
    };
    let logs = if ask.logs {
        ",\"io.modelcontextprotocol/logLevel\":\"info\""
    } else {
        ""
    };
    let back = back.map_or(String::new(), |back| {
        let responses = &back.responses;
        format!("\"requestState\":{STATE},\"inputResponses\":{{{responses}}},")
    });
    let gap = if hash(marker.as_bytes()).is_multiple_of(3) {
        "\r\n "
    } else {
        ""
    };
    format!(
        "{gap}{{\"jsonrpc\":\"2.0\",{gap}\"id\":{ID},\"method\":\"{method}\",\"params\":{{\"call\":\"{name}\",{members}\"do\":{steps},{gap}\"x\":{filler},{back}\"_meta\":{{\
         \"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\
         \"io.modelcontextprotocol/clientInfo\":{{\"name\":\"c\",\"version\":\"0\"}},\
         \"io.modelcontextprotocol/clientCapabilities\":{capabilities}{logs},\"marker\":\"{marker}\"{token}}}}}}}{gap}"
    )
}

/// Makes a request one that has to be refused, with this code.
fn spoil(request: Request, choice: u64) -> (Request, i64) {
    let text = String::from_utf8(request.body.to_vec()).expect("UTF-8");
    let body = |text: String| Request {
        body: text.into(),
        ..request.clone()
    };
    match choice % 10 {
        0 => (request.without("mcp-method"), -32020),
        1 => (request.with("mcp-method", "prompts/list"), -32020),
        2 => (request.with("mcp-name", "q"), -32020),
        3 => (request.without("mcp-protocol-version"), -32020),
        4 => (request.with("mcp-protocol-version", "2025-11-25"), -32020),
        5 => {
            let other = body(text.replace("2026-07-28", "2031-01-01"));
            (other.with("mcp-protocol-version", "2031-01-01"), -32022)
        }
        6 => {
            let other = body(text.replace("prompts/get", "ping"));
            (other.with("mcp-method", "ping").without("mcp-name"), -32601)
        }
        7 => (
            body(text.replace("clientCapabilities\":", "nothing\":")),
            -32602,
        ),
        8 => (body(format!("[{text}]")), -32600),
        _ => (
            body(text.replace("\"jsonrpc\":\"2.0\"", "\"jsonrpc\":\"1.0\"")),
            -32600,
        ),
    }
}
