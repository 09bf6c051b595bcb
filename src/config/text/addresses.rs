//! Addresses and networks, and where the client's address comes from.

use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr};

use crate::config::ClientAddress;
use crate::document::{Complaints, Item, Severity, Value};
use crate::network::Network;

/// A list of IP addresses.
pub(super) fn addresses(item: &Item<'_>, complaints: &mut Complaints) -> Vec<IpAddr> {
    let list = item.list(complaints);
    different(&list, complaints, |item, complaints| {
        item.parsed("an IP address", |text| text.parse().ok(), complaints)
    })
}

/// A list of networks.
pub(super) fn networks(item: &Item<'_>, complaints: &mut Complaints) -> Vec<Network> {
    let what =
        "an address or a network, such as \"192.0.2.7\", \"10.0.0.0/8\" or \"2001:db8::/32\"";
    let list = item.list(complaints);
    different(&list, complaints, |item, complaints| {
        // `::ffff:192.0.2.0/120` would hold no address: those that come in this form count as IPv4.
        let parse = |text: &str| {
            let (address, _) = text.split_once('/').unwrap_or_default();
            let v6 = address.parse::<Ipv6Addr>().ok();
            let mapped = v6.and_then(|v6| v6.to_ipv4_mapped()).is_some();
            text.parse().ok().filter(|_| !mapped)
        };
        item.parsed(what, parse, complaints)
    })
}

/// What `read` makes of each item; what is listed twice is a slip.
fn different<T: PartialEq + Display>(
    list: &[Item<'_>],
    complaints: &mut Complaints,
    read: impl Fn(&Item<'_>, &mut Complaints) -> Option<T>,
) -> Vec<T> {
    let mut values = Vec::new();
    for item in list {
        let Some(value) = read(item, complaints) else {
            continue;
        };
        if values.contains(&value) {
            let place = item.place(complaints);
            complaints.error(&place, format!("{value} is listed twice"), "list it once");
        }
        values.push(value);
    }
    values
}

/// Who may connect where the PROXY protocol is demanded: whoever may say so can name any client address.
pub(super) fn proxies(item: &Item<'_>, complaints: &mut Complaints) -> Option<Vec<Network>> {
    let errors = complaints.errors();
    let networks = networks(item, complaints);
    if networks.is_empty() && complaints.errors() == errors {
        let place = item.place(complaints);
        complaints.error(
            &place,
            "with an empty list nobody may connect",
            "list the networks of the load balancers, such as \"10.0.0.0/8\", or remove the key",
        );
    }
    (complaints.errors() == errors).then_some(networks)
}

/// `"peer"`, `{ forwarded_for = -1 }` or `{ field = "X-Real-IP" }` (spec 2.9).
pub(super) fn client_address(
    item: &Item<'_>,
    complaints: &mut Complaints,
) -> Option<ClientAddress> {
    let forms = "\"peer\", { forwarded_for = -1 } or { field = \"X-Real-IP\" }";
    let refuse = |complaints: &mut Complaints, problem: String| {
        let place = item.place(complaints);
        complaints.error(&place, problem, format!("write {forms}"));
        None
    };
    match item.value() {
        Value::Text(text) if text == "peer" => return Some(ClientAddress::Peer),
        Value::Text(text) => {
            return refuse(complaints, format!("\"{text}\" is no source of addresses"));
        }
        Value::Table(_) => {}
        other => {
            return refuse(
                complaints,
                format!("{} is no source of addresses", other.kind()),
            );
        }
    }
    let mut table = item.table(complaints)?;
    let (index, field) = (table.take("forwarded_for"), table.take("field"));
    let unknown = complaints.errors();
    table.finish(Severity::Error, complaints);
    match (index, field) {
        (Some(index), None) => forwarded_for(&index, complaints),
        (None, Some(field)) => field_name(&field, complaints).map(ClientAddress::Field),
        // An unknown key has been named already.
        (None, None) if complaints.errors() > unknown => None,
        (None, None) => refuse(complaints, "it names no source of addresses".to_owned()),
        (Some(_), Some(_)) => refuse(complaints, "it names two sources of addresses".to_owned()),
    }
}

/// An element of `X-Forwarded-For`; the cloud's `xff_index` is an int32.
pub(super) fn forwarded_for(item: &Item<'_>, complaints: &mut Complaints) -> Option<ClientAddress> {
    let index = item.integer(i64::from(i32::MIN)..=i64::from(i32::MAX), complaints)?;
    let index = i32::try_from(index).ok()?;
    Some(ClientAddress::ForwardedFor { index })
}

fn field_name(item: &Item<'_>, complaints: &mut Complaints) -> Option<String> {
    item.parsed(
        "the name of a field, such as \"X-Real-IP\"",
        |text| is_field_name(text).then(|| text.to_owned()),
        complaints,
    )
}

/// RFC 9110 §5.6.2: a token.
pub(super) fn is_field_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
