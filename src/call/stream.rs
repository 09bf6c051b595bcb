//! A blocking connection to a server, plain or TLS, and whom it trusts.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::catalog::Member;
use crate::config::{Config, Scheme};
use crate::tls;

/// Where systems keep the certificates they trust: Debian, Fedora, openSUSE, Alpine.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    Resolve(String, Option<io::Error>),
    Connect(SocketAddr, io::Error),
    Tls(String),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(host, Some(error)) => write!(f, "{host} cannot be resolved: {error}"),
            Self::Resolve(host, None) => write!(f, "{host} has no address"),
            Self::Connect(address, error) => write!(f, "cannot connect to {address}: {error}"),
            Self::Tls(what) => write!(f, "TLS failed: {what}"),
        }
    }
}

impl std::error::Error for ConnectError {}

#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Connects to the first address of `server` that answers, and shakes hands where its scheme has TLS.
    pub(crate) fn connect(
        server: &Member,
        tls: &Arc<ClientConfig>,
        until: Instant,
    ) -> Result<Self, ConnectError> {
        let host = &server.host;
        let addresses = (host.as_str(), server.port)
            .to_socket_addrs()
            .map_err(|error| ConnectError::Resolve(host.clone(), Some(error)))?;
        let mut last = ConnectError::Resolve(host.clone(), None);
        for address in addresses {
            match TcpStream::connect_timeout(&address, remaining(until)) {
                Ok(socket) => return Self::over(socket, server, tls, until),
                Err(error) => last = ConnectError::Connect(address, error),
            }
        }
        Err(last)
    }

    /// Speaks as the scheme of `server` says over a connection to it.
    pub(crate) fn over(
        mut socket: TcpStream,
        server: &Member,
        tls: &Arc<ClientConfig>,
        until: Instant,
    ) -> Result<Self, ConnectError> {
        let failed = |error: io::Error| ConnectError::Tls(error.to_string());
        socket.set_nodelay(true).map_err(failed)?;
        if server.scheme == Scheme::Http {
            return Ok(Self::Plain(socket));
        }
        let name = ServerName::try_from(server.host.clone())
            .map_err(|error| ConnectError::Tls(error.to_string()))?;
        let mut session = ClientConnection::new(Arc::clone(tls), name)
            .map_err(|error| ConnectError::Tls(error.to_string()))?;
        while session.is_handshaking() {
            limit(&socket, until).map_err(failed)?;
            session.complete_io(&mut socket).map_err(failed)?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(session, socket))))
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Has no read or write block beyond `until`.
    pub(crate) fn limit(&self, until: Instant) -> io::Result<()> {
        limit(self.socket(), until)
    }
}

fn limit(socket: &TcpStream, until: Instant) -> io::Result<()> {
    let time = Some(remaining(until));
    socket.set_read_timeout(time)?;
    socket.set_write_timeout(time)
}

/// Never zero, which sockets take for no limit.
fn remaining(until: Instant) -> Duration {
    until
        .saturating_duration_since(now())
        .max(Duration::from_millis(1))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the client reads the clock; it is no part of the data path"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(buf),
            Self::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Takes any certificate, as long as its key is proven.
pub(crate) fn trusting_anybody() -> Result<Arc<ClientConfig>, String> {
    let mut backends = Config::base().backends;
    backends.ca = None;
    tls::client_config(&backends).map_err(|error| error.to_string())
}

/// Trusts the certificates in `bundle`, or else those that the system trusts.
pub(crate) fn trusting(bundle: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let roots = roots(bundle).map_err(|what| {
        format!("{what}; name a file with --ca, or trust anybody with --insecure")
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The certificates in `bundle`, or else those that the system trusts.
pub(crate) fn roots(bundle: Option<&Path>) -> Result<RootCertStore, String> {
    let path = match bundle {
        Some(path) => path.to_owned(),
        None => system_bundle()
            .ok_or("this system has no bundle of trusted certificates (package ca-certificates)")?,
    };
    let problem = |what: String| format!("{}: {what}", path.display());
    let certificates: Vec<_> = CertificateDer::pem_file_iter(&path)
        .map_err(|error| problem(error.to_string()))?
        // A system's bundle may hold what we cannot read, which is no reason not to trust the rest.
        .filter_map(Result::ok)
        .collect();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err(problem("no certificate in it".to_owned()));
    }
    Ok(roots)
}

fn system_bundle() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named
        .into_iter()
        .chain(BUNDLES.map(PathBuf::from))
        .find(|path| path.is_file())
}
