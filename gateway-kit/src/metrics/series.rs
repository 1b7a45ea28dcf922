//! Counters, and families of them whose labels are known beforehand.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::register;

/// The name of a metric of the gateway's.
pub(super) fn name(of: &str) -> String {
    format!("mcp_gateway_{of}")
}

pub(super) fn counter(registry: &Registry, of: &str, help: &str) -> IntCounter {
    let counter = IntCounter::new(name(of), help).expect("the name is one");
    register(registry, counter.clone());
    counter
}

pub(super) fn gauge(registry: &Registry, of: &str, help: &str) -> IntGauge {
    let gauge = IntGauge::new(name(of), help).expect("the name is one");
    register(registry, gauge.clone());
    gauge
}

pub(super) fn family(registry: &Registry, of: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let family = IntCounterVec::new(Opts::new(name(of), help), labels);
    let family = family.expect("the names are names");
    register(registry, family.clone());
    family
}

/// Has a counter show what is counted elsewhere.
pub(super) fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// A counter for each value of a closed set, all of which are told from the start: a series that
/// begins with 1 would hide its first step from whoever looks at steps.
pub(super) struct Counters<T> {
    series: Vec<(T, IntCounter)>,
}

impl<T: Copy> Counters<T> {
    /// `values` are all that there are, each with its values of `labels`.
    pub(super) fn new(
        registry: &Registry,
        of: &str,
        help: &str,
        labels: &[&str],
        values: impl IntoIterator<Item = (T, Vec<&'static str>)>,
    ) -> Self {
        let family = family(registry, of, help, labels);
        let series = values
            .into_iter()
            .map(|(value, texts)| (value, family.with_label_values(&texts)));
        Self {
            series: series.collect(),
        }
    }

    /// Counts the value that this is about, if it is one of them.
    pub(super) fn count(&self, is_it: impl Fn(T) -> bool) {
        if let Some((_, counter)) = self.series.iter().find(|&&(value, _)| is_it(value)) {
            counter.inc();
        }
    }
}
