//! TLS in the gateway itself, for those who have no proxy: the certificate and its key, and what
//! happens when they change.
//!
//! TLS 1.2 and 1.3 by rustls. HTTP/1.1 is all that is spoken, so that ALPN (RFC 7301) has one answer:
//! a client that does not ask is served, and one that takes only something else is told that there
//! is none.
//!
//! A renewal writes two files, one after the other. While they do not belong together, or one of them
//! is missing, the old pair stays. Connections that are open keep what they began with.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore, ServerConfig};
use tracing::{error, info, warn};

use crate::watch::{FileError, INTERVAL, Watch, content};

/// What ALPN has to offer (RFC 7301 section 6).
const PROTOCOL: &[u8] = b"http/1.1";

/// The first byte that a client of TLS sends: a record of the handshake (RFC 8446 section 5.1).
pub const HANDSHAKE: u8 = 0x16;

/// How long before its end a certificate is worth a warning: whoever renews in time has done so.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Why a certificate and its key cannot be used. No text of the files is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The file of certificates has no content.
    CertificateFile(FileError),
    /// The file of the key has no content.
    KeyFile(FileError),
    /// The file of certificates is PEM (RFC 7468) that is cut off or garbled.
    CertificateNotPem,
    /// No certificate is in its file.
    NoCertificate,
    /// The first certificate is none of X.509 version 3.
    InvalidCertificate,
    /// The file of the key is PEM that is cut off or garbled.
    KeyNotPem,
    /// No private key is in its file.
    NoKey,
    /// The private key is encrypted.
    EncryptedKey,
    /// The private key is of a kind, or of a size, that TLS has no use for.
    UnsupportedKey,
    /// The private key is not the first certificate's.
    Mismatch,
}

impl Error {
    /// Whether the file of the key is at fault, and not that of the certificates.
    pub fn is_of_key(self) -> bool {
        match self {
            Self::KeyFile(_)
            | Self::KeyNotPem
            | Self::NoKey
            | Self::EncryptedKey
            | Self::UnsupportedKey
            | Self::Mismatch => true,
            Self::CertificateFile(_)
            | Self::CertificateNotPem
            | Self::NoCertificate
            | Self::InvalidCertificate => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CertificateFile(why) | Self::KeyFile(why) => return why.fmt(f),
            Self::CertificateNotPem => {
                "is no PEM file: give one of -----BEGIN CERTIFICATE----- blocks"
            }
            Self::NoCertificate => {
                "has no certificate: give a PEM file of -----BEGIN CERTIFICATE----- blocks, the \
                 server's own first"
            }
            Self::InvalidCertificate => "begins with a certificate that is malformed",
            Self::KeyNotPem => "is no PEM file: give one with a -----BEGIN PRIVATE KEY----- block",
            Self::NoKey => {
                "has no private key: give a PEM file with a -----BEGIN PRIVATE KEY----- block"
            }
            Self::EncryptedKey => {
                "is encrypted: give the key without its passphrase, in a file that only the gateway \
                 may read"
            }
            Self::UnsupportedKey => {
                "has a private key that cannot be used: give one of RSA with 2048 bits or more, of \
                 ECDSA or of Ed25519"
            }
            Self::Mismatch => "has a private key that is not the first certificate's",
        })
    }
}

impl std::error::Error for Error {}

/// A certificate with those that lead from it to its authority, and its private key, as two files
/// that were read.
#[derive(Clone)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    certified: Arc<CertifiedKey>,
}

impl Tls {
    /// Reads the certificates, the server's own first, and the private key (PKCS #8, PKCS #1 or SEC
    /// 1), both PEM (RFC 7468). What else is in the files is passed over.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, holds no such thing, or the key is not the certificate's.
    pub fn open(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, Error> {
        let (certificate, key) = (certificate.into(), key.into());
        let certified = certified(content(&certificate), content(&key))?;
        Ok(Self {
            certified: Arc::new(certified),
            certificate,
            key,
        })
    }

    /// What is allowed but may not be meant, a line each: a key that everybody may read, and a
    /// certificate that has expired, or is about to.
    pub fn warnings(&self) -> Vec<String> {
        let expiry = expiry(&self.certified, UnixTime::now());
        let expiry = expiry.map(|why| format!("{} {why}", self.certificate.display()));
        let open = is_open_to_all(&self.key).then(|| {
            let key = self.key.display();
            format!("{key} is a private key that everybody may read: chmod 600 or 640")
        });
        expiry.into_iter().chain(open).collect()
    }

    /// What rustls serves with. The files are read again each second, on a thread of its own, until
    /// the watch is dropped, and whoever connects after a change is shown the new certificate. While
    /// the files cannot be used, the old one stays; the log says so once.
    ///
    /// # Errors
    ///
    /// If no thread can be had.
    pub fn serve(self) -> io::Result<(Arc<ServerConfig>, Watch)> {
        self.serve_each(INTERVAL)
    }

    fn serve_each(mut self, interval: Duration) -> io::Result<(Arc<ServerConfig>, Watch)> {
        let current = Arc::new(Current(RwLock::new(Arc::clone(&self.certified))));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Current>::clone(&current));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        let mut seen = Seen::default();
        let watch = Watch::start("certificate", interval, move || {
            self.look(&mut seen, &current);
        })?;
        Ok((Arc::new(config), watch))
    }

