//! The lines with the cloud gateway's 54 fields in their order (spec 9.1), as its text or as JSON with the same names.
//!
//! What the cloud has and ringgate does not is `-`, or `null`: callers' accounts, custom data, compression, functions. A
//! line about a tunnel that has not ended has no `request_time`.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::facts::{
    ApiNames, Asked, Caller, RequestEnd, SoFar, TunnelFacts, TunnelRequest, Upstream,
};
use super::texts::Texts;
use crate::catalog::api_id;
use crate::close::CloseReason;
use crate::config::Scheme;
use crate::observe::escape::{Blank, put_hex_escaped};
use crate::observe::request_id::RequestId;
use crate::observe::utc::LogTime;

/// How the fields look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Separated by blanks, those that may have blanks in double quotes.
    Text,
    Json,
}

/// What the fields are made of.
pub(super) struct Record<'a> {
    id: RequestId,
    caller: Option<Caller>,
    client: SocketAddr,
    api: Option<ApiNames<'a>>,
    asked: Asked<'a>,
    scheme: Scheme,
    received_at: SystemTime,
    /// Absent before the end.
    duration: Option<Duration>,
    /// The gateway's own part of the call, or of the handshake.
    inner: Duration,
    status: Option<u16>,
    bytes_received: u64,
    bytes_sent: u64,
    body_bytes_sent: u64,
    upstream: Upstream,
    throttled: bool,
    source: Option<&'static str>,
    error_code: Option<&'static str>,
}

impl<'a> Record<'a> {
    /// Of a tunnel: at its end if `ended`, else so far.
    pub(super) fn of_tunnel(facts: &'a TunnelFacts, so_far: &SoFar, ended: bool) -> Self {
        let request = facts.request.as_deref();
        let part = |of: fn(&TunnelRequest) -> u64| request.map_or(0, of);
        let lasted = |until: Duration| until + so_far.duration;
        let mut upstream = request.map(|request| request.upstream).unwrap_or_default();
        let inner = facts
            .handshake
            .saturating_sub(upstream.all.unwrap_or_default());
        upstream.address = Some(facts.backend);
        upstream.status = Some(101);
        upstream.response = upstream.header.filter(|_| ended).map(lasted);
        upstream.all = upstream.all.filter(|_| ended).map(lasted);
        Self {
            id: facts.id,
            caller: request.map(|request| request.caller),
            client: facts.client,
            api: Some(facts.names()),
            asked: request
                .map(|request| request.asked.asked())
                .unwrap_or_default(),
            scheme: facts.scheme,
            received_at: facts.opened_at - facts.handshake,
            duration: ended.then(|| facts.handshake + so_far.duration),
            inner,
            status: Some(101),
            bytes_received: part(|request| request.head_bytes) + so_far.from_client.bytes,
            bytes_sent: part(|request| request.answer_bytes) + so_far.from_backend.bytes,
            body_bytes_sent: so_far.from_backend.bytes,
            upstream,
            throttled: false,
            source: Some("remote"),
            error_code: None,
        }
    }

    pub(super) fn of_request(end: &'a RequestEnd<'a>) -> Self {
        let error = end.status.and_then(|_| end.reason.answer());
        let is_theirs = error.is_none() && end.upstream.status == end.status;
        Self {
            id: end.id,
            caller: Some(end.caller),
            client: end.client,
            api: end.api,
            asked: end.asked.clone().unwrap_or_default(),
            scheme: end.scheme,
            received_at: end.at - end.duration,
            duration: Some(end.duration),
            inner: end
                .duration
                .saturating_sub(end.upstream.all.unwrap_or_default()),
            status: end.status,
            bytes_received: end.bytes.head_received + end.bytes.body_received,
            bytes_sent: end.bytes.head_sent + end.bytes.body_sent,
            body_bytes_sent: end.bytes.body_sent,
            upstream: end.upstream,
            throttled: end.reason == CloseReason::DebugQuota,
            source: end
                .status
                .map(|_| if is_theirs { "remote" } else { "local" }),
            error_code: error.map(|error| error.code),
        }
    }

