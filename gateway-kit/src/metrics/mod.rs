//! What is counted, and its text for Prometheus.
//!
//! What happens is counted where [`AccessRecord`]s and [`AuditRecord`]s are kept, by plain atomics
//! that were found before; how things stand is asked when somebody wants to know ([`Levels`]). Labels
//! are of closed sets: none has a value that a client chooses.

mod levels;
mod messages;
mod process;
mod recent;
mod requests;
mod series;

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mcp_proto::auth::VerifierKind;
use mcp_proto::{AccessRecord, AuditEvent, AuditRecord, Now, Refusal, SessionEnd};
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry, TextEncoder};

use self::levels::LevelMetrics;
pub use self::levels::Levels;
use self::messages::Messages;
use self::process::ProcessMetrics;
use self::recent::Recent;
pub use self::recent::{LastRefusal, Rates};
use self::requests::Requests;
use self::series::{Counters, counter, gauge, name};

/// The type of [`Metrics::to_text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Bounds of durations, in seconds: from a call that a child answers at once to one that takes as
/// long as calls may.
const SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// What a chain of verifiers said of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// This verifier let it in.
    Accepted(VerifierKind),
    /// None of those that were asked let it in.
    Rejected,
    /// This verifier could not say.
    Unavailable(VerifierKind),
}

/// The refusals that are a rate's, and what the rate is of.
const RATES: [(Refusal, &str); 3] = [
    (Refusal::TooManyCredentials, "credentials"),
    (Refusal::TooManyProbes, "probes"),
    (Refusal::TooManyRequests, "requests"),
];

/// Everything that is counted.
pub struct Metrics {
    /// Held by whoever makes the text.
    telling: Mutex<()>,
    registry: Registry,
    requests: Requests,
    messages: Messages,
    post_seconds: Histogram,
    child_seconds: Histogram,
    body_bytes_in: IntCounter,
    body_bytes_out: IntCounter,
    refusals: Counters<Refusal>,
    rates: Counters<Refusal>,
    verdicts: Counters<Verdict>,
    sessions_opened: IntCounter,
    sessions_ended: Counters<SessionEnd>,
    events: Counters<AuditEvent>,
    /// Connections that are open.
    pub(crate) connections: IntGauge,
    /// Event streams that are open.
    pub(crate) streams: IntGauge,
    /// Children that were started.
    pub(crate) children_started: IntCounter,
    /// Children that could not be started.
    pub(crate) starts_failed: IntCounter,
    levels: LevelMetrics,
    process: ProcessMetrics,
    recent: Recent,
}

impl Metrics {
    /// All at zero. `version` is the gateway's, `body_budget` the most bytes of request bodies.
    pub fn new(version: &str, body_budget: usize) -> Self {
        let registry = Registry::new();
        let add = &registry;
        Self {
            telling: Mutex::default(),
            requests: Requests::new(add),
            messages: Messages::new(add),
            post_seconds: histogram(
                add,
                "post_duration_seconds",
                "Time from the head of a POST to the MCP endpoint to the end of its response",
            ),
            child_seconds: histogram(
                add,
                "child_duration_seconds",
                "The child's share of the time of a POST that waited for its answer",
            ),
            body_bytes_in: counter(
                add,
                "request_body_bytes_total",
                "Bytes of request bodies that were taken in, counted at the end of each request",
            ),
            body_bytes_out: counter(
                add,
                "response_body_bytes_total",
                "Bytes of response bodies that were sent, counted at the end of each request",
            ),
            refusals: Counters::new(
                add,
                "refusals_total",
                "Requests that were refused, and calls that the gateway answered with an error",
                &["reason"],
                Refusal::ALL.map(|refusal| (refusal, vec![refusal.reason()])),
            ),
            rates: Counters::new(
                add,
                "rate_limited_total",
                "Requests that were refused because of a rate",
                &["limit"],
                RATES.map(|(refusal, limit)| (refusal, vec![limit])),
            ),
            verdicts: Counters::new(
                add,
                "verdicts_total",
                "Requests by what the verifiers said of their credential; rejections are those of all \
                 verifiers that were asked",
                &["verifier", "outcome"],
                verdicts(),
            ),
            sessions_opened: counter(add, "sessions_opened_total", "Sessions that were opened"),
            sessions_ended: Counters::new(
                add,
                "sessions_ended_total",
                "Sessions that ended; with child-exited, their child ended by itself",
                &["reason"],
                SessionEnd::ALL.map(|end| (end, vec![end.reason()])),
            ),
            events: Counters::new(
                add,
                "audit_events_total",
                "Audit records by what they are about",
                &["event"],
                AuditEvent::SAMPLES.map(|event| (event, vec![event.as_str()])),
            ),
            connections: gauge(add, "connections", "Connections that are open"),
            streams: gauge(add, "event_streams", "Event streams that are open"),
            children_started: counter(
                add,
                "children_started_total",
                "Children that were started, the start-up probe's included",
            ),
            starts_failed: counter(
                add,
                "child_starts_failed_total",
                "Children that the system could not start",
            ),
            levels: LevelMetrics::new(add, body_budget),
            process: ProcessMetrics::new(add),
            recent: Recent::default(),
            registry: {
                info(add, version);
                registry
            },
        }
    }

