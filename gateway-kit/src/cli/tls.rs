//! The options of TLS: two files, of which neither is anything without the other.

use super::error::{Error, quoted};
use super::options::{TLS_CERTIFICATE, TLS_KEY};
use super::reading::Reading;
use super::tokens::non_empty;
use crate::tls::Tls;
use toml::Value;

/// The certificate and its key, if they were given.
pub(super) fn tls(reading: &mut Reading<'_>) -> Result<Option<Tls>, Error> {
    let mut path = |key| reading.maybe(key, non_empty, |path| Value::from(path.clone()));
    let alone = |key, other| {
        let why = format!("is given without {other}; give both, or neither");
        Err(Error::about(key, why))
    };
    match (path(TLS_CERTIFICATE)?, path(TLS_KEY)?) {
        (None, None) => Ok(None),
        (Some(_), None) => alone(TLS_CERTIFICATE, TLS_KEY),
        (None, Some(_)) => alone(TLS_KEY, TLS_CERTIFICATE),
        (Some(certificate), Some(key)) => {
            let tls = Tls::open(&certificate, &key).map_err(|why| {
                let (option, file) = match why.is_of_key() {
                    true => (TLS_KEY, &key),
                    false => (TLS_CERTIFICATE, &certificate),
                };
                Error::about(option, format!("{} {why}", quoted(file)))
            })?;
            for warning in tls.warnings() {
                reading.remark(format!("warning: {warning}"));
            }
            Ok(Some(tls))
        }
    }
}
