//! What the typed values mean: the only way from text to [`Settings`].

use super::auth::Authentication;
use super::auth_options::{AUDIT, AUDIT_FAILURE, TRUSTED_PROXIES};
use super::auth_value;
use super::environment::{self, Environment};
use super::error::{Error, quoted};
use super::limits::{self, LIMITS};
use super::options::*;
use super::reached;
use super::reading::{Reading, text, wrong};
use super::tls::tls;
use super::tokens::non_empty;
use super::typed::{Source, Typed};
use super::value::{self, Variable};
use super::warnings;
use crate::fetch::Roots;
use crate::print_config::token_variable;
use crate::settings::{
    AdminAddress, AuditSink, ChildCommand, LogFormat, LogSettings, Settings, StartupCheck,
    default_workers, url,
};
use crate::static_tokens::TokenFile;
use crate::tls::Tls;
use mcp_proto::{Limits, Policy, SealKey};
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use toml::Value;

/// Everything that was typed, understood; whether it is enough to serve is not yet asked.
pub(crate) struct Meaning {
    policy: Policy,
    listen: Vec<SocketAddr>,
    child: Option<ChildCommand>,
    log: LogSettings,
    access_log: bool,
    workers: usize,
    guard: bool,
    public_url: Option<String>,
    allow_unauthenticated: bool,
    token_file: Option<TokenFile>,
    token_variable: Option<String>,
    tls: Option<Tls>,
    startup_check: StartupCheck,
    audit: AuditSink,
    admin: Option<AdminAddress>,
    /// What asks callers for a token, if anything does.
    asked_by: Option<String>,
    warnings: Vec<String>,
    roots: Roots,
    /// The document of `--check-config`.
    pub(crate) document: String,
}

impl Meaning {
    pub(crate) fn of(typed: &Typed, env: &Environment) -> Result<Self, Error> {
        let mut reading = Reading::new(typed);
        let child = child(&mut reading, env)?;
        let defaults = Policy::default();
        let name = default_name(typed).unwrap_or(defaults.service_name);
        let service_name = reading.one(SERVICE_NAME, name, value::service_name, display)?;
        let service_version = reading.one(
            SERVICE_VERSION,
            defaults.service_version,
            value::service_version,
            display,
        )?;
        let listen = reached::listen(&mut reading)?;
        let path = reading.one(PATH, defaults.path, value::path, display)?;
        let public = |text: &str| value::public_url(text, &path);
        let public = reading.maybe(PUBLIC_URL, public, |(url, _)| display(url))?;
        let allowed_hosts = reading.many(ALLOWED_HOST, Vec::new(), parsed, display)?;
        let allowed_origins = reading.many(ALLOWED_ORIGIN, Vec::new(), parsed, display)?;
        let tls = tls(&mut reading)?;
        let allow_unauthenticated = switch(&mut reading, ALLOW_UNAUTHENTICATED, false)?;
        let public_origin = match &public {
            Some((_, origin)) => Some(parsed(origin).map_err(|why| {
                let origin = quoted(origin);
                Error::about(PUBLIC_URL, format!("{origin} {why}"))
            })?),
            None => None,
        };
        let mut authentication = Authentication::read(&mut reading, env, &service_name)?;
        let audit = audit(&mut reading)?;
        authentication.policy.refuse_unaudited =
            reading.one(AUDIT_FAILURE, false, auth_value::audit_failure, |refuse| {
                Value::from(if *refuse { "refuse" } else { "warn" })
            })?;
        if authentication.policy.refuse_unaudited && audit == AuditSink::Off {
            let why = format!("is refuse, but {AUDIT} is off; leave one of them out");
            return Err(Error::about(AUDIT_FAILURE, why));
        }
        if authentication.asked_by.is_some()
            && public.is_none()
            && let Some(warning) = warnings::of_addresses(&listen, tls.is_some())
        {
            reading.remark(format!("warning: {warning}"));
            authentication.warnings.push(warning);
        }
        let admin = reached::admin(&mut reading)?;
        if let Some(warning) = admin.and_then(|admin| warnings::of_admin(admin.address)) {
            reading.remark(format!("warning: {warning}"));
            authentication.warnings.push(warning);
        }
        let policy = Policy {
            service_name,
            service_version,
            path,
            ports: vec![listen[0].port()],
            https: tls.is_some(),
            public_origin,
            allowed_hosts,
            allowed_origins,
            startup_probe: switch(&mut reading, STARTUP_PROBE, defaults.startup_probe)?,
            discover: switch(&mut reading, DISCOVER, defaults.discover)?,
            start_ahead: switch(&mut reading, START_AHEAD, defaults.start_ahead)?,
            share: reading.one(SHARE, defaults.share, value::share, |share| {
                Value::from(value::share_text(*share))
            })?,
            seal_keys: seal_keys(&mut reading)?,
            auth: authentication.policy,
            ..Policy::default()
        };
        let guard = switch(&mut reading, GUARD, true)?;
        let log = log(&mut reading)?;
        let access_log = switch(&mut reading, ACCESS_LOG, true)?;
        let count = |count: &usize| Value::from(i64::try_from(*count).unwrap_or(i64::MAX));
        let workers = reading.one(WORKERS, default_workers(), value::workers, count)?;
        let limits = read_limits(&mut reading)?;
        let roots = match authentication.asked_by {
            Some(_) => roots(env)?,
            None => Roots::default(),
        };
        Ok(Self {
            policy: Policy { limits, ..policy },
            listen,
            child,
            log,
            access_log,
            workers,
            guard,
            public_url: public.map(|(url, _)| url),
            allow_unauthenticated,
            token_file: authentication.token_file,
            token_variable: authentication.token_variable,
            tls,
            startup_check: authentication.startup_check,
            audit,
            admin,
            asked_by: authentication.asked_by,
            document: reading.document(),
            warnings: authentication.warnings,
            roots,
        })
    }

