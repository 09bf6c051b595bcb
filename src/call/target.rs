//! Where a call goes: the URL of RFC 6455 §3.
#![forbid(unsafe_code)]

use crate::catalog::Member;
use crate::config::Scheme;

/// A server, and what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) server: Member,
    /// Path and query, as the request line has them.
    pub(crate) resource: String,
}

impl Target {
    /// Reads `wss://host:port/path?query`; also `ws`, and `http` and `https` for those who copy from a browser.
    pub(crate) fn from_url(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or("give it a scheme, as in wss://203.0.113.10/hello")?;
        let scheme = Scheme::named(scheme).ok_or("its scheme has to be ws or wss")?;
        // RFC 6455 §3: fragments have no meaning for WebSocket, and must not be used.
        if rest.contains('#') {
            return Err("a WebSocket URL has no fragment; write # as %23".to_owned());
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (address, resource) = rest.split_at(end);
        let server = Member::from_address(scheme, address)
            .ok_or_else(|| format!("`{address}` is not a host with an optional port"))?;
        if !resource.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("blanks and characters beyond ASCII have to be percent-encoded".to_owned());
        }
        let resource = if resource.starts_with('/') {
            resource.to_owned()
        } else {
            format!("/{resource}")
        };
        Ok(Self { server, resource })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Option<(&str, u16, &str)>) {
        let read = Target::from_url(url).ok();
        let read = read
            .as_ref()
            .map(|t| (t.server.host.as_str(), t.server.port, t.resource.as_str()));
        assert_eq!(read, expected, "{url}");
    }

    #[test]
    fn urls_are_read_as_rfc_6455_has_them() {
        check(
            "wss://203.0.113.10/hello",
            Some(("203.0.113.10", 443, "/hello")),
        );
        check("ws://localhost:8080", Some(("localhost", 8080, "/")));
        check("WS://[::1]:8080/a?b=c/d", Some(("::1", 8080, "/a?b=c/d")));
        check("ws://a.example?x=1", Some(("a.example", 80, "/?x=1")));
        check("https://a.example/x", Some(("a.example", 443, "/x")));
        for wrong in [
            "localhost:8080",
            "gopher://a/",
            "ws://",
            "ws://a:0/",
            "ws://a:99999/",
            "ws://user:secret@a/",
            "ws://a/#top",
            "ws://a/gr\u{fc}\u{df}e",
            "ws://a/b c",
        ] {
            check(wrong, None);
        }
    }
}