    pub(super) fn write(&self, style: Style, texts: &Texts) -> String {
        let Self {
            asked, upstream, ..
        } = self;
        let peer = self.client.ip().to_canonical();
        let remote = self.caller.map_or(peer, |caller| caller.ip);
        let api_id = self.api.map(|names| api_id(names.group, names.api));
        let mut line = Line::new(style);
        line.word("remote_addr", Some(remote));
        line.word("request_id", Some(self.id));
        line.word("api_id", api_id);
        line.absent(["user_id", "app_id"]);
        line.quoted(
            "time_local",
            LogTime(self.received_at).to_string().as_bytes(),
        );
        line.seconds("request_time", self.duration);
        line.plain("request_method", &texts.plain(asked.method));
        line.word("scheme", Some(scheme(self.scheme)));
        line.plain("host", &texts.plain(asked.host));
        line.quoted("router_uri", &texts.target(asked.path, asked.query));
        line.plain("server_protocol", asked.protocol.as_bytes());
        line.number("status", self.status.map(u64::from));
        line.number("bytes_sent", Some(self.bytes_sent));
        line.number("request_length", Some(self.bytes_received));
        line.quoted("http_user_agent", &texts.plain(asked.user_agent));
        line.quoted("http_x_forwarded_for", &texts.plain(&asked.forwarded_for));
        line.word("upstream_addr", upstream.address);
        line.quoted("upstream_uri", &texts.whole_target(asked.upstream_target));
        line.number("upstream_status", upstream.status.map(u64::from));
        line.seconds("upstream_connect_time", upstream.connect);
        line.seconds("upstream_header_time", upstream.header);
        line.seconds("upstream_response_time", upstream.response);
        line.absent(["region_id"]);
        line.seconds("all_upstream_response_time", upstream.all);
        line.number("errorType", Some(self.throttled.into()));
        // Who demands more is not served, or by the operator's word without it.
        line.word("auth_type", self.api.map(|_| "NONE"));
        line.absent(["access_model1", "access_model2"]);
        line.seconds("inner_time", Some(self.inner));
        line.absent(["proxy_protocol_vni", "proxy_protocol_vpce_id"]);
        line.word(
            "proxy_protocol_addr",
            self.caller.and_then(|caller| caller.introduced),
        );
        line.number("body_bytes_sent", Some(self.body_bytes_sent));
        line.plain(
            "api_name",
            self.api.map_or("", |names| names.api).as_bytes(),
        );
        line.absent(["app_name", "provider_app_id", "provider_app_name"]);
        for name in CUSTOM {
            line.quoted(name, b"");
        }
        line.word("response_source", self.source);
        line.absent(["gzip_ratio"]);
        line.word("upstream_scheme", upstream.scheme.map(scheme));
        line.plain(
            "group_id",
            self.api.map_or("", |names| names.group).as_bytes(),
        );
        line.word("apig_err_code", self.error_code);
        line.absent(["function_urn"]);
        line.end()
    }
}

const CUSTOM: [&str; 10] = [
    "custom_data_log1",
    "custom_data_log2",
    "custom_data_log3",
    "custom_data_log4",
    "custom_data_log5",
    "custom_data_log6",
    "custom_data_log7",
    "custom_data_log8",
    "custom_data_log9",
    "custom_data_log10",
];

fn scheme(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    }
}

/// A line that grows field by field.
struct Line {
    style: Style,
    out: Vec<u8>,
}

impl Line {
    fn new(style: Style) -> Self {
        Self {
            style,
            out: Vec::with_capacity(1024),
        }
    }

    fn begin(&mut self, name: &str) {
        match (self.style, self.out.is_empty()) {
            (Style::Text, true) => {}
            (Style::Text, false) => self.out.push(b' '),
            (Style::Json, empty) => {
                self.out.push(if empty { b'{' } else { b',' });
                self.put(format_args!("\"{name}\":"));
            }
        }
    }

    fn put(&mut self, value: impl Display) {
        let written = write!(self.out, "{value}");
        debug_assert!(written.is_ok(), "writing to a vector does not fail");
    }

    fn put_none(&mut self) {
        self.out.extend_from_slice(match self.style {
            Style::Text => b"-",
            Style::Json => b"null",
        });
    }

    fn put_json(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let written = serde_json::to_writer(&mut self.out, &text);
        debug_assert!(written.is_ok(), "text serialises");
    }

    /// Fields that are never there.
    fn absent<const COUNT: usize>(&mut self, names: [&str; COUNT]) {
        for name in names {
            self.begin(name);
            self.put_none();
        }
    }

    fn number(&mut self, name: &str, value: Option<u64>) {
        self.begin(name);
        match value {
            Some(value) => self.put(value),
            None => self.put_none(),
        }
    }

    /// Seconds with milliseconds, as nginx has them.
    fn seconds(&mut self, name: &str, value: Option<Duration>) {
        self.begin(name);
        match value {
            Some(value) => self.put(format_args!(
                "{}.{:03}",
                value.as_secs(),
                value.subsec_millis()
            )),
            None => self.put_none(),
        }
    }

    /// What is known to be one word.
    fn word(&mut self, name: &str, value: Option<impl Display>) {
        let text = value.map(|value| value.to_string()).unwrap_or_default();
        self.plain(name, text.as_bytes());
    }

    fn plain(&mut self, name: &str, text: &[u8]) {
        self.begin(name);
        match self.style {
            _ if text.is_empty() => self.put_none(),
            Style::Text => put_hex_escaped(&mut self.out, text, Blank::Escaped),
            Style::Json => self.put_json(text),
        }
    }

    /// What may have blanks in it.
    fn quoted(&mut self, name: &str, text: &[u8]) {
        self.begin(name);
        match self.style {
            Style::Json if text.is_empty() => self.put_none(),
            Style::Json => self.put_json(text),
            Style::Text => {
                let text = if text.is_empty() { b"-" } else { text };
                self.out.push(b'"');
                put_hex_escaped(&mut self.out, text, Blank::Kept);
                self.out.push(b'"');
            }
        }
    }

    fn end(mut self) -> String {
        if self.style == Style::Json {
            self.out.push(b'}');
        }
        // Both styles leave nothing else.
        String::from_utf8(self.out).unwrap_or_default()
    }
}