    /// Compares what is in the files with what was. The content is compared, not the time of its last
    /// change, so that links may be swapped.
    fn look(&mut self, seen: &mut Seen, current: &Current) {
        let content = [content(&self.certificate), content(&self.key)];
        if seen.content.as_ref() == Some(&content) {
            return;
        }
        let [certificate, key] = content.clone();
        seen.content = Some(content);
        match certified(certificate, key) {
            Ok(certified) => {
                seen.told = None;
                self.set(certified, current);
            }
            Err(error) if seen.told != Some(error) => {
                let file = if error.is_of_key() {
                    &self.key
                } else {
                    &self.certificate
                };
                let file = file.display();
                error!(%file, "the certificate stays as it was, and the old one is shown: {error}");
                seen.told = Some(error);
            }
            Err(_) => {}
        }
    }

    fn set(&mut self, certified: CertifiedKey, current: &Current) {
        // The key is the certificate's, so that a new one comes with a new certificate.
        if certified.cert == self.certified.cert {
            return;
        }
        self.certified = Arc::new(certified);
        current.set(Arc::clone(&self.certified));
        info!(file = %self.certificate.display(), "certificate read again");
        for warning in self.warnings() {
            warn!("{warning}");
        }
    }
}

/// Files by their names, and no key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// What the last reading of the files found.
#[derive(Default)]
struct Seen {
    content: Option<[Result<Vec<u8>, FileError>; 2]>,
    /// The error that the log has.
    told: Option<Error>,
}

/// The certificate that whoever connects now is shown.
struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    fn set(&self, certified: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certified = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&certified))
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The chain and its key, of what is in the two files.
fn certified(
    certificate: Result<Vec<u8>, FileError>,
    key: Result<Vec<u8>, FileError>,
) -> Result<CertifiedKey, Error> {
    let certificate = certificate.map_err(Error::CertificateFile)?;
    let key = key.map_err(Error::KeyFile)?;
    let chain = CertificateDer::pem_slice_iter(&certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| Error::CertificateNotPem)?;
    let first = chain.first().ok_or(Error::NoCertificate)?;
    ParsedCertificate::try_from(first).map_err(|_| Error::InvalidCertificate)?;
    let key = private_key(&key)?;
    let key = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|_| Error::UnsupportedKey)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|_| Error::Mismatch)?;
    Ok(certified)
}

fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    // PKCS #8 has a label of its own for it, and the older forms a header (RFC 1421).
    let encrypted: [&[u8]; 2] = [
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----",
        b"Proc-Type: 4,ENCRYPTED",
    ];
    let is_encrypted = text
        .split(|&byte| byte == b'\n')
        .any(|line| encrypted.contains(&line.trim_ascii()));
    if is_encrypted {
        return Err(Error::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => Error::NoKey,
        _ => Error::KeyNotPem,
    })
}

/// What is to be said of how long a certificate is good.
///
/// Whoever verifies it looks at that first: asked whether it is good at a time, for an authority that
/// does not exist, the verifier says when it ends, or that the authority is unknown.
fn expiry(certified: &CertifiedKey, now: UnixTime) -> Option<String> {
    let first = ParsedCertificate::try_from(certified.cert.first()?).ok()?;
    let at = |time: UnixTime| {
        let algorithms = provider().signature_verification_algorithms.all;
        let roots = RootCertStore::empty();
        match verify_server_cert_signed_by_trust_anchor(&first, &roots, &[], time, algorithms) {
            Err(rustls::Error::InvalidCertificate(why)) => Some(why),
            _ => None,
        }
    };
    let shown = |time: UnixTime| {
        let time = UNIX_EPOCH + Duration::from_secs(time.as_secs());
        humantime::format_rfc3339_seconds(time)
    };
    if let Some(CertificateError::NotValidYetContext { not_before, .. }) = at(now) {
        let not_before = shown(not_before);
        return Some(format!(
            "is a certificate that is not good before {not_before}"
        ));
    }
    let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + SOON);
    match at(soon) {
        Some(CertificateError::ExpiredContext { not_after, .. }) => {
            let verb = if not_after < now {
                "expired"
            } else {
                "expires"
            };
            let not_after = shown(not_after);
            Some(format!(
                "is a certificate that {verb} on {not_after}: renew it"
            ))
        }
        _ => None,
    }
}

