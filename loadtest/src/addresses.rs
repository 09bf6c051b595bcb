//! Addresses to spread sockets over: each has ports for some 28,000 connections to one server address and port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Single addresses and CIDR ranges, taken in turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses(Vec<Range>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: IpAddr,
    /// At least one.
    count: u64,
}

impl Addresses {
    /// The address of the `number`th connection; `None` if there are no addresses to choose from.
    pub(crate) fn nth(&self, number: u64) -> Option<IpAddr> {
        let total = self
            .0
            .iter()
            .fold(0_u64, |sum, range| sum.saturating_add(range.count));
        let mut left = number.checked_rem(total)?;
        for range in &self.0 {
            if left < range.count {
                return Some(range.nth(left));
            }
            left -= range.count;
        }
        None
    }
}

impl Range {
    fn nth(&self, number: u64) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => {
                let offset = u32::try_from(number).unwrap_or_default();
                Ipv4Addr::from_bits(first.to_bits().wrapping_add(offset)).into()
            }
            IpAddr::V6(first) => {
                Ipv6Addr::from_bits(first.to_bits().wrapping_add(number.into())).into()
            }
        }
    }

    /// Network and broadcast address of a range are nobody's.
    fn parse(text: &str) -> Option<Self> {
        let Some((address, prefix)) = text.split_once('/') else {
            let first = text.parse().ok()?;
            return Some(Self { first, count: 1 });
        };
        let prefix: u32 = prefix.parse().ok()?;
        match address.parse().ok()? {
            IpAddr::V4(address) => {
                let host_bits = 32_u32.checked_sub(prefix)?;
                let network = address.to_bits() & u32::MAX.checked_shl(host_bits).unwrap_or(0);
                let (skip, count) = match host_bits {
                    0 | 1 => (0, 1_u64 << host_bits),
                    _ => (1, (1_u64 << host_bits) - 2),
                };
                let first = Ipv4Addr::from_bits(network + skip).into();
                Some(Self { first, count })
            }
            IpAddr::V6(address) => {
                let host_bits = 128_u32.checked_sub(prefix)?;
                let network = address.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0);
                let (skip, count) = match host_bits {
                    0 => (0, 1),
                    // More than anybody can open, so that counting stays in a word.
                    _ => (1, (1_u64 << host_bits.min(40)) - 1),
                };
                let first = Ipv6Addr::from_bits(network + skip).into();
                Some(Self { first, count })
            }
        }
    }
}

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ranges = text.split(',').map(|part| {
            Range::parse(part).ok_or_else(|| format!("{part:?} is no address and no range"))
        });
        ranges.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_walked_and_begin_again() {
        let check = |text: &str, expected: &[&str]| {
            let addresses: Addresses = text.parse().unwrap();
            let walked: Vec<_> = (0..expected.len() as u64)
                .filter_map(|number| addresses.nth(number))
                .map(|address| address.to_string())
                .collect();
            assert_eq!(walked, expected, "{text}");
        };
        check("127.0.0.1", &["127.0.0.1", "127.0.0.1"]);
        check("10.0.0.5/30", &["10.0.0.5", "10.0.0.6", "10.0.0.5"]);
        check("10.0.0.0/31", &["10.0.0.0", "10.0.0.1", "10.0.0.0"]);
        check("127.0.0.0/8", &["127.0.0.1", "127.0.0.2"]);
        check("0.0.0.0/0", &["0.0.0.1"]);
        check(
            "127.0.0.9,10.0.0.4/30",
            &["127.0.0.9", "10.0.0.5", "10.0.0.6", "127.0.0.9"],
        );
        check("fd00::/64,::1", &["fd00::1", "fd00::2"]);
        check("::/0", &["::1"]);
        check("::1/128", &["::1", "::1"]);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "localhost",
            "127.0.0.1/33",
            "127.0.0.1/x",
            "::/129",
            "127.0.0.1,",
        ] {
            assert!(text.parse::<Addresses>().is_err(), "{text}");
        }
        assert_eq!(Addresses::default().nth(7), None);
    }
}