    /// The settings of a gateway that may be started; `None` where nothing is there to serve.
    pub(crate) fn settings(mut self) -> Result<Option<Settings>, Error> {
        let Some(child) = self.child.take() else {
            return Ok(None);
        };
        match (&self.asked_by, self.allow_unauthenticated) {
            (Some(_), false) | (None, true) => {}
            (None, false) => self.stays_on_this_machine()?,
            (Some(asked_by), true) => {
                let line = format!(
                    "is given together with {asked_by}, which has callers asked for a token; leave \
                     one of them out"
                );
                return Err(Error::about(ALLOW_UNAUTHENTICATED, line));
            }
        }
        Ok(Some(Settings {
            policy: self.policy,
            listen: self.listen,
            child,
            log: self.log,
            access_log: self.access_log,
            audit: self.audit,
            admin: self.admin,
            token_file: self.token_file,
            token_variable: self.token_variable,
            tls: self.tls,
            startup_check: self.startup_check,
            workers: self.workers,
            guard: self.guard,
            public_url: self.public_url,
            roots: self.roots,
            warnings: self.warnings,
        }))
    }

    /// Whoever is not asked who they are must be on this machine.
    fn stays_on_this_machine(&self) -> Result<(), Error> {
        let mut open = self.listen.iter().map(SocketAddr::ip);
        let why = "and callers are not asked who they are; give auth, or add \
                   --allow-unauthenticated if that is meant";
        if let Some(ip) = open.find(|ip| !ip.is_loopback()) {
            let line =
                format!("{ip} can be reached from other machines, {why}, or bind to 127.0.0.1");
            return Err(Error::about(HOST, line));
        }
        if self.public_url.is_some() {
            let line = format!("makes the gateway public, {why}, or leave the URL out");
            return Err(Error::about(PUBLIC_URL, line));
        }
        if !self.policy.auth.trusted_proxies.is_empty() {
            let line = format!("says that a proxy stands in front, {why}, or leave it out");
            return Err(Error::about(TRUSTED_PROXIES, line));
        }
        Ok(())
    }

    /// For a client's configuration: the policy, the URL, and the variable of a caller's token where
    /// one is needed.
    pub(crate) fn reached_as(&self) -> Result<(&Policy, String, Option<String>), Error> {
        let bound = self.listen[0];
        if bound.port() == 0 && self.public_url.is_none() {
            return Err(Error::about(
                PORT,
                "is 0, any free port; give the one that clients use",
            ));
        }
        let url = url(self.public_url.as_deref(), bound, &self.policy);
        let variable = token_variable(&self.policy, self.token_variable.as_deref());
        Ok((&self.policy, url, variable))
    }
}

/// The wrapped server, if one was given, with its environment.
fn child(reading: &mut Reading<'_>, env: &Environment) -> Result<Option<ChildCommand>, Error> {
    let given = reading.given(COMMAND);
    let words = given.map(|given| given.values.as_slice());
    let shown = words.map(|words| words.iter().map(display_os).collect());
    reading.show(COMMAND, shown.map(Value::Array), given);
    let demo = switch(reading, DEMO, false)?;
    let cwd = cwd(reading)?;
    let variables = variables(reading, env)?;
    let mut child = match words {
        Some([]) => {
            return Err(Error::about(
                COMMAND,
                "is an empty array; give the program first",
            ));
        }
        Some([program, ..]) if program.is_empty() => {
            return Err(Error::about(
                COMMAND,
                "begins with an empty word; give the program first",
            ));
        }
        Some([program, args @ ..]) => ChildCommand::new(program).args(args),
        None if demo => {
            let program = env::current_exe()
                .map_err(|why| Error::about(DEMO, format!("cannot find this binary: {why}")))?;
            ChildCommand::new(program).args(["demo-server"])
        }
        None => return Ok(None),
    };
    child.cwd = cwd;
    child = child.inherit(env.clone());
    for (name, value) in variables {
        child = child.env(name, value);
    }
    Ok(Some(child))
}

fn cwd(reading: &mut Reading<'_>) -> Result<Option<PathBuf>, Error> {
    let given = reading.given(CWD);
    let directory = given
        .and_then(|given| given.values.first())
        .map(PathBuf::from);
    if let (Some(directory), Some(given)) = (&directory, given)
        && !directory.is_dir()
    {
        let directory = quoted(&directory.to_string_lossy());
        let why = format!("{directory} is not a directory that exists; make it, or give another");
        return Err(wrong(CWD, &why, &given.source));
    }
    let shown = directory
        .as_ref()
        .map(|directory| display_os(directory.as_os_str()));
    reading.show(CWD, shown, given);
    Ok(directory)
}

