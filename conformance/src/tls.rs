//! A certificate for a gateway, and whoever believes it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{IpAddr, Ipv4Addr, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// A certificate for 127.0.0.1, in files that a gateway can be given.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The gateway's options.
    pub options: Vec<String>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Makes a certificate, and writes it and its key into `directory`, which must be there.
    ///
    /// # Errors
    ///
    /// If it cannot be made or written.
    pub fn make(directory: &Path) -> Result<Self, String> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
        let made = made.map_err(|error| error.to_string())?;
        let mut options = Vec::new();
        for (option, text) in [
            ("certificate", made.cert.pem()),
            ("key", made.signing_key.serialize_pem()),
        ] {
            let path = directory.join(format!("{option}.pem"));
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
            options.extend([format!("--tls-{option}"), path.display().to_string()]);
        }
        let mut roots = RootCertStore::empty();
        let added = roots.add(made.cert.der().clone());
        added.map_err(|error| error.to_string())?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            options,
            client: Arc::new(client),
        })
    }

    /// A connection to a gateway with this certificate.
    pub(crate) fn connect(&self) -> Result<ClientConnection, String> {
        let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([127, 0, 0, 1])));
        let connection = ClientConnection::new(Arc::clone(&self.client), name);
        connection.map_err(|error| error.to_string())
    }
}
