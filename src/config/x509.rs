//! The few facts of an X.509 certificate (RFC 5280) that rustls keeps to itself: names, dates, issuer and subject.
//!
//! It proves nothing and trusts nothing: it reads certificates that the operator chose, to say what he may have missed.

use std::net::IpAddr;

const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0] version` and `[3] extensions` of a TBSCertificate.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// `[2] dNSName` and `[7] iPAddress` of a GeneralName.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// 2.5.29.17 with its tag and length.
const SUBJECT_ALT_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x11];

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Facts<'a> {
    /// Names in DER, only to be compared.
    pub(super) issuer: &'a [u8],
    pub(super) subject: &'a [u8],
    /// Seconds since 1970.
    pub(super) not_before: u64,
    pub(super) not_after: u64,
    /// Lower case.
    pub(super) names: Vec<String>,
    pub(super) addresses: Vec<IpAddr>,
}

impl<'a> Facts<'a> {
    /// RFC 5280 §4.1; `None` for what is no certificate.
    pub(super) fn of(certificate: &'a [u8]) -> Option<Self> {
        let mut certificate = Der(Der(certificate).expect(SEQUENCE)?);
        let mut body = Der(certificate.expect(SEQUENCE)?);
        body.skip_if(VERSION);
        body.next()?; // serialNumber
        body.next()?; // signature
        let (_, issuer) = body.next()?;
        let mut validity = Der(body.expect(SEQUENCE)?);
        let (_, subject) = body.next()?;
        let mut facts = Self {
            issuer,
            subject,
            not_before: time(validity.next()?)?,
            not_after: time(validity.next()?)?,
            ..Self::default()
        };
        body.next()?; // subjectPublicKeyInfo
        while let Some((tag, content)) = body.next() {
            if tag == EXTENSIONS {
                facts.read_extensions(content)?;
            }
        }
        Some(facts)
    }

    fn read_extensions(&mut self, content: &[u8]) -> Option<()> {
        let mut extensions = Der(Der(content).expect(SEQUENCE)?);
        while let Some((_, extension)) = extensions.next() {
            if let Some(rest) = extension.strip_prefix(SUBJECT_ALT_NAME) {
                let mut rest = Der(rest);
                rest.skip_if(BOOLEAN); // critical
                self.read_names(rest.expect(OCTET_STRING)?)?;
            }
        }
        Some(())
    }

    fn read_names(&mut self, content: &[u8]) -> Option<()> {
        let mut names = Der(Der(content).expect(SEQUENCE)?);
        while let Some((tag, name)) = names.next() {
            match tag {
                DNS_NAME => self
                    .names
                    .push(std::str::from_utf8(name).ok()?.to_ascii_lowercase()),
                IP_ADDRESS => self.addresses.push(address(name)?),
                _ => {}
            }
        }
        Some(())
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// Elements one after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element's tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, short], rest) = self.0.split_first_chunk()?;
        let (len, rest) = if short < 0x80 {
            (usize::from(short), rest)
        } else {
            // The long form: so many bytes of length. A certificate is far below 4 GiB.
            let (digits, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            if digits.is_empty() || digits.len() > 4 {
                return None;
            }
            let len = digits
                .iter()
                .fold(0, |len, digit| len << 8 | usize::from(*digit));
            (len, rest)
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, content) = self.next()?;
        (tag == wanted).then_some(content)
    }

    fn skip_if(&mut self, unwanted: u8) {
        if self.0.first() == Some(&unwanted) {
            self.next();
        }
    }
}

/// RFC 5280 §4.1.2.5: `YYMMDDHHMMSSZ` for 1950 to 2049, `YYYYMMDDHHMMSSZ` else. Times before 1970 are 1970.
fn time((tag, text): (u8, &[u8])) -> Option<u64> {
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = digits(text, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => digits(text, 4)?,
        _ => return None,
    };
    let (month, rest) = digits(rest, 2)?;
    let (day, rest) = digits(rest, 2)?;
    let (hour, rest) = digits(rest, 2)?;
    let (minute, rest) = digits(rest, 2)?;
    let (second, rest) = digits(rest, 2)?;
    if rest != b"Z" || !(1..=12).contains(&month) {
        return None;
    }
    let days = days_since_1970(year, month, day);
    u64::try_from(((days * 24 + hour) * 60 + minute) * 60 + second).map_or(Some(0), Some)
}

fn digits(text: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (number, rest) = text.split_at_checked(count)?;
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

/// Days of the Gregorian calendar, counted from March so that the leap day comes last.
pub(crate) fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leaps = year / 4 - year / 100 + year / 400;
    year * 365 + leaps + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(0)),
            (GENERALIZED_TIME, "20240229120000Z", Some(1_709_208_000)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (UTC_TIME, "701301000000Z", None),
            (UTC_TIME, "7001010000", None),
            (0x02, "700101000000Z", None),
        ] {
            assert_eq!(time((tag, text.as_bytes())), expected, "{text}");
        }
    }

    #[test]
    fn facts_are_read_and_no_cut_is_taken_for_a_certificate() {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["Api.Example.com", "*.example.org", "127.0.0.1", "::1"].map(str::to_owned);
        let certificate = rcgen::CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let facts = Facts::of(certificate.der()).unwrap();
        assert_eq!(facts.names, ["api.example.com", "*.example.org"]);
        assert_eq!(
            facts.addresses,
            [
                "127.0.0.1".parse::<IpAddr>().unwrap(),
                "::1".parse().unwrap()
            ]
        );
        assert_eq!(facts.issuer, facts.subject);
        assert!(facts.not_before < facts.not_after);
        for len in 0..certificate.der().len() {
            assert_eq!(Facts::of(&certificate.der()[..len]), None, "{len}");
        }
    }
}