    /// Counts a request that has ended.
    pub fn count_access(&self, record: &AccessRecord, now: Now) {
        let outcome = self.requests.count(record);
        self.body_bytes_in.inc_by(record.bytes_in);
        self.body_bytes_out.inc_by(record.bytes_out);
        if requests::is_call(record) {
            self.messages.count(record, outcome);
            self.post_seconds.observe(record.duration.as_secs_f64());
            if let Some(duration) = record.child_duration {
                self.child_seconds.observe(duration.as_secs_f64());
            }
        }
        self.recent.count(outcome.is_error(), now);
    }

    /// Counts what happened.
    pub fn count_audit(&self, record: &AuditRecord, now: Now) {
        let event = record.event;
        self.events.count(|it| same_event(it, event));
        match event {
            AuditEvent::Refused(refusal) => {
                self.refusals.count(|it| it.reason() == refusal.reason());
                self.rates.count(|it| it == refusal);
                if matches!(refusal, Refusal::InvalidToken) {
                    self.verdicts.count(|it| it == Verdict::Rejected);
                }
                self.recent.keep(record, refusal, now);
            }
            AuditEvent::Authenticated(verifier) => {
                self.verdicts.count(|it| it == Verdict::Accepted(verifier));
            }
            AuditEvent::VerifierFailed(verifier) => {
                self.verdicts
                    .count(|it| it == Verdict::Unavailable(verifier));
            }
            AuditEvent::SessionOpened => self.sessions_opened.inc(),
            AuditEvent::SessionEnded(end) => self.sessions_ended.count(|it| it == end),
            _ => {}
        }
    }

    /// All of it, in Prometheus's text format (version 0.0.4).
    pub fn to_text(&self, levels: &Levels) -> String {
        // Two at a time would each add what is new to the counters that are counted elsewhere.
        let _one = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        self.levels.set(levels);
        self.process.read();
        let families = self.registry.gather();
        // It fails for families without a name or a series, which the registry does not take.
        let text = TextEncoder::new().encode_to_string(&families);
        text.unwrap_or_default()
    }

    /// Requests a second over the last minute.
    pub fn rates(&self, now: Now) -> Rates {
        self.recent.rates(now)
    }

    /// The last refusals, the newest first.
    pub fn last_refusals(&self) -> Vec<LastRefusal> {
        self.recent.refusals()
    }
}

/// A level that stands one higher until this is dropped.
pub struct Raised(IntGauge);