/// The variables that the server gets beside the short list. Values that were typed are secrets:
/// neither an error nor `--check-config` shows them.
fn variables(
    reading: &mut Reading<'_>,
    env: &Environment,
) -> Result<Vec<(OsString, OsString)>, Error> {
    let given = reading.given(ENV);
    let (values, source) = match given {
        Some(given) => (given.values.as_slice(), &given.source),
        None => ([].as_slice(), &Source::Default),
    };
    let (mut variables, mut passed_on, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
    for value in values {
        let entry = value::variable(text(ENV, value, source)?);
        match entry.map_err(|why| wrong(ENV, why, source))? {
            Variable::Set(name, value) => {
                hidden.push(format!("{name}=***"));
                variables.push((name.into(), value.into()));
            }
            Variable::PassedOn(name) => {
                let key = OsString::from(&name);
                let Some(value) = env.get(&key) else {
                    let why =
                        format!("{name} is not set for the gateway; set it, or give {name}=VALUE");
                    return Err(wrong(ENV, &why, source));
                };
                variables.push((key, value.clone()));
                passed_on.push(Value::from(name));
            }
        }
    }
    let hidden = (!hidden.is_empty()).then(|| format!("and, masked: {}", hidden.join(" ")));
    reading.show_partly(ENV, Some(Value::Array(passed_on)), given, hidden);
    Ok(variables)
}

/// The certificates that are built in, and those of the file that other programs take them from
/// too.
pub(super) fn roots(env: &Environment) -> Result<Roots, Error> {
    const VARIABLE: &str = "SSL_CERT_FILE";
    let mut roots = Roots::default();
    if let Some(path) = environment::value(env, VARIABLE) {
        let added = roots.add_file(Path::new(path));
        added.map_err(|why| Error::about(VARIABLE, why))?;
    }
    Ok(roots)
}

fn log(reading: &mut Reading<'_>) -> Result<LogSettings, Error> {
    let defaults = LogSettings::default();
    let format = |format: &LogFormat| match format {
        LogFormat::Text => Value::from("text"),
        LogFormat::Json => Value::from("json"),
    };
    Ok(LogSettings {
        format: reading.one(LOG_FORMAT, defaults.format, value::log_format, format)?,
        filter: reading.one(LOG_LEVEL, defaults.filter, value::log_filter, display)?,
    })
}

fn audit(reading: &mut Reading<'_>) -> Result<AuditSink, Error> {
    let show = |sink: &AuditSink| match sink {
        AuditSink::Stdout => Value::from("stdout"),
        AuditSink::Off => Value::from("off"),
        AuditSink::File(path) => display_os(path),
    };
    reading.one(AUDIT, AuditSink::default(), auth_value::audit, show)
}

fn read_limits(reading: &mut Reading<'_>) -> Result<Limits, Error> {
    let mut limits = Limits::default();
    for limit in LIMITS {
        let read = |text: &str| {
            let mut with = limits.clone();
            (limit.read)(&mut with, text).map(|()| with)
        };
        let show = |limits: &Limits| {
            let text = (limit.show)(limits);
            text.parse::<i64>().map_or(Value::from(text), Value::from)
        };
        limits = reading.one(limit.spec.name, limits.clone(), read, show)?;
    }
    limits::consistent(&limits).map_err(|(key, why)| Error::about(key, why))?;
    Ok(limits)
}

/// The name of a service that was given none: what runs it.
fn default_name(typed: &Typed) -> Option<String> {
    match typed.get(COMMAND) {
        Some(words) => {
            let stem = Path::new(words.values.first()?).file_stem()?;
            value::service_name_of(&stem.to_string_lossy())
        }
        None => typed.demo().then(|| "demo".to_owned()),
    }
}

/// The keys in the file that seals requestState.
fn seal_keys(reading: &mut Reading<'_>) -> Result<Vec<SealKey>, Error> {
    let Some(path) = reading.maybe(SEAL_KEY_FILE, non_empty, display)? else {
        return Ok(Vec::new());
    };
    let about = |why: String| Error::about(SEAL_KEY_FILE, format!("{} {why}", quoted(&path)));
    let text = fs::read_to_string(&path).map_err(|why| about(format!("cannot be read: {why}")))?;
    value::seal_keys(&text).map_err(about)
}

pub(super) fn switch(
    reading: &mut Reading<'_>,
    key: &'static str,
    default: bool,
) -> Result<bool, Error> {
    reading.one(key, default, value::switch, |on| Value::from(*on))
}

pub(super) fn display(value: &impl ToString) -> Value {
    Value::from(value.to_string())
}

fn display_os(text: impl AsRef<OsStr>) -> Value {
    Value::from(text.as_ref().to_string_lossy().into_owned())
}

fn parsed<T: FromStr<Err: ToString>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|why: T::Err| why.to_string())
}
