//! `ringgate explain`: what a configuration makes of one request, from the listener to what the backend is asked.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::SystemTime;

use crate::catalog::{
    self, Api, Call, Catalog, Destination, MappingError, Matched, Member, Method, Outgoing, Policy,
    Query, Routed,
};
use crate::cli::Explain;
use crate::close::CloseReason;
use crate::config::{Config, HostSent, Listener, Protection, Scheme};
use crate::proto::head::HeadError;

/// A URL as a client would call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// The scheme and address, and the `Host` that a client makes of them.
    server: Member,
    /// Whether it is to be an upgrade: `ws` and `wss`.
    upgrade: bool,
    path: String,
    query: Option<String>,
}

/// A header field of the command line, `Name: value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    name: String,
    value: String,
}

/// The text for a person, and whether the request would reach a backend.
#[derive(Debug)]
struct Account {
    text: String,
    served: bool,
}

/// Runs the command: 0 if a backend, or a mock, would answer; 1 if the gateway would refuse.
pub fn run(explain: &Explain) -> ExitCode {
    match account(explain) {
        Ok(account) => {
            print!("{}", account.text);
            if account.served {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(problem) => {
            eprintln!("ringgate: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn account(explain: &Explain) -> Result<Account, String> {
    let loaded = catalog::load(&explain.file.config).map_err(|report| report.to_string())?;
    let request = Request::new(explain, &loaded.config)?;
    let mut text = String::new();
    let served = request
        .tell(&loaded.config, &loaded.catalog, &mut text)
        .map_err(|fmt::Error| "out of memory".to_owned())?;
    Ok(Account { text, served })
}

/// The request that is explained.
#[derive(Debug)]
struct Request<'a> {
    url: &'a Url,
    method: &'a str,
    fields: &'a [Field],
    client: IpAddr,
    listener: &'a Listener,
    inbound: SocketAddr,
}

impl<'a> Request<'a> {
    fn new(explain: &'a Explain, config: &'a Config) -> Result<Self, String> {
        let url = &explain.url;
        if url.upgrade && explain.method != "GET" {
            return Err("--method: an opening handshake is a GET (RFC 6455); http and https URLs have others".to_owned());
        }
        let address = url.server.host.parse::<IpAddr>().ok();
        let port = explain
            .inbound
            .map_or(url.server.port, |inbound| inbound.port());
        let called = explain.inbound.map(|inbound| inbound.ip()).or(address);
        let listener = listener(config, url.server.scheme, called, port)?;
        let inbound = match (explain.inbound, called) {
            (Some(inbound), _) => inbound,
            (None, Some(address)) if listener.address.ip().is_unspecified() && is_ours(address) => {
                SocketAddr::new(address, port)
            }
            _ => listener.address,
        };
        Ok(Self {
            url,
            method: &explain.method,
            fields: &explain.header,
            client: explain.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            listener,
            inbound,
        })
    }

    fn query(&self) -> Query<'_> {
        Query {
            scheme: self.url.server.scheme,
            inbound: self.inbound,
            host: self.field("host").unwrap_or(&self.url.server.authority),
            method: self.method,
            path: &self.url.path,
            stage: self.field("x-stage"),
        }
    }

    fn field(&self, name: &str) -> Option<&str> {
        let found = self
            .fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name));
        found.map(|field| field.value.as_str())
    }

    /// Writes the whole account; whether the request is served.
    fn tell(
        &self,
        config: &Config,
        catalog: &Catalog,
        out: &mut String,
    ) -> Result<bool, fmt::Error> {
        let Self {
            listener,
            client,
            inbound,
            ..
        } = self;
        writeln!(
            out,
            "listener: {}://{}",
            listener.scheme.websocket(),
            listener.address
        )?;
        if inbound.ip().is_unspecified() {
            writeln!(
                out,
                "client: {client}, connected to an address of this machine; --inbound says which"
            )?;
        } else {
            writeln!(out, "client: {client}, connected to {inbound}")?;
        }
        let query = self.query();
        write!(out, "{}", catalog.explain(&query))?;
        let target_max = config.limits.head.target_bytes_max;
        let target = self.target_bytes();
        if target > target_max {
            return refused(CloseReason::BadHead(HeadError::TargetTooLong), out);
        }
        match catalog.route(&query) {
            Err(unrouted) => refused(unrouted.error.into(), out),
            Ok(routed) => {
                writeln!(out, "checks:")?;
                writeln!(
                    out,
                    "  size: the target has {target} of at most {target_max} bytes"
                )?;
                self.tell_routed(config, &routed, out)
            }
        }
    }

    fn target_bytes(&self) -> usize {
        let query = self.url.query.as_ref();
        self.url.path.len() + query.map_or(0, |query| query.len() + 1)
    }

    fn tell_routed(
        &self,
        config: &Config,
        routed: &Routed<'_>,
        out: &mut String,
    ) -> Result<bool, fmt::Error> {
        let Routed {
            api,
            matched,
            debug,
        } = routed;
        tell_checks(config, api, out)?;
        if let Some(calls) = debug {
            writeln!(out, "  debugging domain: {} calls a day", calls.per_day())?;
        }
        self.with_outgoing(api, matched, |outgoing| match outgoing {
            Ok(outgoing) => self.tell_outgoing(config, api, &outgoing, out),
            Err(error) => {
                let (said, reason) = mapping_problem(error);
                writeln!(out, "  parameters: {said}")?;
                refused(reason, out)
            }
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the request is made up now")]
    fn with_outgoing<T>(
        &self,
        api: &Api,
        matched: &Matched<'_>,
        tell: impl FnOnce(Result<Outgoing<'_>, MappingError>) -> T,
    ) -> T {
        let query = self.query();
        let given = self.fields.iter();
        let mut fields: Vec<(&[u8], &[u8])> = given
            .map(|field| (field.name.as_bytes(), field.value.as_bytes()))
            .collect();
        if self.field("host").is_none() {
            fields.insert(0, (b"Host", query.host.as_bytes()));
        }
        let call = Call {
            scheme: query.scheme,
            method: query.method,
            host: query.host,
            path: query.path,
            query: self.url.query.as_deref(),
            fields: &fields,
            client: self.client,
            inbound: self.inbound,
            request_id: REQUEST_ID,
            received_at: SystemTime::now(),
        };
        tell(api.outgoing(matched, &call))
    }

    fn tell_outgoing(
        &self,
        config: &Config,
        api: &Api,
        outgoing: &Outgoing<'_>,
        out: &mut String,
    ) -> Result<bool, fmt::Error> {
        writeln!(out, "  parameters: as the API allows them")?;
        let chosen = |policy: &&Policy| std::ptr::eq(outgoing.backend, &raw const policy.backend);
        match api.policies.iter().find(chosen) {
            Some(policy) => writeln!(out, "  backend policy: {}", policy.name)?,
            None => writeln!(out, "  backend policy: the API's own backend")?,
        }
        let http = match &outgoing.backend.destination {
            Destination::Mock(mock) => {
                writeln!(
                    out,
                    "backend: none, the gateway answers {} itself",
                    mock.status
                )?;
                return Ok(true);
            }
            Destination::Http(http) => http,
        };
        for (index, member) in http.members.iter().enumerate() {
            let label = if index == 0 { "backend:" } else { "     or:" };
            let scheme = if self.url.upgrade {
                member.scheme.websocket()
            } else {
                member.scheme.label()
            };
            writeln!(
                out,
                "{label} {scheme}://{}, timeout {:?}",
                member.authority, http.timeout
            )?;
        }
        if self.url.upgrade && !http.method.takes_get() {
            return refused(CloseReason::NoUpgrade, out);
        }
        let method = match http.method {
            Method::Any => self.method,
            method => method.label(),
        };
        let target = String::from_utf8_lossy(&outgoing.target);
        writeln!(out, "request:\n  {method} {target} HTTP/1.1")?;
        self.tell_fields(config, outgoing, http.members.first(), out)?;
        Ok(true)
    }

    /// The fields that are known here; the forwarding fields of spec 2.8 are added to every request.
    fn tell_fields(
        &self,
        config: &Config,
        outgoing: &Outgoing<'_>,
        member: Option<&Member>,
        out: &mut String,
    ) -> fmt::Result {
        let is_set = |name: &str| {
            outgoing
                .set
                .iter()
                .any(|(set, _)| set.eq_ignore_ascii_case(name))
        };
        if !is_set("host") {
            let host = match (config.forwarding.host, member) {
                (HostSent::Backend, Some(member)) => &member.authority,
                _ => self.query().host,
            };
            writeln!(out, "  Host: {host}")?;
        }
        for (name, value) in &outgoing.set {
            writeln!(out, "  {name}: {}", String::from_utf8_lossy(value))?;
        }
        for Field { name, value } in self.fields {
            let removed = outgoing
                .removed
                .iter()
                .any(|removed| removed.eq_ignore_ascii_case(name));
            let lower = name.to_ascii_lowercase();
            let gateway = lower == "x-stage" || lower.starts_with("x-apig-");
            let ours = lower == "host" || (gateway && config.forwarding.strip_gateway_fields);
            if !removed && !is_set(name) && !ours {
                writeln!(out, "  {name}: {value}")?;
            }
        }
        if self.url.upgrade {
            writeln!(out, "  Connection: Upgrade\n  Upgrade: websocket")?;
        }
        writeln!(
            out,
            "  and what every request gets: X-Forwarded-*, X-Real-IP, X-Request-Id"
        )
    }
}

/// Stands for the id that a request would get.
const REQUEST_ID: &str = "00000000000000000000000000000000";

/// The listener that takes the scheme and port: the one of the called address before the one of all addresses.
fn listener(
    config: &Config,
    scheme: Scheme,
    called: Option<IpAddr>,
    port: u16,
) -> Result<&Listener, String> {
    let fits = |listener: &&Listener| listener.scheme == scheme && listener.address.port() == port;
    let of_port = || config.listeners.iter().filter(fits);
    of_port()
        .find(|listener| Some(listener.address.ip()) == called)
        .or_else(|| of_port().find(|listener| listener.address.ip().is_unspecified()))
        .or_else(|| of_port().next())
        .ok_or_else(|| {
            let label = |listener: &Listener| {
                format!("{}://{}", listener.scheme.websocket(), listener.address)
            };
            let listeners: Vec<_> = config.listeners.iter().map(label).collect();
            format!(
                "no listener takes {} on port {port}; there are: {}",
                scheme.websocket(),
                listeners.join(", ")
            )
        })
}

/// Whether an address is one of this machine: only to such a one can a socket be bound.
fn is_ours(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// What the checks of spec 1.6 between match and parameters come to. APIs with rules that cannot be enforced are not
/// served, so that none has any, unless the operator waived them.
fn tell_checks(config: &Config, api: &Api, out: &mut String) -> fmt::Result {
    writeln!(out, "  scheme: {} served", api.schemes.label())?;
    let waived = config
        .api_rules(&api.group, &api.name)
        .map_or(&[][..], |rules| &rules.insecure_ignore);
    for (check, protection) in [
        ("access control", Protection::AccessControl),
        ("authentication", Protection::Authentication),
        ("throttling", Protection::RateLimit),
    ] {
        if waived.contains(&protection) {
            writeln!(
                out,
                "  {check}: not enforced, insecure_ignore has `{}`",
                protection.word()
            )?;
        } else {
            writeln!(out, "  {check}: none")?;
        }
    }
    Ok(())
}

fn mapping_problem(error: MappingError) -> (String, CloseReason) {
    match error {
        MappingError::Parameter(name) => (
            format!("`{name}` is missing, or not what the API allows"),
            CloseReason::BadParameter,
        ),
        MappingError::NoOrchestrationInput => (
            "the input of an orchestration rule is missing".to_owned(),
            CloseReason::NoOrchestrationInput,
        ),
        MappingError::NoOrchestrationMatch => (
            "no orchestration rule applies".to_owned(),
            CloseReason::NoOrchestrationMatch,
        ),
    }
}

/// Says what the client would get.
fn refused(reason: CloseReason, out: &mut String) -> Result<bool, fmt::Error> {
    if let Some(error) = reason.answer() {
        writeln!(
            out,
            "answer: {} {} {}",
            error.status, error.code, error.message
        )?;
    }
    Ok(false)
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || {
            "not a URL such as wss://203.0.113.10/hello?name=value (ws, wss, http, https; no fragment, no blanks)"
                .to_owned()
        };
        let (name, rest) = text.split_once("://").ok_or_else(problem)?;
        let scheme = Scheme::named(name).ok_or_else(problem)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (address, target) = rest.split_at_checked(end).ok_or_else(problem)?;
        if !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            return Err(problem());
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        Ok(Self {
            server: Member::from_address(scheme, address).ok_or_else(problem)?,
            upgrade: name.to_ascii_lowercase().starts_with("ws"),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            query,
        })
    }
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name_byte = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        match text.split_once(':') {
            Some((name, value))
                if !name.is_empty()
                    && name.bytes().all(is_name_byte)
                    && !value.contains(char::is_control) =>
            {
                Ok(Self {
                    name: name.to_owned(),
                    value: value.trim().to_owned(),
                })
            }
            _ => Err("not a header field such as 'X-Stage: TEST'".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
