//! The configurations of both roles: which versions, suites, certificates and checks, the same for every worker.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion, version,
};

use crate::config::{Backends, Config, Tls};

/// AES-GCM first, and the short key before the long one: both ends of nearly every connection have instructions for
/// it, and the cost of sealing bounds what a core relays.
const SUITES: [SupportedCipherSuite; 9] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// HTTP/2 is not spoken, and no WebSocket client needs it. Old clients of ordinary calls may offer HTTP/1.0 alone.
const ALPN: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// Why a TLS configuration can't be had; seen at start-up and on reload only.
#[derive(Debug)]
pub enum SetupError {
    Rustls(rustls::Error),
    /// The bundle of trusted certificates can't be read or holds none.
    Trust(PathBuf, String),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rustls(error) => write!(f, "TLS can't be set up: {error}"),
            Self::Trust(path, what) => write!(f, "backends.ca: {}: {what}", path.display()),
        }
    }
}

impl std::error::Error for SetupError {}

impl From<rustls::Error> for SetupError {
    fn from(error: rustls::Error) -> Self {
        Self::Rustls(error)
    }
}

/// The keys that tickets are sealed with. One for the process and for its life: a client may come back to another
/// worker, or after a reload.
pub fn ticketer() -> Result<Arc<dyn ProducesTickets>, SetupError> {
    Ok(aws_lc_rs::Ticketer::new()?)
}

/// The ticket keys of a process, kept over reloads, and what is configured with them.
#[derive(Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    pub fn new() -> Result<Self, SetupError> {
        Ok(Self(ticketer()?))
    }

    /// How clients and backends are met over TLS by `config`.
    pub fn configs(&self, config: &Config) -> Result<TlsConfigs, SetupError> {
        let resolver = config.tls.resolver();
        Ok(TlsConfigs {
            server: server_config(&config.tls, resolver, Arc::clone(&self.0))?,
            client: client_config(&config.backends)?,
        })
    }
}

/// How clients and backends are met over TLS.
#[derive(Clone, Debug)]
pub struct TlsConfigs {
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
}

/// How clients are met. Shared by all workers.
pub fn server_config(
    tls: &Tls,
    certificates: Arc<dyn ResolvesServerCert>,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<Arc<ServerConfig>, SetupError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(tls))?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    config.ignore_client_order = true;
    config.ticketer = tickets;
    // Tickets alone: a session cache would be a lock that all workers share.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // One connection comes back as one connection; a second ticket would be bytes and a sealing for nothing.
    config.send_tls13_tickets = 1;
    config.enable_secret_extraction = true;
    Ok(Arc::new(config))
}

/// Spec U61: TLS 1.2 and 1.3, or 1.2 alone for parity with the cloud.
fn versions(tls: &Tls) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    static TLS12: [&SupportedProtocolVersion; 1] = [&version::TLS12];
    if tls.tls13 { &BOTH } else { &TLS12 }
}

/// How backends are met. Its cache of sessions has a lock: one configuration a worker, so that nobody waits for it.
pub fn client_config(backends: &Backends) -> Result<Arc<ClientConfig>, SetupError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let mut config = match &backends.ca {
        Some(path) => builder.with_root_certificates(trusted(path)?),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(
                provider.signature_verification_algorithms,
            ))),
    }
    .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.enable_secret_extraction = true;
    Ok(Arc::new(config))
}

fn trusted(path: &PathBuf) -> Result<RootCertStore, SetupError> {
    let complain = |what: String| SetupError::Trust(path.clone(), what);
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| complain(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| complain(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| complain(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(complain("no certificate in it".to_owned()));
    }
    Ok(roots)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: SUITES.to_vec(),
        ..aws_lc_rs::default_provider()
    })
}

/// Takes any certificate of a backend (spec U62: private backends carry self-signed ones), yet wants proof that the
/// backend holds its key.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
