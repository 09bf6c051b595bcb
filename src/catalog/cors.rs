//! The built-in CORS switch of an API (spec 7.9).

/// What a call is to CORS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cors {
    Simple,
    Preflight,
}

impl Cors {
    /// A preflight is an `OPTIONS` request that names the method it asks for (Fetch, CORS preflight), or any that an
    /// API made for `OPTIONS` answers.
    pub fn of(api_method: super::Method, method: &str, asks_for_method: bool) -> Self {
        if method == "OPTIONS" && (asks_for_method || api_method == super::Method::Options) {
            Self::Preflight
        } else {
            Self::Simple
        }
    }
}

const ALLOW_ORIGIN: (&str, &str) = ("Access-Control-Allow-Origin", "*");
const SIMPLE: &[(&str, &str)] = &[ALLOW_ORIGIN];
const PREFLIGHT: &[(&str, &str)] = &[
    ALLOW_ORIGIN,
    (
        "Access-Control-Allow-Headers",
        "X-Stage,X-Sdk-Date,X-Sdk-Nonce,X-Proxy-Signed-Headers,X-Sdk-Content-Sha256,X-Forwarded-For,Authorization,\
         Content-Type,Accept,Accept-Ranges,Cache-Control,Range",
    ),
    (
        "Access-Control-Expose-Headers",
        "X-Request-Id,X-Apig-Latency,X-Apig-Upstream-Latency,X-Apig-RateLimit-Api,X-Apig-RateLimit-User,\
         X-Apig-RateLimit-App,X-Apig-RateLimit-Ip,X-Apig-RateLimit-Api-Allenv",
    ),
    (
        "Access-Control-Allow-Methods",
        "GET,POST,PUT,DELETE,HEAD,OPTIONS,PATCH",
    ),
    ("Access-Control-Max-Age", "172800"),
];

/// What is added to an answer whose fields have these names: nothing where the backend speaks CORS itself.
pub fn cors_headers<'a>(
    call: Cors,
    answered: impl IntoIterator<Item = &'a [u8]>,
) -> &'static [(&'static str, &'static str)] {
    const PREFIX: &[u8] = b"access-control-";
    let own = answered.into_iter().any(|name| {
        name.get(..PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
    });
    match call {
        _ if own => &[],
        Cors::Simple => SIMPLE,
        Cors::Preflight => PREFLIGHT,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::*;

    #[test]
    fn headers_are_added_where_the_backend_has_none() {
        let fields = |own: &'static [u8]| [&b"content-type"[..], own];
        assert_eq!(cors_headers(Cors::Simple, fields(b"date")), SIMPLE);
        assert_eq!(cors_headers(Cors::Preflight, fields(b"date")).len(), 5);
        assert!(cors_headers(Cors::Preflight, fields(b"ACCESS-control-Max-Age")).is_empty());
    }

    #[test]
    fn a_preflight_is_told_by_method_and_api() {
        assert_eq!(Cors::of(Method::Any, "OPTIONS", true), Cors::Preflight);
        assert_eq!(Cors::of(Method::Options, "OPTIONS", false), Cors::Preflight);
        assert_eq!(Cors::of(Method::Any, "OPTIONS", false), Cors::Simple);
        assert_eq!(Cors::of(Method::Any, "GET", true), Cors::Simple);
    }
}
