//! Backends: whether each has an address and answers, and with a trial, whether it agrees to an upgrade.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tungstenite::WebSocket;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role};

use super::certificates::SKEW_MAX;
use super::finding::{Area, Finding};
use super::plan::{Plan, Trial, Upstream};
use crate::call::handshake::{Answer, Head, Wishes, shake_hands};
use crate::call::stream::{Stream, now};
use crate::call::target::Target;
use crate::config::certificates;
use crate::config::days_since_1970;
use crate::document::plural;
use crate::network::Network;
use crate::tls;

const AREA: Area = Area::Backends;

/// How many backends are tried at a time: more would look like an attack to whoever watches them.
const AT_A_TIME: usize = 16;

/// How long a backend may take to be connected to, and again for its answer to a trial.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether backends are only connected to, or asked for an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    Connect,
    Upgrade,
}

pub(super) fn examine(plan: &Plan, depth: Depth) -> Vec<Finding> {
    if plan.upstreams.is_empty() {
        return Vec::new();
    }
    let tls = match tls::client_config(&plan.config.backends) {
        Ok(tls) => tls,
        Err(error) => {
            return vec![AREA.fail("TLS", error.to_string(), "correct backends.ca")];
        }
    };
    // Each thread takes the next backend that nobody has taken.
    let next = AtomicUsize::new(0);
    let (sender, found) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..plan.upstreams.len().min(AT_A_TIME) {
            let (sender, next, tls) = (sender.clone(), &next, &tls);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Relaxed);
                    let Some(upstream) = plan.upstreams.get(index) else {
                        break;
                    };
                    let findings = of(upstream, plan, depth, tls);
                    if sender.send((index, findings)).is_err() {
                        break;
                    }
                }
            });
        }
    });
    drop(sender);
    let mut found: Vec<_> = found.iter().collect();
    found.sort_by_key(|(index, _)| *index);
    found
        .into_iter()
        .flat_map(|(_, findings)| findings)
        .collect()
}

fn of(upstream: &Upstream, plan: &Plan, depth: Depth, tls: &Arc<ClientConfig>) -> Vec<Finding> {
    let member = &upstream.member;
    let subject = format!("{}://{}", member.scheme.websocket(), member.authority);
    let addresses: Vec<_> = match (member.host.as_str(), member.port).to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            return vec![AREA.fail(
                subject,
                format!("{} cannot be resolved: {error}", member.host),
                "correct the definition's address, or /etc/hosts and /etc/resolv.conf",
            )];
        }
    };
    let mut findings = denied(&subject, &addresses, &plan.config.backends.denied);
    let mut reached = None;
    for address in &addresses {
        let started = now();
        match connect(*address, plan) {
            Ok(socket) => {
                findings.push(AREA.ok(
                    &*subject,
                    format!("{address} answers after {:.1} ms", milliseconds(started)),
                ));
                reached = reached.or(Some(socket));
            }
            Err(error) => findings.push(AREA.fail(
                &*subject,
                format!("{address} cannot be connected to: {error}"),
                "start the backend, or open the way to it (firewall, security group, route)",
            )),
        }
    }
    if addresses.is_empty() {
        findings.push(AREA.fail(
            &*subject,
            "its name has no address",
            "correct the name's records",
        ));
    }
    if depth == Depth::Upgrade
        && let Some(socket) = reached
    {
        findings.extend(try_upgrade(socket, upstream, &subject, tls));
    }
    findings
}

/// From the first source address of the same family, if there are any: a backend's firewall may know no other.
fn connect(address: SocketAddr, plan: &Plan) -> std::io::Result<TcpStream> {
    let sources = plan.config.backends.source_addresses.iter();
    let source = sources
        .copied()
        .find(|source| source.is_ipv4() == address.is_ipv4());
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect_timeout(&address.into(), PATIENCE)?;
    Ok(socket.into())
}

/// Calls that lead to such an address are answered with 403.
fn denied(subject: &str, addresses: &[SocketAddr], networks: &[Network]) -> Vec<Finding> {
    let is_denied = |address: &&SocketAddr| {
        networks
            .iter()
            .any(|network| network.contains(address.ip()))
    };
    let found = addresses.iter().filter(is_denied);
    found
        .map(|address| {
            AREA.fail(
                subject,
                format!("{} lies in backends.denied: calls get 403", address.ip()),
                "correct backends.denied, or the definition's address",
            )
        })
        .collect()
}

fn try_upgrade(
    socket: TcpStream,
    upstream: &Upstream,
    subject: &str,
    tls: &Arc<ClientConfig>,
) -> Vec<Finding> {
    let Some(Trial { api, path }) = &upstream.trial else {
        return vec![AREA.unknown(
            format!("{subject}: upgrade"),
            "not tried: every path that leads here has parameters",
        )];
    };
    let subject = format!("{subject}{path}: upgrade");
    let refused = |says: String| {
        vec![AREA.fail(
            &*subject,
            says,
            format!("see what the backend of {api} logs for GET {path}; `ringgate call` shows its whole answer"),
        )]
    };
    let started = now();
    let until = started + PATIENCE;
    let mut stream = match Stream::over(socket, &upstream.member, tls, until) {
        Ok(stream) => stream,
        Err(error) => return refused(error.to_string()),
    };
    let target = Target {
        server: upstream.member.clone(),
        resource: path.clone(),
    };
    match shake_hands(&mut stream, &target, &Wishes::default(), until) {
        Err(error) => refused(error.to_string()),
        Ok(Answer::Refused { head, .. }) => refused(format!("answered {}", first_line(&head))),
        Ok(Answer::Upgraded { head, .. }) => {
            let says = format!("agreed after {:.1} ms", milliseconds(started));
            take_leave(stream);
            let mut findings = vec![AREA.ok(&*subject, says)];
            findings.extend(skew(&subject, &head, certificates::now()));
            findings
        }
    }
}

