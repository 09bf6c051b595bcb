//! Gateway responses: what errors look like to a caller (spec 5.1, 5.4).

use std::net::IpAddr;

use super::Api;
use crate::close::GatewayError;

/// A set of templates. Empty: every error has its built-in form.
#[derive(Debug, Default)]
pub struct ResponseSet {}

/// What a template can ask for (spec 5.4).
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub api: Option<&'a Api>,
    pub request_id: &'a str,
    pub stage: &'a str,
    pub source_ip: IpAddr,
    pub method: &'a str,
    /// As received, empty where the request was not understood.
    pub path: &'a str,
    pub query: Option<&'a str>,
}

/// An answer of the gateway's own, whose length and connection fields are the sender's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub status: u16,
    pub content_type: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl ResponseSet {
    /// The answer for `error`.
    pub fn render(&self, error: &GatewayError, context: &Context<'_>) -> Rendered {
        let GatewayError {
            status,
            code,
            message,
            ..
        } = error;
        let id = context.request_id;
        // The order of the members as live gateways have it (spec U39). None of the values needs escaping.
        let body =
            format!(r#"{{"error_msg":"{message}","error_code":"{code}","request_id":"{id}"}}"#);
        Rendered {
            status: *status,
            content_type: "application/json".to_owned(),
            headers: Vec::new(),
            body: body.into_bytes(),
        }
    }
}
