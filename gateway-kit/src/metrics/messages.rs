//! What was posted to the MCP endpoint, by JSON-RPC method and outcome.

use std::sync::OnceLock;

use mcp_proto::AccessRecord;
use prometheus::{IntCounter, IntCounterVec, Registry};

use super::requests::Outcome;
use super::series::family;

/// The methods of MCP that are told apart. A client may write anything for a method: all others are
/// one.
const METHODS: [&str; 24] = [
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/call",
    "tools/list",
];

/// What has no method: responses, batches, and what was refused before it was read.
const NONE: usize = METHODS.len();

const OTHER: usize = METHODS.len() + 1;

/// What most messages are.
const CALL: &str = "tools/call";

/// The counters, each made when it is first wanted; those of tools' calls at once.
pub(super) struct Messages {
    family: IntCounterVec,
    series: Vec<OnceLock<IntCounter>>,
}

impl Messages {
    pub(super) fn new(registry: &Registry) -> Self {
        let help =
            "POSTs to the MCP endpoint that have ended, by JSON-RPC method and how they ended";
        let count = (METHODS.len() + 2) * Outcome::ALL.len();
        let this = Self {
            family: family(registry, "messages_total", help, &["method", "outcome"]),
            series: (0..count).map(|_| OnceLock::new()).collect(),
        };
        for outcome in Outcome::ALL {
            this.counter(Some(CALL), outcome);
        }
        this
    }

    pub(super) fn count(&self, record: &AccessRecord, outcome: Outcome) {
        self.counter(record.rpc_method.as_deref(), outcome).inc();
    }

    fn counter(&self, method: Option<&str>, outcome: Outcome) -> &IntCounter {
        let method = method.map_or(NONE, |method| {
            METHODS.binary_search(&method).unwrap_or(OTHER)
        });
        let place = &self.series[method * Outcome::ALL.len() + outcome as usize];
        place.get_or_init(|| {
            let method = match method {
                NONE => "none",
                OTHER => "other",
                known => METHODS[known],
            };
            self.family.with_label_values(&[method, outcome.as_str()])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_proto::{Caller, ExchangeId, Refusal, RequestId};
    use std::net::Ipv4Addr;

    #[test]
    fn every_method_and_outcome_has_a_series_and_what_clients_make_up_has_one() {
        assert!(METHODS.is_sorted(), "it is searched");
        let messages = Messages::new(&Registry::new());
        let caller = Caller {
            address: Ipv4Addr::LOCALHOST.into(),
            identity: None,
        };
        let id = RequestId::parse(b"r").expect("it is an id");
        let mut record =
            AccessRecord::of_violation(ExchangeId(1), id, Refusal::NotFound, caller, 0);
        let known = METHODS.map(|method| (Some(method), method));
        let others = [
            (None, "none"),
            (Some("tools/Call"), "other"),
            (Some(""), "other"),
        ];
        for outcome in Outcome::ALL {
            for (method, label) in known.into_iter().chain(others) {
                record.rpc_method = method.map(Into::into);
                let told = messages
                    .family
                    .with_label_values(&[label, outcome.as_str()]);
                let before = told.get();
                messages.count(&record, outcome);
                assert_eq!(told.get(), before + 1, "{method:?}");
            }
        }
        assert!(messages.series.iter().all(|series| series.get().is_some()));
    }
}
