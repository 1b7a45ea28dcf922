//! A certificate and its key, from the options that name their files to the handshake.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use gateway_kit::cli::{self, Invocation};
use gateway_kit::tls::{Error, Tls};
use gateway_kit::watch::FileError;
use rcgen::{CertifiedKey, KeyPair, PKCS_RSA_SHA256};
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
};

fn made() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("it can be made")
}

/// What becomes of files with this content.
fn opened(certificate: &str, key: &str) -> Result<Tls, Error> {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let [certificate, key] = [("certificate", certificate), ("key", key)].map(|(name, text)| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("it can be written");
        path
    });
    Tls::open(certificate, key)
}

/// PEM (RFC 7468).
fn pem(label: &str, content: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(content);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

#[test]
fn what_cannot_be_meant_is_an_error_of_the_file_that_has_it() {
    let (mine, other) = (made(), made());
    let (certificate, key) = (mine.cert.pem(), mine.signing_key.serialize_pem());
    assert!(opened(&certificate, &key).is_ok());
    let together = format!("{key}{certificate}{}", other.cert.pem());
    assert!(
        opened(&together, &together).is_ok(),
        "what else is there is passed over"
    );
    let cut = |text: &str| text[..text.len() - 40].to_owned();
    let encrypted = pem("ENCRYPTED PRIVATE KEY", b"x");
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n\
               -----END RSA PRIVATE KEY-----\n";
    for (certificate, key, error) in [
        ("", &*key, Error::NoCertificate),
        (&*key, &key, Error::NoCertificate),
        (&cut(&certificate), &key, Error::CertificateNotPem),
        (&pem("CERTIFICATE", b"x"), &key, Error::InvalidCertificate),
        (&certificate, "", Error::NoKey),
        (&certificate, &certificate, Error::NoKey),
        (&certificate, &cut(&key), Error::KeyNotPem),
        (&certificate, &encrypted, Error::EncryptedKey),
        (&certificate, old, Error::EncryptedKey),
        (
            &certificate,
            &pem("PRIVATE KEY", b"x"),
            Error::UnsupportedKey,
        ),
        (
            &certificate,
            &other.signing_key.serialize_pem(),
            Error::Mismatch,
        ),
        (
            &format!("{}{certificate}", other.cert.pem()),
            &key,
            Error::Mismatch,
        ),
    ] {
        assert_eq!(opened(certificate, key).err(), Some(error));
    }
    let missing = Path::new("/nonexistent/x");
    let error = FileError::Unreadable(ErrorKind::NotFound);
    assert_eq!(
        Tls::open(missing, missing).err(),
        Some(Error::CertificateFile(error))
    );
}

#[test]
fn keys_may_have_any_of_the_forms_that_are_about() {
    let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("it can be made");
    let ecdsa = KeyPair::generate().expect("it can be made");
    // In PKCS #8 (RFC 5958) the older form follows the algorithm, which has so many bytes with what
    // is around it.
    for (key, label, before) in [
        (&rsa, "RSA PRIVATE KEY", 26),
        (&ecdsa, "EC PRIVATE KEY", 29),
    ] {
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]);
        let certificate = params.and_then(|params| params.self_signed(key));
        let certificate = certificate.expect("it can be made").pem();
        assert!(
            opened(&certificate, &key.serialize_pem()).is_ok(),
            "{label}"
        );
        let older = pem(label, &key.serialize_der()[before..]);
        assert!(opened(&certificate, &older).is_ok(), "{label}");
    }
}

/// How a handshake ends for a client with these protocols.
fn shake_hands(
    server: &Arc<ServerConfig>,
    roots: RootCertStore,
    version: &'static SupportedProtocolVersion,
    protocols: &[&str],
) -> Result<(Option<Vec<u8>>, Option<ProtocolVersion>), rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    let name = "localhost".try_into().expect("it is a name");
    let mut client = ClientConnection::new(Arc::new(config), name)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("there is room");
        server.read_tls(&mut &*bytes).expect("it is read");
        let refused = server.process_new_packets().err();
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).expect("there is room");
        client.read_tls(&mut &*bytes).expect("it is read");
        client.process_new_packets()?;
        assert_eq!(refused, None, "the client was told");
    }
    let protocol = server.alpn_protocol().map(<[u8]>::to_vec);
    Ok((protocol, client.protocol_version()))
}

