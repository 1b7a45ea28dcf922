//! Whose certificates are believed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts};

/// The certification authorities that fetches believe: Mozilla's, which are compiled in, so that an
/// image without any file will do; and those that are added.
#[derive(Clone)]
pub struct Roots(Vec<Certificate<'static>>);

impl Default for Roots {
    /// Mozilla's.
    fn default() -> Self {
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
        Self(
            roots
                .iter()
                .map(|root| Certificate::from_der(root))
                .collect(),
        )
    }
}

impl Roots {
    /// Adds the certificates of a PEM file (RFC 7468), as `SSL_CERT_FILE` names one by custom. What
    /// else is in the file is passed over. One that cannot be used is an error: an authority that
    /// is left out without a word costs its operator an afternoon.
    pub fn add_file(&mut self, path: &Path) -> Result<(), RootsError> {
        let error = |why| RootsError {
            path: path.to_owned(),
            why,
        };
        let text = fs::read(path).map_err(|failure| error(Why::Unreadable(failure)))?;
        let mut found = Vec::new();
        for (at, certificate) in CertificateDer::pem_slice_iter(&text).enumerate() {
            let certificate = certificate.map_err(|_| error(Why::NotPem))?;
            RootCertStore::empty()
                .add(certificate.clone())
                .map_err(|_| error(Why::NotACertificate(at + 1)))?;
            found.push(Certificate::from_der(&certificate).to_owned());
        }
        if found.is_empty() {
            return Err(error(Why::Empty));
        }
        self.0.extend(found);
        Ok(())
    }

    pub(super) fn to_ureq(&self) -> RootCerts {
        RootCerts::new_with_certs(&self.0)
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Roots").field(&self.0.len()).finish()
    }
}

/// Why a file's certificates cannot be added; one line that says what to do.
#[derive(Debug)]
pub struct RootsError {
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Unreadable(io::Error),
    NotPem,
    NotACertificate(usize),
    Empty,
}

impl fmt::Display for RootsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            Why::Unreadable(why) => write!(f, "cannot read the certificates in {path}: {why}"),
            Why::NotPem => write!(
                f,
                "{path} is no PEM file: give one of -----BEGIN CERTIFICATE----- blocks"
            ),
            Why::NotACertificate(at) => write!(
                f,
                "certificate {at} in {path} cannot be used as an authority's: replace it or take it out"
            ),
            Why::Empty => write!(
                f,
                "{path} has no certificate: give a PEM file of -----BEGIN CERTIFICATE----- blocks"
            ),
        }
    }
}

impl std::error::Error for RootsError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn added(text: &str) -> Result<usize, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut roots = Roots(Vec::new());
        match roots.add_file(file.path()) {
            Ok(()) => Ok(roots.0.len()),
            Err(error) => Err(error
                .to_string()
                .replace(&*file.path().to_string_lossy(), "FILE")),
        }
    }

    #[test]
    fn a_file_adds_every_certificate_or_says_why_not() {
        let certified = rcgen::generate_simple_self_signed(["ca.example.org".to_owned()]).unwrap();
        let good = certified.cert.pem();
        let key = certified.signing_key.serialize_pem();
        assert_eq!(added(&good), Ok(1));
        assert_eq!(added(&format!("# ours\n{good}{key}{good}")), Ok(2));

        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let error = added(&format!("{good}{bad}")).unwrap_err();
        assert!(
            error.starts_with("certificate 2 in FILE cannot be used"),
            "{error}"
        );
        for nothing in ["", "no PEM", &key] {
            let error = added(nothing).unwrap_err();
            assert!(error.starts_with("FILE has no certificate"), "{error}");
        }
        let cut = good.replace("-----END CERTIFICATE-----", "");
        let error = added(&cut).unwrap_err();
        assert!(error.starts_with("FILE is no PEM file"), "{error}");
        let mut roots = Roots::default();
        let error = roots.add_file(Path::new("/no/such/file")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot read the certificates in /no/such/file: ")
        );
    }
}
