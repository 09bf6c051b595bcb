//! Who may ask what: over the unix socket whoever may open its file; over loopback whoever has the token. And no web site
//! that a browser of this box happens to show.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::http::{Answer, Head, Refusal};
use super::routes::Route;
use crate::config::Token;

/// How somebody came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The socket's file has let them in.
    Socket,
    /// Every process of the box can connect, and so can a browser.
    Loopback,
}

/// `None` lets the request in. `token` is the one in force; without one nobody comes in by loopback.
pub(super) fn refused(
    door: Door,
    head: &Head,
    route: Option<Route>,
    token: Option<&Token>,
) -> Option<Answer> {
    if let Err(refusal) = check_site(door, head) {
        return Some(refusal.answer());
    }
    // The page tells nothing by itself: it asks for the token, and then asks with it.
    if door == Door::Socket || route == Some(Route::Page) {
        return None;
    }
    match head.fields.authorization.as_deref() {
        None => Some(challenge(
            "this address wants a token: Authorization: Bearer TOKEN",
            "Bearer realm=\"ringgate\"",
        )),
        Some(field) if token.is_some_and(|token| bears(field, token)) => None,
        Some(_) => Some(challenge(
            "the token is not that of admin.token_file",
            "Bearer realm=\"ringgate\", error=\"invalid_token\"",
        )),
    }
}

fn challenge(message: &str, challenge: &str) -> Answer {
    let refusal = Refusal(401, message.to_owned());
    refusal.answer().with("WWW-Authenticate", challenge)
}

/// RFC 6750 §2.1; the scheme's case does not matter (RFC 9110 §11.1).
fn bears(field: &str, token: &Token) -> bool {
    field.split_once(' ').is_some_and(|(scheme, offered)| {
        scheme.eq_ignore_ascii_case("bearer") && token.is(offered.trim().as_bytes())
    })
}

/// A name that an attacker has pointed at loopback shows in `Host`; a page of another site that sends a form shows in
/// `Origin`. The unix socket may be reached by a browser too, through a forwarding of SSH.
fn check_site(door: Door, head: &Head) -> Result<(), Refusal> {
    let fields = &head.fields;
    let host = fields.host.as_deref();
    let browser = fields.origin.is_some() || fields.fetch_site.is_some();
    if (door == Door::Loopback || browser) && !host.is_some_and(is_this_box) {
        return Err(Refusal(
            421,
            "the Host of a request is localhost or a loopback address here".to_owned(),
        ));
    }
    let same = |origin: &str| Some(origin) == host.map(|host| format!("http://{host}")).as_deref();
    if fields.origin.as_deref().is_some_and(|origin| !same(origin)) {
        return Err(Refusal(
            403,
            "requests from pages of other sites are not answered".to_owned(),
        ));
    }
    Ok(())
}

/// `localhost`, `127.0.0.1:9901`, `[::1]:9901`.
fn is_this_box(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let address = bare.unwrap_or(name).parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::super::http::Fields;
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn token() -> Token {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, TOKEN).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Token::read(&path).unwrap()
    }

    fn status(door: Door, route: Route, fields: [&str; 4]) -> u16 {
        let [host, origin, authorization, fetch_site] =
            fields.map(|text| (!text.is_empty()).then(|| text.to_owned()));
        let head = Head {
            fields: Fields {
                host,
                origin,
                authorization,
                fetch_site,
            },
            ..Head::default()
        };
        refused(door, &head, Some(route), Some(&token())).map_or(200, |answer| answer.status)
    }

    #[test]
    fn loopback_wants_the_token_for_everything_but_the_page() {
        let right = format!("Bearer {TOKEN}");
        let lower = format!("bearer  {TOKEN}");
        let near = format!("Bearer {}", &TOKEN[1..]);
        for (authorization, expected) in [
            (right.as_str(), 200),
            (&lower, 200),
            (&near, 401),
            (TOKEN, 401),
            ("Basic YTpi", 401),
            ("", 401),
        ] {
            let fields = ["127.0.0.1:9901", "", authorization, ""];
            for route in [Route::Live, Route::Metrics, Route::State, Route::Reload] {
                assert_eq!(status(Door::Loopback, route, fields), expected, "{route:?}");
                assert_eq!(status(Door::Socket, route, fields), 200);
            }
            assert_eq!(status(Door::Loopback, Route::Page, fields), 200);
        }
        let unknown = refused(Door::Loopback, &Head::default(), None, None);
        assert!(unknown.is_some(), "also what does not exist");
    }

    #[test]
    fn no_other_site_gets_in() {
        let right = format!("Bearer {TOKEN}");
        for (door, host, origin, fetch_site, expected) in [
            (Door::Loopback, "localhost:9901", "", "", 200),
            (Door::Loopback, "LOCALHOST", "", "", 200),
            (Door::Loopback, "[::1]:9901", "", "", 200),
            (Door::Loopback, "127.8.8.8", "", "none", 200),
            (Door::Loopback, "", "", "", 421),
            (Door::Loopback, "evil.example:9901", "", "same-origin", 421),
            (Door::Loopback, "localhost.evil.example", "", "", 421),
            (Door::Loopback, "10.0.0.1:9901", "", "", 421),
            (Door::Loopback, "localhost:1", "http://localhost:1", "", 200),
            (Door::Loopback, "localhost:1", "http://localhost:2", "", 403),
            (Door::Loopback, "localhost:1", "null", "", 403),
            (Door::Socket, "anything", "", "", 200),
            (Door::Socket, "", "", "", 200),
            (Door::Socket, "evil.example", "", "same-origin", 421),
            (
                Door::Socket,
                "localhost",
                "http://evil.example",
                "cross-site",
                403,
            ),
        ] {
            let found = status(door, Route::State, [host, origin, &right, fetch_site]);
            assert_eq!(found, expected, "{door:?} {host} {origin} {fetch_site}");
        }
    }
}