#[test]
fn http_1_1_is_all_that_is_spoken() {
    let made = made();
    let tls = opened(&made.cert.pem(), &made.signing_key.serialize_pem());
    let served = tls.expect("it is good").serve();
    let (server, _watch) = served.expect("a thread can be had");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("it is one");
    let http_1_1 = Some(b"http/1.1".to_vec());
    for version in [&TLS12, &TLS13] {
        let shake_hands =
            |protocols: &[&str]| shake_hands(&server, roots.clone(), version, protocols);
        let spoken = Some(version.version);
        assert_eq!(shake_hands(&[]), Ok((None, spoken)));
        assert_eq!(shake_hands(&["http/1.1"]), Ok((http_1_1.clone(), spoken)));
        assert_eq!(
            shake_hands(&["h2", "http/1.1"]),
            Ok((http_1_1.clone(), spoken))
        );
        let refused = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        assert_eq!(shake_hands(&["h2"]), Err(refused));
    }
}

/// A directory with a certificate and its key, and the options that name them.
fn files() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let made = made();
    let [certificate, key] = [
        ("certificate", made.cert.pem()),
        ("key", made.signing_key.serialize_pem()),
    ]
    .map(|(name, text)| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("it can be written");
        format!("--tls-{name} {}", path.display())
    });
    (directory, format!("{certificate} {key}"))
}

fn run(args: &str) -> Result<Invocation, cli::Error> {
    let token = (
        "DEMO_API_TOKEN".into(),
        "a-token-that-is-long-enough".into(),
    );
    let args = args.split_whitespace().map(OsString::from);
    cli::parse(args, [token], "mcp-gateway")
}

#[test]
fn the_url_is_https_wherever_it_is_told() {
    let (_directory, options) = files();
    let Ok(Invocation::Serve(mut settings)) = run(&format!("--demo {options}")) else {
        panic!("it is to serve");
    };
    assert!(settings.policy.https);
    let url = settings.listening(&["127.0.0.1:8443".parse().expect("it is an address")]);
    assert_eq!(url, "https://127.0.0.1:8443/mcp");
    assert_eq!(settings.policy.auth.resource, url);
    assert!(settings.policy.page.contains(&url));
    settings.tls = None;
    let url = settings.listening(&settings.listen.clone());
    assert!(url.starts_with("http://") && !settings.policy.https);

    let print = format!("print-config --client claude-code --demo --port 8443 {options}");
    let Ok(Invocation::PrintConfig(printed)) = run(&print) else {
        panic!("it is to print");
    };
    assert!(printed.contains("https://127.0.0.1:8443/mcp"), "{printed}");
}

#[test]
fn options_that_cannot_be_meant_are_named() {
    let (directory, options) = files();
    let words: Vec<_> = options.split(' ').collect();
    let [certificate, key] = [words[..2].join(" "), words[2..].join(" ")];
    let missing = directory.path().join("missing").display().to_string();
    for (args, told) in [
        (
            certificate.clone(),
            "tls-certificate: is given without tls-key",
        ),
        (key.clone(), "tls-key: is given without tls-certificate"),
        (
            format!("{certificate} --tls-key {missing}"),
            "No such file or directory",
        ),
        (
            format!("{key} --tls-certificate {missing}"),
            "No such file or directory",
        ),
        (
            format!("{key} --tls-certificate {}", words[3]),
            "has no certificate",
        ),
        (
            format!("{certificate} --tls-key {}", words[1]),
            "has no private key",
        ),
    ] {
        let error = run(&format!("--demo {args}")).expect_err(&args).to_string();
        assert!(error.contains(told) && error.contains("tls-"), "{error}");
    }
}

#[test]
fn tokens_that_travel_encrypted_need_no_warning() {
    let (_directory, options) = files();
    for (options, unencrypted) in [(options.as_str(), false), ("", true)] {
        let Ok(Invocation::Serve(settings)) = run(&format!("--demo --host :: {options}")) else {
            panic!("it is to serve");
        };
        let warnings = settings.warnings.join("\n");
        assert!(warnings.contains("there is no public-url"), "{warnings}");
        assert_eq!(warnings.contains("unencrypted"), unencrypted, "{warnings}");
    }
}
