//! Certificates: read with their keys, judged, and chosen by the name that a client asks for (spec 10.1).

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureScheme};

use super::x509::Facts;
use super::{Certificate, Tls};
use crate::document::{Complaint, Place};

/// What is wrong with a certificate or its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateProblem {
    NoCertificate,
    Unreadable,
    NoKey,
    KeyEncrypted,
    KeyUnusable(String),
    KeyMismatch,
    ChainOrder,
    NoNames,
    Expired,
    NotYetValid,
}

impl CertificateProblem {
    /// The management API's code (spec 3.5).
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeyMismatch => "APIG.2101",
            Self::Expired | Self::NotYetValid => "APIG.2102",
            Self::ChainOrder => "APIG.2104",
            Self::KeyEncrypted => "APIG.2105",
            Self::NoCertificate | Self::Unreadable | Self::NoKey | Self::KeyUnusable(_) => {
                "APIG.2106"
            }
            Self::NoNames => "APIG.2109",
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::NoCertificate | Self::Unreadable => {
                "name a PEM file with the certificate and then its chain"
            }
            Self::NoKey | Self::KeyUnusable(_) => "name a PEM file with the RSA or ECDSA key",
            Self::KeyEncrypted => "decrypt it: openssl pkey -in key.pem -out plain.pem",
            Self::KeyMismatch => "name the key that the certificate was made with",
            Self::ChainOrder => "put the certificate first, then the one that issued it, and so on",
            Self::NoNames => "issue it with subjectAltName: clients look nowhere else",
            Self::Expired | Self::NotYetValid => "renew it, or correct the clock of this box",
        }
    }

    pub(super) fn is_about_key(&self) -> bool {
        matches!(
            self,
            Self::NoKey | Self::KeyEncrypted | Self::KeyUnusable(_) | Self::KeyMismatch
        )
    }

    pub(super) fn complaint(&self, place: &Place, error: bool) -> Complaint {
        let complaint = if error {
            place.error(self.to_string(), self.remedy())
        } else {
            place.warning(self.to_string(), self.remedy())
        };
        complaint.with_code(self.code())
    }
}

impl fmt::Display for CertificateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCertificate => "the file holds no PEM certificate",
            Self::Unreadable => "the certificate cannot be read",
            Self::NoKey => "the file holds no PEM key",
            Self::KeyEncrypted => "the key is encrypted",
            Self::KeyUnusable(reason) => return write!(f, "the key cannot be used: {reason}"),
            Self::KeyMismatch => "the key does not belong to the certificate",
            Self::ChainOrder => {
                "the chain is out of order: a certificate is not issued by the next one"
            }
            Self::NoNames => "the certificate names no host (no SAN)",
            Self::Expired => "the certificate has expired",
            Self::NotYetValid => "the certificate is not valid yet",
        })
    }
}

impl std::error::Error for CertificateProblem {}

impl Certificate {
    /// A chain, leaf first, with its unencrypted key, both PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateProblem> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| CertificateProblem::Unreadable)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| no_key(&error, key))?;
        Self::new(chain, key)
    }

    /// A chain, leaf first, with its key.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateProblem> {
        let leaf = chain.first().ok_or(CertificateProblem::NoCertificate)?;
        let names = Facts::of(leaf).ok_or(CertificateProblem::Unreadable)?.names;
        check_order(&chain)?;
        let key =
            CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(unfit)?;
        Ok(Self {
            names,
            key: Arc::new(key),
        })
    }

    /// What makes clients refuse the certificate, although it can be served; `now` in seconds since 1970.
    pub fn doubts(&self, now: u64) -> Vec<CertificateProblem> {
        let Some(facts) = self.key.cert.first().and_then(|leaf| Facts::of(leaf)) else {
            return vec![CertificateProblem::Unreadable];
        };
        let mut doubts = Vec::new();
        if facts.names.is_empty() && facts.addresses.is_empty() {
            doubts.push(CertificateProblem::NoNames);
        }
        if now > facts.not_after {
            doubts.push(CertificateProblem::Expired);
        }
        if now < facts.not_before {
            doubts.push(CertificateProblem::NotYetValid);
        }
        doubts
    }

    /// From when until when it is valid, in seconds since 1970.
    pub fn validity(&self) -> Option<(u64, u64)> {
        let facts = self.key.cert.first().and_then(|leaf| Facts::of(leaf))?;
        Some((facts.not_before, facts.not_after))
    }

    /// Whether it names itself as its issuer.
    pub fn is_self_issued(&self) -> bool {
        let facts = self.key.cert.first().and_then(|leaf| Facts::of(leaf));
        facts.is_some_and(|facts| facts.issuer == facts.subject)
    }

    /// Addresses that the certificate is for, which clients that connect to an address compare.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let facts = self.key.cert.first().and_then(|leaf| Facts::of(leaf));
        facts.map(|facts| facts.addresses).unwrap_or_default()
    }
}

