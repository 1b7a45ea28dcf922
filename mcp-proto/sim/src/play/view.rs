//! What is compared between plays.

use std::collections::BTreeMap;

use mcp_proto::ExchangeId;

use super::{PER_CLIENT, Play};

/// What one client, and its children, got to see, and what was recorded of them: with the names
/// that are minted at random put out of the way.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct View {
    /// Each response, in the order of the requests.
    pub responses: Vec<String>,
    /// Each child's lines.
    pub lines: Vec<Vec<String>>,
    /// The audit records, sorted.
    pub audit: Vec<String>,
}

/// What came of a play.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// A hash of all that happened, in its order.
    pub trace: u64,
    /// By client.
    pub views: BTreeMap<usize, View>,
    /// How often what happened.
    pub counts: BTreeMap<String, u64>,
}

impl Play {
    pub(super) fn outcome(mut self) -> Outcome {
        let mut views = BTreeMap::new();
        for (number, client) in self.clients.iter().enumerate() {
            let mut view = View::default();
            for &exchange in client.asked.keys() {
                let response = self.world.response(exchange);
                let mut text = format!("{exchange:?} {}", response.status());
                if let Some(head) = &response.head {
                    head.for_each_field(|name, value| {
                        text += &format!("\n{name}: {}", value.to_str().expect("ASCII"));
                    });
                }
                text += &format!(
                    "\ncomplete: {}, dropped: {}\n\n{}",
                    response.complete,
                    response.dropped,
                    String::from_utf8_lossy(&response.body)
                );
                for session in &client.sessions {
                    text = text.replace(session.as_str(), "(session)");
                }
                view.responses
                    .push(Self::without_states(&without_nonces(&text)));
            }
            for &upstream in &client.children {
                let lines = self.world.child(upstream).lines.iter();
                let lines = lines.map(|line| String::from_utf8_lossy(line).into_owned());
                view.lines.push(lines.collect());
            }
            for record in self.world.audit() {
                let child = |upstream| client.children.iter().position(|&own| own == upstream);
                let upstream = record.upstream.and_then(child);
                let by = record.exchange.map(|exchange| exchange.0 / PER_CLIENT);
                if upstream.is_some() || by == Some(number as u64) {
                    let exchange = record.exchange;
                    view.audit
                        .push(format!("{exchange:?} {upstream:?} {:?}", record.event));
                }
            }
            // How one ends whose client leaves is a matter of which of the two came first.
            let whole = |exchange: &&ExchangeId| self.world.response(**exchange).complete;
            for &exchange in client.asked.keys().filter(whole) {
                let access = self.world.access(exchange);
                view.audit.extend(access.map(|access| {
                    let id = &access.request;
                    let (status, refusal) = (access.status, access.refusal);
                    let (method, name) = (&access.rpc_method, &access.name);
                    format!("{exchange:?} {id} {status:?} {refusal:?} {method:?} {name:?}")
                }));
            }
            view.audit.sort_unstable();
            views.insert(number, view);
        }
        let hash = self.world.trace();
        Outcome {
            trace: hash,
            views,
            counts: std::mem::take(&mut self.counts),
        }
    }
}

/// Event ids, perhaps cut short, without the part that is random.
fn without_nonces(text: &str) -> String {
    let mut parts = text.split("\nid: ");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let nonce = part
            .bytes()
            .take(8)
            .take_while(u8::is_ascii_hexdigit)
            .count();
        clean += "\nid: ";
        clean += &"*".repeat(nonce);
        clean += &part[nonce..];
    }
    clean
}
