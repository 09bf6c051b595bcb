//! Where a load goes: a `ws://` or `wss://` URL, resolved once.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::tls;

#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// For `Host`: as written in the URL.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) tls: Option<TlsTarget>,
}

impl Target {
    /// The path with one more parameter in its query.
    pub(crate) fn path_with(&self, parameter: &str) -> String {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{separator}{parameter}", self.path)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct TlsTarget {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let parts = Parts::parse(url).ok_or_else(|| format!("{url}: not a ws:// or wss:// URL"))?;
        let address = (parts.host, parts.port)
            .to_socket_addrs()
            .map_err(|error| format!("{}: {error}", parts.host))?
            .next()
            .ok_or_else(|| format!("{}: no address", parts.host))?;
        let tls = parts
            .secure
            .then(|| TlsTarget::new(parts.host))
            .transpose()?;
        Ok(Self {
            address,
            authority: parts.authority.to_owned(),
            path: parts.path.to_owned(),
            tls,
        })
    }
}

impl TlsTarget {
    fn new(host: &str) -> Result<Self, String> {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|error| format!("{host}: {error}"))?;
        let config = tls::unverified_config().map_err(|error| error.to_string())?;
        Ok(Self { config, name })
    }
}

/// The pieces of a URL, still text.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    secure: bool,
    authority: &'a str,
    host: &'a str,
    port: u16,
    path: &'a str,
}

impl<'a> Parts<'a> {
    fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (secure, default_port) = match scheme {
            "ws" => (false, 80),
            "wss" => (true, 443),
            _ => return None,
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        // A query without a path would be no request target.
        if path.starts_with('?') || path.contains(char::is_whitespace) {
            return None;
        }
        let (host, port) = split_port(authority, default_port)?;
        (!host.is_empty()).then_some(Self {
            secure,
            authority,
            host,
            port,
            path,
        })
    }
}

fn split_port(authority: &str, default_port: u16) -> Option<(&str, u16)> {
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, port.parse().ok()?)),
            None => rest.is_empty().then_some((host, default_port)),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((authority, default_port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let check = |url, secure, host, port, path| {
            let parts = Parts::parse(url).unwrap();
            assert_eq!(
                (parts.secure, parts.host, parts.port, parts.path),
                (secure, host, port, path),
                "{url}"
            );
        };
        check(
            "ws://127.0.0.1:8080/hello?a=1",
            false,
            "127.0.0.1",
            8080,
            "/hello?a=1",
        );
        check("wss://localhost", true, "localhost", 443, "/");
        check("ws://[::1]:9000/", false, "::1", 9000, "/");
        check("ws://[::1]", false, "::1", 80, "/");
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "http://a/",
            "ws://",
            "ws://:80/",
            "ws://a:port/",
            "ws://[::1",
            "ws://[::1]x",
        ] {
            assert_eq!(Parts::parse(url), None, "{url}");
        }
    }
}
