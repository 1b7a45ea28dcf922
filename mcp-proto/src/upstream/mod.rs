//! One child process and whom it serves, in one of three roles.
//!
//! | role | the child serves | |
//! | --- | --- | --- |
//! | [`Probe`] | nobody: it is asked what it speaks | `probe.rs` |
//! | [`Session`] | one legacy session | `session/` |
//! | [`Host`] | many callers | `host/` |
//!
//! What they have in common is the child's life and its pipes (`child.rs`, `process.rs`), and how what
//! comes in is taken (`role.rs`).

mod child;
mod host;
mod mail;
pub(crate) mod message;
mod probe;
mod process;
mod role;
mod session;

use self::child::Child;
use self::host::Host;
pub(crate) use self::mail::{Letter, Purpose, Request, Sender, Speaks, Stage};
pub use self::mail::{Opening, UpstreamMail};
use self::probe::Probe;
pub use self::process::Stop;
use self::role::Role;
use self::session::Session;
use crate::audit::AuditRecord;
use crate::exchange::ExchangeMail;
use crate::framing::Frame;
use crate::gateway::GatewayMail;
use crate::id::{ExchangeId, UpstreamId};
use crate::limits::Limits;
use crate::time::{Instant, Now};

/// What an [`Upstream`] wants done.
#[derive(Debug)]
pub enum UpstreamOutput {
    /// Start the child, and tell [`Upstream::handle_spawned`]. Comes once, first.
    Spawn,
    /// Write these bytes to the child's stdin, and tell [`Upstream::handle_stdin_written`].
    Stdin(Frame),
    /// Make the child end.
    Stop(Stop),
    /// Hand this to the [`Exchange`](crate::Exchange) of this name; if there is none any more,
    /// drop it.
    ToExchange {
        /// Whose mail it is.
        exchange: ExchangeId,
        /// The mail.
        mail: ExchangeMail,
        /// Whether no more will come for this exchange.
        last: bool,
    },
    /// Close the connection of this exchange at once: its reader has stopped reading.
    Disconnect {
        /// The exchange.
        exchange: ExchangeId,
    },
    /// Hand this to the [`Gateway`](crate::Gateway).
    ToGateway(GatewayMail),
    /// Hand this to the upstream of this name; if there is none any more, drop it.
    ToUpstream {
        /// Whose mail it is.
        upstream: UpstreamId,
        /// The mail.
        mail: UpstreamMail,
    },
    /// Keep this record.
    Audit(AuditRecord),
}

/// How things stand with one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamStanding {
    /// Where the child is in its life.
    pub state: ChildState,
    /// Calls in flight.
    pub calls: usize,
    /// Event streams that are open.
    pub streams: usize,
    /// Bytes that wait for its stdin.
    pub stdin_bytes: usize,
}

/// Where a child is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// It is being started.
    Starting,
    /// It runs.
    Running,
    /// It was told to end.
    Stopping,
    /// It has ended, or could not be started.
    Gone,
}

impl ChildState {
    /// All that there are, in their order.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Running, Self::Stopping, Self::Gone];

    /// The state's name: stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Gone => "gone",
        }
    }
}

/// One child process, and whom it serves.
pub struct Upstream(Box<dyn Role>);

impl Upstream {
    /// The upstream that the gateway ordered.
    pub fn new(opening: Opening, limits: &Limits, now: Now) -> Self {
        let id = opening.upstream;
        Self(match opening.purpose {
            Purpose::Probe(stage) => Box::new(Probe::new(id, stage, limits, now)),
            Purpose::Session { nonce } => {
                let child = Child::new(id, limits);
                Box::new(Session::new(child, nonce, limits, now))
            }
            Purpose::SharedSession {
                nonce,
                host,
                discovered,
            } => {
                let child = Child::shared(id, host, &discovered, limits);
                Box::new(Session::new(child, nonce, limits, now))
            }
            Purpose::Host(speaks) => Box::new(Host::new(id, speaks, limits, now)),
        })
    }

    /// The name that the gateway gave.
    pub fn id(&self) -> UpstreamId {
        self.0.child().id()
    }

    /// Takes note that the child runs, or could not be started.
    pub fn handle_spawned(&mut self, spawned: bool, now: Now) {
        self.0.handle_spawned(spawned, now);
    }

    /// Takes mail from the gateway, an exchange or another upstream.
    pub fn handle_mail(&mut self, mail: UpstreamMail, now: Now) {
        self.0.handle_mail(mail.0, now);
    }

    /// Room for what the child writes to its stdout, while [`Upstream::wants_stdout`].
    pub fn stdout_buffer(&mut self) -> &mut [u8] {
        self.0.child_mut().stdout.spare()
    }

    /// Takes note that `bytes` bytes were read into [`Upstream::stdout_buffer`].
    pub fn handle_stdout(&mut self, bytes: usize, now: Now) {
        self.0.handle_stdout(bytes, now);
    }

    /// Takes note that the child has closed its stdout: nothing it is asked can be answered.
    pub fn handle_stdout_closed(&mut self, now: Now) {
        self.0.handle_stdout_closed(now);
    }

    /// Takes note that `bytes` bytes were written to the child's stdin.
    pub fn handle_stdin_written(&mut self, bytes: usize, _now: Now) {
        self.0.child_mut().stdin_written(bytes);
    }

    /// Takes note that the child has ended, that what it wrote before was handed over, and that
    /// its process group is gone.
    pub fn handle_exit(&mut self, now: Now) {
        self.0.handle_exit(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.0.handle_timeout(now);
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<UpstreamOutput> {
        self.0.child_mut().poll_output()
    }

    /// When to call [`Upstream::handle_timeout`] if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }

    /// Whether the child's stdout should be read on. It should whether or not its stdin can be
    /// written: a child that is not read may not read either.
    pub fn wants_stdout(&self) -> bool {
        self.0.child().wants_stdout()
    }

    /// How things stand, for whoever operates the gateway.
    pub fn standing(&self) -> UpstreamStanding {
        self.0.standing()
    }

    /// Whether nothing more will come of it once the outputs are drained: the driver drops it.
    pub fn is_drained(&self) -> bool {
        self.0.child().is_drained()
    }

    /// Whether every table is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
