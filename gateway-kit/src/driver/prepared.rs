//! From settings to a driver that has begun to work.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mcp_proto::Instance;
use mcp_proto::auth::StartupFailure;
use mcp_proto::{Refusal, RequestHead};
use rustls::ServerConfig;
use tracing::{error, warn};

use super::{Callbacks, Driver, Equipment};
use crate::access::{AccessLog, AccessWriter};
use crate::admin::{self, Admin};
use crate::audit::AuditLog;
use crate::fetch::Client;
use crate::guard::GuardHandle;
use crate::outside::Outside;
use crate::settings::{Settings, StartupCheck};
use crate::static_tokens::TokenFile;
use crate::tls::Tls;
use crate::watch::Watch;

/// A gateway that has begun to work, and serves nobody yet. Dropping it drains the driver, which goes on
/// to be driven until that is done, and ends the audit trail.
pub struct Prepared {
    driver: Arc<Driver>,
    url: String,
    audit: AuditLog,
    /// Held for its end.
    _access: Option<AccessLog>,
    /// Answers until everything has ended.
    admin: Option<Admin>,
    startup_check: StartupCheck,
    token_file: Option<TokenFile>,
    /// Reads the static tokens again.
    watch: Option<Watch>,
    /// What the listeners speak TLS with, and what reads the certificate again.
    tls: Option<(Arc<ServerConfig>, Watch)>,
}

impl Prepared {
    /// Starts what `settings` name, for listeners that are bound to `addresses`: the guard, the audit
    /// trail, the threads that fetch, the start-up probe if it is on. Every verifier is being tried
    /// until [`Callbacks::started`] is called.
    ///
    /// # Errors
    ///
    /// If the audit sink cannot be opened, the guard or a thread cannot be started, or the system has
    /// no entropy.
    pub fn new(
        mut settings: Settings,
        addresses: &[SocketAddr],
        callbacks: Callbacks,
    ) -> io::Result<Self> {
        let url = settings.listening(addresses);
        for warning in &settings.warnings {
            warn!("{warning}");
        }
        let tls = settings.tls.take();
        for warning in tls.iter().flat_map(Tls::warnings) {
            warn!("{warning}");
        }
        let admin = match settings.admin {
            Some(address) => admin::bind(address)?,
            None => None,
        };
        let mut entropy = [0; 40];
        getrandom::fill(&mut entropy).map_err(io::Error::other)?;
        let (seed, instance) = entropy.split_at(32);
        let seed: [u8; 32] = seed.try_into().map_err(io::Error::other)?;
        let request_ids = Instance(instance[..4].try_into().map_err(io::Error::other)?);
        let instance: String = instance.iter().map(|byte| format!("{byte:02x}")).collect();
        let guard = match settings.guard {
            true => Some(GuardHandle::spawn(&instance)?),
            false => None,
        };
        let audited = Arc::new(AtomicBool::new(true));
        let audit = {
            let (audited, attend) = (Arc::clone(&audited), Arc::clone(&callbacks.attend));
            AuditLog::open(&settings.audit, move |works| {
                audited.store(works, Ordering::Release);
                attend();
            })?
        };
        let access = match settings.access_log {
            true => Some(AccessLog::start(
                settings.log.format,
                &settings.policy.path,
            )?),
            false => None,
        };
        let outside = match settings.policy.auth.asks_others() {
            true => Some(Outside::start(Client::new(
                crate::USER_AGENT,
                &settings.roots,
            ))?),
            false => None,
        };
        let equipment = Equipment {
            command: settings.child,
            guard,
            instance,
            request_ids,
            audit: audit.writer(),
            access: access
                .as_ref()
                .map_or_else(AccessWriter::off, AccessLog::writer),
            audited,
            outside,
        };
        let mut prepared = Self {
            driver: Driver::new(settings.policy, equipment, callbacks, seed),
            url,
            audit,
            _access: access,
            admin: None,
            startup_check: settings.startup_check,
            token_file: settings.token_file,
            watch: None,
            tls: tls.map(Tls::serve).transpose()?,
        };
        if let Some(listener) = admin {
            let driver = Arc::downgrade(&prepared.driver);
            let answers = move |head: &RequestHead<'_>| match driver.upgrade() {
                Some(driver) => driver.answer(head),
                None => Refusal::Draining.into(),
            };
            prepared.admin = Some(Admin::start(listener, Box::new(answers))?);
        }
        Ok(prepared)
    }

    /// The driver.
    pub fn driver(&self) -> &Arc<Driver> {
        &self.driver
    }

    /// The admin address that is bound, if there is one; a port that was 0 is told.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// The URL that clients use.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the listeners speak TLS with, if they do.
    pub fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.as_ref().map(|(config, _)| Arc::clone(config))
    }

    /// What opens the audit file anew, for whoever rotates it.
    pub fn audit_reopener(&self) -> impl Fn() + Send + 'static {
        let writer = self.audit.writer();
        move || writer.reopen()
    }

    /// Says in the log what does not work, and watches the file of static tokens from now on.
    ///
    /// # Errors
    ///
    /// If anything does not work, unless the settings say [`StartupCheck::Warn`]; then the driver is
    /// to be drained. If a thread cannot be started.
    pub fn judge(&mut self, failures: Vec<StartupFailure>) -> io::Result<()> {
        for failure in &failures {
            warn!("{failure}");
        }
        if let Some(failure) = failures.into_iter().next()
            && self.startup_check == StartupCheck::Stop
        {
            return Err(io::Error::other(format!(
                "{failure} (--startup-check warn starts anyway)"
            )));
        }
        if let Some(file) = self.token_file.take() {
            let driver = Arc::downgrade(&self.driver);
            self.watch = Some(file.watch(move |tokens| {
                if let Some(driver) = driver.upgrade() {
                    driver.with_gateway(|gateway, now| gateway.handle_static_tokens(&tokens, now));
                }
            })?);
        }
        Ok(())
    }

    /// Begins to serve: audit records are written from now on.
    pub fn begin(&mut self) {
        if let Err(error) = self.audit.begin() {
            error!(%error, "audit records cannot be written");
            self.driver.audit_failed();
        }
    }
}

/// Whoever drops it has no more use for children, and would leave sessions behind that nobody ends.
impl Drop for Prepared {
    fn drop(&mut self) {
        self.driver.drain();
    }
}