#[cfg(unix)]
fn is_open_to_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    const READ_BY_OTHERS: u32 = 0o004;
    std::fs::metadata(path).is_ok_and(|it| it.permissions().mode() & READ_BY_OTHERS != 0)
}

#[cfg(not(unix))]
fn is_open_to_all(_: &Path) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::logging::tests::logged;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rcgen::{CertificateParams, CertifiedKey as Made, KeyPair, date_time_ymd};
    use tempfile::TempDir;

    fn made() -> Made<KeyPair> {
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
    }

    fn write(directory: &Path, made: &Made<KeyPair>) {
        fs::write(directory.join("cert"), made.cert.pem()).unwrap();
        fs::write(directory.join("key"), made.signing_key.serialize_pem()).unwrap();
    }

    fn open(directory: &Path) -> Tls {
        Tls::open(directory.join("cert"), directory.join("key")).unwrap()
    }

    /// What whoever connects is shown.
    fn shown(current: &Current) -> Vec<u8> {
        current.0.read().unwrap().cert[0].to_vec()
    }

    #[test]
    fn in_the_middle_of_a_renewal_the_old_pair_stays_and_the_log_says_so_once() {
        let directory = TempDir::new().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (old, new) = (made(), made());
        write(directory.path(), &old);
        let mut tls = open(directory.path());
        let current = Current(RwLock::new(Arc::clone(&tls.certified)));
        let mut seen = Seen::default();
        let log = logged(|| {
            let mut look = || {
                tls.look(&mut seen, &current);
                shown(&current)
            };
            assert_eq!(look(), **old.cert.der());
            fs::write(at("cert"), new.cert.pem()).unwrap();
            for _ in 0..3 {
                assert_eq!(look(), **old.cert.der());
            }
            fs::remove_file(at("key")).unwrap();
            assert_eq!(look(), **old.cert.der());
            fs::write(at("key"), new.signing_key.serialize_pem()).unwrap();
            for _ in 0..3 {
                assert_eq!(look(), **new.cert.der());
            }
        });
        assert_eq!(
            log.matches(&Error::Mismatch.to_string()).count(),
            1,
            "{log}"
        );
        assert_eq!(log.matches("stays as it was").count(), 2, "{log}");
        assert_eq!(log.matches("read again").count(), 1, "{log}");
        assert!(!log.contains("BEGIN"), "{log}");
    }

    #[test]
    fn a_swapped_link_is_a_change() {
        let directory = TempDir::new().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (old, new) = (made(), made());
        for (version, made) in [("1", &old), ("2", &new)] {
            fs::create_dir(at(version)).unwrap();
            write(&at(version), made);
        }
        symlink("1", at("data")).unwrap();
        for name in ["cert", "key"] {
            symlink(format!("data/{name}"), at(name)).unwrap();
        }
        let mut tls = open(directory.path());
        let current = Current(RwLock::new(Arc::clone(&tls.certified)));
        symlink("2", at("data.new")).unwrap();
        fs::rename(at("data.new"), at("data")).unwrap();
        tls.look(&mut Seen::default(), &current);
        assert_eq!(shown(&current), **new.cert.der());
    }

    #[test]
    fn a_certificate_that_ends_soon_is_told_of() {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2030, 1, 1);
        params.not_after = date_time_ymd(2030, 4, 1);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        let certified = certified(
            Ok(cert.pem().into_bytes()),
            Ok(key.serialize_pem().into_bytes()),
        );
        let certified = certified.unwrap();
        let told = |month, day| {
            let now = date_time_ymd(2030, month, day).unix_timestamp();
            let now = Duration::from_secs(now.try_into().unwrap());
            expiry(&certified, UnixTime::since_unix_epoch(now)).unwrap_or_default()
        };
        assert_eq!(told(1, 2), "");
        assert_eq!(told(3, 17), "");
        assert!(told(3, 19).ends_with("expires on 2030-04-01T00:00:00Z: renew it"));
        assert!(told(4, 2).ends_with("expired on 2030-04-01T00:00:00Z: renew it"));
        let now = Duration::from_secs(1_600_000_000);
        let early = expiry(&certified, UnixTime::since_unix_epoch(now)).unwrap();
        assert!(
            early.ends_with("not good before 2030-01-01T00:00:00Z"),
            "{early}"
        );
    }

    #[test]
    fn a_key_that_everybody_may_read_is_told_of_and_no_key_is_shown() {
        let directory = TempDir::new().unwrap();
        let made = made();
        write(directory.path(), &made);
        let tls = open(directory.path());
        for (mode, warnings) in [(0o644, 1), (0o640, 0), (0o600, 0)] {
            let key = directory.path().join("key");
            fs::set_permissions(key, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(tls.warnings().len(), warnings, "{mode:o}");
        }
        let debug = format!("{tls:?}");
        assert!(
            debug.contains("key") && !debug.contains("certified"),
            "{debug}"
        );
    }
}
