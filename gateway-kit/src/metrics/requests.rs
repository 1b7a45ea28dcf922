//! Requests by route, HTTP method and outcome.

use std::sync::OnceLock;

use http::Method;
use mcp_proto::{AccessRecord, Route};
use prometheus::{IntCounter, IntCounterVec, Registry};

use super::series::family;

/// The methods that are told apart; all others are one.
const METHODS: [Method; 7] = [
    Method::POST,
    Method::GET,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
    Method::PUT,
    Method::PATCH,
];

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was answered.
    Ok,
    /// It was refused, and the client is at fault or not let in: a status of 400 to 499.
    ClientError,
    /// It was refused, and the client is not at fault: a status of 500 or more.
    ServerError,
    /// A call was handed to the child, and the gateway answered in its stead: it ended, or took too
    /// long, or the call was cancelled.
    Failed,
    /// The client left before the answer was complete. Leaving an open GET stream is how it ends.
    ClientGone,
}

impl Outcome {
    pub(super) const ALL: [Self; 5] = [
        Self::Ok,
        Self::ClientError,
        Self::ServerError,
        Self::Failed,
        Self::ClientGone,
    ];

    fn of(record: &AccessRecord) -> Self {
        let is_stream = record.streamed && record.method == Some(Method::GET);
        let Some(status) = record.status.filter(|_| !record.client_left || is_stream) else {
            return Self::ClientGone;
        };
        match status.as_u16() {
            500.. => Self::ServerError,
            400.. => Self::ClientError,
            _ if record.refusal.is_some() => Self::Failed,
            _ => Self::Ok,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Failed => "failed",
            Self::ClientGone => "client_gone",
        }
    }

    /// Whether whoever runs the gateway may have to do something.
    pub(super) fn is_error(self) -> bool {
        matches!(self, Self::ServerError | Self::Failed)
    }
}

/// Whether it is a POST to the MCP endpoint.
pub(super) fn is_call(record: &AccessRecord) -> bool {
    record.route == Route::Mcp && record.method == Some(Method::POST)
}

/// The counters, each made when it is first wanted; those of the MCP endpoint at once.
pub(super) struct Requests {
    family: IntCounterVec,
    series: Vec<OnceLock<IntCounter>>,
}

impl Requests {
    pub(super) fn new(registry: &Registry) -> Self {
        let help = "Requests that have ended, by what was asked for and how they ended";
        let labels = ["route", "method", "outcome"];
        let count = Route::ALL.len() * (METHODS.len() + 1) * Outcome::ALL.len();
        let this = Self {
            family: family(registry, "requests_total", help, &labels),
            series: (0..count).map(|_| OnceLock::new()).collect(),
        };
        for outcome in Outcome::ALL {
            // POST, GET, DELETE
            for method in 0..3 {
                this.counter(Route::Mcp, method, outcome);
            }
        }
        this
    }

    pub(super) fn count(&self, record: &AccessRecord) -> Outcome {
        let outcome = Outcome::of(record);
        let known = |method: &Method| METHODS.iter().position(|it| it == method);
        let method = record.method.as_ref().and_then(known);
        self.counter(record.route, method.unwrap_or(METHODS.len()), outcome)
            .inc();
        outcome
    }

    fn counter(&self, route: Route, method: usize, outcome: Outcome) -> &IntCounter {
        let row = route as usize * (METHODS.len() + 1) + method;
        let place = &self.series[row * Outcome::ALL.len() + outcome as usize];
        place.get_or_init(|| {
            let method = METHODS.get(method).map_or("other", Method::as_str);
            let labels = [route.as_str(), method, outcome.as_str()];
            self.family.with_label_values(&labels)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use mcp_proto::{Caller, ExchangeId, Refusal, RequestId};
    use std::net::Ipv4Addr;

    fn record() -> AccessRecord {
        let request = RequestId::parse(b"r").expect("it is an id");
        let caller = Caller {
            address: Ipv4Addr::LOCALHOST.into(),
            identity: None,
        };
        let refusal = Refusal::MalformedHead;
        AccessRecord::of_violation(ExchangeId(1), request, refusal, caller, 0)
    }

    #[test]
    fn every_route_method_and_outcome_has_a_series_of_its_own() {
        let requests = Requests::new(&Registry::new());
        let of = |outcome: Outcome| {
            let (status, refusal, client_left) = match outcome {
                Outcome::Ok => (200, None, false),
                Outcome::ClientError => (400, Some(Refusal::NotFound), false),
                Outcome::ServerError => (503, None, false),
                Outcome::Failed => (200, Some(Refusal::ChildExited), false),
                Outcome::ClientGone => (200, None, true),
            };
            AccessRecord {
                status: StatusCode::from_u16(status).ok(),
                refusal,
                client_left,
                ..record()
            }
        };
        let mut expected = 0;
        for route in Route::ALL {
            for outcome in Outcome::ALL {
                for method in METHODS.map(Some).into_iter().chain([None]) {
                    let record = AccessRecord {
                        route,
                        method: method.clone(),
                        ..of(outcome)
                    };
                    assert_eq!(requests.count(&record), outcome);
                    let method = method.as_ref().map_or("other", Method::as_str);
                    let labels = [route.as_str(), method, outcome.as_str()];
                    assert_eq!(
                        requests.family.with_label_values(&labels).get(),
                        1,
                        "{labels:?}"
                    );
                    expected += 1;
                }
            }
        }
        assert_eq!(requests.series.len(), expected);
    }

    #[test]
    fn who_leaves_a_listening_stream_has_had_it() {
        let mut record = AccessRecord {
            method: Some(Method::GET),
            route: Route::Mcp,
            status: Some(StatusCode::OK),
            refusal: None,
            streamed: true,
            client_left: true,
            ..record()
        };
        assert_eq!(Outcome::of(&record), Outcome::Ok);
        record.method = Some(Method::POST);
        assert_eq!(Outcome::of(&record), Outcome::ClientGone);
        record.status = None;
        assert_eq!(Outcome::of(&record), Outcome::ClientGone);
    }
}