/// A backend's application should not take a trial for a client that broke.
fn take_leave(stream: Stream) {
    let mut socket = WebSocket::from_raw_socket(stream, Role::Client, None);
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: "ringgate doctor".into(),
    };
    // It is only a courtesy.
    drop(socket.close(Some(frame)));
    drop(socket.flush());
}

/// Two clocks that differ: one of them judges certificates and signatures wrongly. `now` in seconds since 1970.
fn skew(subject: &str, head: &Head, now: u64) -> Option<Finding> {
    let date = http_date(head.date.as_deref()?)?;
    let seconds = date.abs_diff(now);
    (seconds > SKEW_MAX.as_secs()).then(|| {
        AREA.warn(
            subject,
            format!(
                "its clock is {} {} this host's",
                plural(usize::try_from(seconds).unwrap_or(usize::MAX), "second"),
                if date > now { "ahead of" } else { "behind" }
            ),
            "have both kept right by NTP",
        )
    })
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7) as seconds since 1970.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = text.split(' ').skip(1);
    let number = |word: Option<&str>| word?.parse::<i64>().ok();
    let day = number(words.next())?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let year = number(words.next())?;
    let mut clock = words.next()?.split(':');
    let (hour, minute, second) = (
        number(clock.next())?,
        number(clock.next())?,
        number(clock.next())?,
    );
    if words.next()? != "GMT" || !(1970..=9999).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    let in_day = |value: i64, below: i64| (0..below).contains(&value).then_some(value);
    let seconds = (in_day(hour, 24)? * 60 + in_day(minute, 60)?) * 60 + in_day(second, 61)?;
    let days = days_since_1970(year, i64::try_from(month).ok()?, day);
    u64::try_from(days * 86_400 + seconds).ok()
}

fn first_line(head: &Head) -> &str {
    let line = head.text.lines().next().unwrap_or_default();
    line.split_once(' ').map_or(line, |(_, status)| status)
}

fn milliseconds(since: Instant) -> f64 {
    now().saturating_duration_since(since).as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::super::tests::{plan, upstream};
    use super::*;
    use crate::demo;

    fn levels(address: &str, depth: Depth) -> Vec<(Level, String)> {
        let mut plan = plan(1);
        plan.upstreams = vec![upstream(address, 1)];
        let found = examine(&plan, depth);
        found.into_iter().map(|f| (f.level, f.says)).collect()
    }

    #[test]
    fn a_backend_that_agrees_is_well() {
        let address = demo::echo_backend().unwrap().to_string();
        let found = levels(&address, Depth::Connect);
        assert!(matches!(&found[..], [(Level::Ok, _)]), "{found:?}");
        let found = levels(&address, Depth::Upgrade);
        let [(Level::Ok, _), (Level::Ok, says)] = &found[..] else {
            panic!("{found:?}")
        };
        assert!(says.starts_with("agreed"), "{says}");
    }

    #[test]
    fn a_backend_that_is_not_there_is_named() {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = gone.local_addr().unwrap().to_string();
        drop(gone);
        let found = levels(&address, Depth::Upgrade);
        assert!(matches!(&found[..], [(Level::Fail, _)]), "{found:?}");
        let found = levels("no-such-name.invalid:80", Depth::Connect);
        assert!(found[0].1.contains("resolved"), "{found:?}");
    }

    #[test]
    fn a_refusal_is_shown() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert!(socket.read(&mut request).unwrap() > 0);
            socket
                .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
                .unwrap();
        });
        let found = levels(&address, Depth::Upgrade);
        server.join().unwrap();
        let [(Level::Ok, _), (Level::Fail, says)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(says, "answered 404 Not Found");
    }

    #[test]
    fn denied_addresses_are_named() {
        let networks: Vec<Network> = vec!["127.0.0.0/8".parse().unwrap()];
        let addresses = [
            "127.0.0.1:1".parse().unwrap(),
            "192.0.2.1:1".parse().unwrap(),
        ];
        assert_eq!(denied("x", &addresses, &networks).len(), 1);
    }

    #[test]
    fn dates_of_answers_are_read() {
        for (text, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 25:49:37 GMT", None),
            ("now", None),
        ] {
            assert_eq!(http_date(text), expected, "{text}");
        }
        let head = |date: &str| Head {
            status: 101,
            text: String::new(),
            date: Some(date.to_owned()),
        };
        let now = 784_111_777;
        assert!(skew("x", &head("Sun, 06 Nov 1994 08:49:35 GMT"), now).is_none());
        assert!(skew("x", &head("Sun, 06 Nov 1994 08:50:37 GMT"), now).is_some());
    }
}