impl Raised {
    pub(crate) fn new(level: &IntGauge) -> Self {
        level.inc();
        Self(level.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Whether two events are of one kind.
fn same_event(one: AuditEvent, other: AuditEvent) -> bool {
    std::mem::discriminant(&one) == std::mem::discriminant(&other)
}

fn verdicts() -> impl Iterator<Item = (Verdict, Vec<&'static str>)> {
    let of = |verifier: VerifierKind| {
        let name = verifier.as_str();
        [
            (Verdict::Accepted(verifier), vec![name, "accepted"]),
            (Verdict::Unavailable(verifier), vec![name, "unavailable"]),
        ]
    };
    let each = VerifierKind::ALL.into_iter().flat_map(of);
    each.chain([(Verdict::Rejected, vec!["all", "rejected"])])
}

fn histogram(registry: &Registry, of: &str, help: &str) -> Histogram {
    let options = HistogramOpts::new(name(of), help).buckets(SECONDS.to_vec());
    let histogram = Histogram::with_opts(options).expect("the bounds ascend");
    register(registry, histogram.clone());
    histogram
}

/// What does not change.
fn info(registry: &Registry, version: &str) {
    let labels = [("version".to_owned(), version.to_owned())];
    let options = prometheus::Opts::new(
        name("build_info"),
        "The gateway's version, with the value 1",
    )
    .const_labels(labels.into());
    let info = IntGauge::with_opts(options).expect("the label's name is one");
    info.set(1);
    register(registry, info);
    let start = gauge(
        registry,
        "start_time_seconds",
        "When the gateway started, in seconds since the Unix epoch",
    );
    #[expect(
        clippy::disallowed_methods,
        reason = "the time of the start, for people"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    start.set(now.map_or(0, |time| signed(time.as_secs())));
}

/// Names are this module's own, and each is there once.
fn register(registry: &Registry, collector: impl Collector + 'static) {
    let registered = registry.register(Box::new(collector));
    registered.expect("each name is there once");
}

/// A level or a time as a gauge has it.
fn signed(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        metrics.to_text(&Levels::default())
    }

    /// The value of a series.
    fn value(text: &str, series: &str) -> u64 {
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("{series} is there"));
        value.parse().expect("it is a number")
    }

    fn count(metrics: &Metrics, event: AuditEvent) {
        metrics.count_audit(&AuditRecord::new(event), Now::default());
    }

    #[test]
    fn every_event_every_refusal_and_every_end_has_its_series() {
        let metrics = Metrics::new("1", 0);
        let mut expected = 0;
        for event in AuditEvent::SAMPLES {
            count(&metrics, event);
            let series = format!(
                "mcp_gateway_audit_events_total{{event=\"{}\"}}",
                event.as_str()
            );
            assert_eq!(value(&text(&metrics), &series), 1);
        }
        for refusal in Refusal::ALL {
            let series = format!(
                "mcp_gateway_refusals_total{{reason=\"{}\"}}",
                refusal.reason()
            );
            let before = value(&text(&metrics), &series);
            count(&metrics, AuditEvent::Refused(refusal));
            expected += 1;
            assert_eq!(value(&text(&metrics), &series), before + 1);
        }
        for end in SessionEnd::ALL {
            let series = format!(
                "mcp_gateway_sessions_ended_total{{reason=\"{}\"}}",
                end.reason()
            );
            let before = value(&text(&metrics), &series);
            count(&metrics, AuditEvent::SessionEnded(end));
            assert_eq!(value(&text(&metrics), &series), before + 1);
        }
        let refused = r#"mcp_gateway_audit_events_total{event="refused"}"#;
        assert_eq!(value(&text(&metrics), refused), expected + 1);
    }

    #[test]
    fn every_verifier_and_every_rate_has_its_series() {
        let metrics = Metrics::new("1", 0);
        for verifier in VerifierKind::ALL {
            count(&metrics, AuditEvent::Authenticated(verifier));
            count(&metrics, AuditEvent::VerifierFailed(verifier));
            for outcome in ["accepted", "unavailable"] {
                let name = verifier.as_str();
                let series = format!(
                    "mcp_gateway_verdicts_total{{outcome=\"{outcome}\",verifier=\"{name}\"}}"
                );
                assert_eq!(value(&text(&metrics), &series), 1);
            }
        }
        count(&metrics, AuditEvent::Refused(Refusal::InvalidToken));
        let series = r#"mcp_gateway_verdicts_total{outcome="rejected",verifier="all"}"#;
        assert_eq!(value(&text(&metrics), series), 1);
        for refusal in Refusal::ALL {
            let before = text(&metrics);
            count(&metrics, AuditEvent::Refused(refusal));
            let is_rate = refusal.status() == http::StatusCode::TOO_MANY_REQUESTS;
            let all: [u64; 2] = [before, text(&metrics)].map(|text| {
                let limits = RATES.iter().map(|(_, limit)| limit);
                let series =
                    limits.map(|it| format!("mcp_gateway_rate_limited_total{{limit=\"{it}\"}}"));
                series.map(|series| value(&text, &series)).sum()
            });
            assert_eq!(all[1] - all[0], u64::from(is_rate), "{refusal:?}");
        }
    }
}
