//! What the system knows of the process, under the names that Prometheus's own clients have for it.

use prometheus::{Counter, IntGauge, Registry};

use super::register;

pub(super) struct ProcessMetrics {
    cpu_seconds: Counter,
    resident_bytes: IntGauge,
    open_descriptors: IntGauge,
    most_descriptors: IntGauge,
}

impl ProcessMetrics {
    /// All at zero; where there is no `/proc`, they stay there.
    pub(super) fn new(registry: &Registry) -> Self {
        let help = "CPU time of the gateway, without its children, in seconds";
        let cpu_seconds = Counter::new("process_cpu_seconds_total", help);
        let cpu_seconds = cpu_seconds.expect("the name is one");
        register(registry, cpu_seconds.clone());
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help).expect("the name is one");
            register(registry, gauge.clone());
            gauge
        };
        Self {
            cpu_seconds,
            resident_bytes: gauge(
                "process_resident_memory_bytes",
                "Memory of the gateway, without its children",
            ),
            open_descriptors: gauge("process_open_fds", "Descriptors that are open"),
            most_descriptors: gauge("process_max_fds", "The most descriptors at a time"),
        }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn read(&self) {
        use super::signed;
        use std::fs;

        if let Some(seconds) = cpu_seconds() {
            self.cpu_seconds
                .inc_by((seconds - self.cpu_seconds.get()).max(0.0));
        }
        if let Some(bytes) = resident_bytes() {
            self.resident_bytes.set(signed(bytes));
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // But for the one that reads.
            self.open_descriptors
                .set(signed(open.count().saturating_sub(1)));
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        self.most_descriptors
            .set(limit.current.map_or(i64::MAX, signed));
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn read(&self) {}
}

/// `utime` and `stime` of `/proc/self/stat` (proc_pid_stat(5)), the fields 14 and 15.
#[cfg(target_os = "linux")]
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name before it may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u64 = ticks
        .map(|field| field.parse::<u64>().ok())
        .sum::<Option<_>>()?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The second field of `/proc/self/statm` (proc_pid_statm(5)), in pages.
#[cfg(target_os = "linux")]
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_something_of_each() {
        let metrics = ProcessMetrics::new(&Registry::new());
        let mut sum = 0_u64;
        // CPU time is counted in hundredths of a second.
        while cpu_seconds().expect("it is told") < 0.02 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        metrics.read();
        assert!(metrics.cpu_seconds.get() >= 0.02);
        assert!(metrics.resident_bytes.get() > 100_000);
        let open = metrics.open_descriptors.get();
        assert!((3..metrics.most_descriptors.get()).contains(&open));
    }
}