/// The time, for `Certificate::doubts`.
pub fn now() -> u64 {
    UnixTime::now().as_secs()
}

fn no_key(error: &pem::Error, text: &[u8]) -> CertificateProblem {
    // Both forms say so in their PEM: `BEGIN ENCRYPTED PRIVATE KEY`, and `Proc-Type: 4,ENCRYPTED`.
    if text.windows(9).any(|window| window == b"ENCRYPTED") {
        return CertificateProblem::KeyEncrypted;
    }
    match error {
        pem::Error::NoItemsFound => CertificateProblem::NoKey,
        other => CertificateProblem::KeyUnusable(other.to_string()),
    }
}

fn unfit(error: Error) -> CertificateProblem {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CertificateProblem::KeyMismatch,
        Error::InvalidCertificate(_) => CertificateProblem::Unreadable,
        other => CertificateProblem::KeyUnusable(other.to_string()),
    }
}

/// Spec 10.1: leaf first, each issued by the next.
fn check_order(chain: &[CertificateDer<'_>]) -> Result<(), CertificateProblem> {
    for (certificate, issuer) in chain.iter().zip(chain.iter().skip(1)) {
        let certificate = Facts::of(certificate).ok_or(CertificateProblem::Unreadable)?;
        let issuer = Facts::of(issuer).ok_or(CertificateProblem::Unreadable)?;
        if certificate.issuer != issuer.subject {
            return Err(CertificateProblem::ChainOrder);
        }
    }
    Ok(())
}

impl Tls {
    /// Chooses among the certificates by the name in the client's hello.
    pub fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(ByName::new(&self.certificates))
    }
}

/// Exact name before wildcard; without a name, or with an unknown one, the default (spec U2).
#[derive(Debug)]
struct ByName {
    /// Several for one name have keys of different kinds.
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// `example.com` for `*.example.com`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    default: Vec<Arc<CertifiedKey>>,
}

impl ByName {
    fn new(certificates: &[Certificate]) -> Self {
        let mut by_name = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            // A client that cannot use the first one's kind of key may be able to use another.
            default: certificates
                .iter()
                .map(|certificate| Arc::clone(&certificate.key))
                .collect(),
        };
        for certificate in certificates {
            for name in &certificate.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut by_name.wildcard, parent),
                    None => (&mut by_name.exact, name.as_str()),
                };
                names
                    .entry(name.to_owned())
                    .or_default()
                    .push(Arc::clone(&certificate.key));
            }
        }
        by_name
    }

    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let usable = |keys: &[Arc<CertifiedKey>]| {
            let key = keys
                .iter()
                .find(|key| key.key.choose_scheme(schemes).is_some());
            key.map(Arc::clone)
        };
        let name = name.map(str::to_ascii_lowercase);
        let exact = name.as_deref().and_then(|name| self.exact.get(name));
        // RFC 6125 §6.4.3: the star stands for one label.
        let parent = name.as_deref().and_then(|name| name.split_once('.'));
        let wildcard = parent.and_then(|(_, parent)| self.wildcard.get(parent));
        exact
            .and_then(|keys| usable(keys))
            .or_else(|| wildcard.and_then(|keys| usable(keys)))
            .or_else(|| usable(&self.default))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests;
