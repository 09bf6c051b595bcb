//! Certificates as clients will judge them, and the clock that they are judged by.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{ServerName, UnixTime};

use super::finding::{Area, Finding};
use super::plan::Plan;
use crate::config::Certificate;
use crate::sys::ClockState;

const AREA: Area = Area::Certificates;

const DAY: u64 = 24 * 3600;

/// Renewals that run by themselves begin a month before the end; what is still old after half of that has failed.
const DAYS_LEFT_MIN: u64 = 15;

/// A clock that may be wrong by more than this, makes certificates and signed requests fail now and then.
pub(super) const SKEW_MAX: Duration = Duration::from_secs(5);

/// `trusted` are the roots of this system, where it has any; `now` in seconds since 1970.
pub(super) fn examine(
    plan: &Plan,
    clock: &io::Result<ClockState>,
    trusted: Option<&RootCertStore>,
    now: u64,
) -> Vec<Finding> {
    let mut findings = vec![of_clock(clock)];
    for certificate in &plan.config.tls.certificates {
        let subject = name_of(certificate);
        findings.push(expiry(certificate, &subject, now));
        findings.push(chain(certificate, &subject, trusted, now));
    }
    findings
}

fn of_clock(clock: &io::Result<ClockState>) -> Finding {
    const SUBJECT: &str = "clock";
    match clock {
        Err(error) => AREA.unknown(SUBJECT, format!("whether it is right: {error}")),
        Ok(state) if !state.synchronised => AREA.warn(
            SUBJECT,
            "nothing keeps it right: certificates are judged by it, and signed requests",
            "timedatectl set-ntp true, or run chronyd (in a virtual machine without a network, with its PTP clock)",
        ),
        Ok(state) if state.error_max > SKEW_MAX => AREA.warn(
            SUBJECT,
            format!("it may be wrong by {} s", state.error_max.as_secs()),
            "look at chronyc tracking, or timedatectl timesync-status",
        ),
        Ok(state) => AREA.ok(
            SUBJECT,
            format!("kept right, to {} ms or better", state.error_max.as_millis()),
        ),
    }
}

fn name_of(certificate: &Certificate) -> String {
    let first = certificate.names.first().cloned();
    let name = first.or_else(|| certificate.addresses().first().map(ToString::to_string));
    name.unwrap_or_else(|| "a certificate without names".to_owned())
}

fn expiry(certificate: &Certificate, name: &str, now: u64) -> Finding {
    let subject = format!("{name}: time");
    let Some((from, until)) = certificate.validity() else {
        return AREA.unknown(subject, "until when it is valid");
    };
    let days = until.saturating_sub(now) / DAY;
    if now > until {
        AREA.fail(
            subject,
            format!("it ended {} days ago", (now - until) / DAY),
            "renew it",
        )
    } else if now < from {
        AREA.fail(
            subject,
            format!("it begins in {} s", from - now),
            "correct the clock of this host, or wait",
        )
    } else if days < DAYS_LEFT_MIN {
        AREA.warn(subject, format!("{days} days are left"), "renew it")
    } else {
        AREA.ok(subject, format!("{days} days are left"))
    }
}

/// Whether signatures and purposes are right up to the last certificate that is sent, and whether that leads to a root.
fn chain(
    certificate: &Certificate,
    name: &str,
    trusted: Option<&RootCertStore>,
    now: u64,
) -> Finding {
    let subject = format!("{name}: chain");
    let sent = &certificate.key.cert;
    let says = crate::document::plural(sent.len(), "certificate");
    if let Some(roots) = trusted
        && verify(certificate, roots.clone(), now).is_ok()
    {
        return AREA.ok(
            subject,
            format!("{says}, leads to a root that this system trusts"),
        );
    }
    if certificate.is_self_issued() && sent.len() == 1 {
        return AREA.warn(
            subject,
            "it is self-signed: only clients that were given it, or check nothing, accept it",
            "have it issued by an authority that the clients trust",
        );
    }
    let mut own = RootCertStore::empty();
    if let [_, .., last] = sent.as_slice()
        && own.add(last.clone()).is_ok()
        && let Err(error) = verify(certificate, own, now)
        // The time has a finding of its own.
        && !is_about_time(&error)
    {
        return AREA.fail(
            subject,
            format!("{says}, and it does not hold together: {error}"),
            "put the certificate first, then each that issued the one before it",
        );
    }
    if trusted.is_none() {
        return AREA.unknown(
            subject,
            format!("{says}; this system has no roots to hold it against"),
        );
    }
    AREA.warn(
        subject,
        format!("{says}, and none leads to a root that this system trusts"),
        "add the intermediate certificates behind it; if the authority is your own, clients have to be given its root",
    )
}

fn is_about_time(error: &rustls::Error) -> bool {
    use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
        )
    )
}

/// As a client would that trusts `roots` and asks for the certificate's first name.
fn verify(certificate: &Certificate, roots: RootCertStore, now: u64) -> Result<(), rustls::Error> {
    let unusable = |what: String| rustls::Error::General(what);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    // A star stands for any label.
    let name = name_of(certificate).replacen('*', "any", 1);
    let name = ServerName::try_from(name).map_err(|error| unusable(error.to_string()))?;
    let (leaf, others) = certificate
        .key
        .cert
        .split_first()
        .ok_or_else(|| unusable("no certificate".to_owned()))?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    verifier
        .verify_server_cert(leaf, others, &name, &[], now)
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::super::finding::Level;
    use super::super::tests::plan;
    use super::*;
    use crate::config::certificates::now;

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn issued(
        by: &CertifiedIssuer<'static, KeyPair>,
        with: Option<CertificateDer<'static>>,
    ) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let names = vec!["*.example.com".to_owned(), "127.0.0.1".to_owned()];
        let leaf = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, by)
            .unwrap();
        let chain = std::iter::once(leaf.der().clone()).chain(with).collect();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Certificate::new(chain, key).unwrap()
    }

    fn roots(of: &CertifiedIssuer<'static, KeyPair>) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(of.der().clone()).unwrap();
        roots
    }

    #[test]
    fn chains_are_judged_as_clients_do() {
        let (ours, other) = (authority("ours"), authority("other"));
        // The names fit, and the signature does not: an impostor's certificate with the same subject.
        let impostor = authority("ours");
        let check = |certificate: &Certificate, trusted: Option<&RootCertStore>| {
            chain(certificate, "x", trusted, now()).level
        };
        let whole = issued(&ours, Some(ours.der().clone()));
        assert_eq!(check(&whole, Some(&roots(&ours))), Level::Ok);
        assert_eq!(check(&whole, Some(&roots(&other))), Level::Warn);
        assert_eq!(check(&whole, None), Level::Unknown);
        let alone = issued(&ours, None);
        assert_eq!(check(&alone, Some(&roots(&ours))), Level::Ok);
        assert_eq!(check(&alone, Some(&roots(&other))), Level::Warn);
        let wrong = issued(&ours, Some(impostor.der().clone()));
        assert_eq!(check(&wrong, Some(&roots(&other))), Level::Fail);
    }

    #[test]
    fn self_signed_certificates_are_named_so() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let certificate = Certificate::new(vec![made.cert.der().clone()], key).unwrap();
        let finding = chain(&certificate, "x", None, now());
        assert!(finding.level == Level::Warn && finding.says.contains("self-signed"));
    }

    #[test]
    fn the_end_is_seen_before_it_comes() {
        let ours = authority("ours");
        let certificate = issued(&ours, None);
        let (from, until) = certificate.validity().unwrap();
        for (now, level) in [
            (from, Level::Ok),
            (from - 1, Level::Fail),
            (until - DAYS_LEFT_MIN * DAY, Level::Ok),
            (until - DAYS_LEFT_MIN * DAY + 1, Level::Warn),
            (until, Level::Warn),
            (until + 1, Level::Fail),
        ] {
            assert_eq!(expiry(&certificate, "x", now).level, level, "{now}");
        }
    }

    #[test]
    fn a_clock_that_nobody_keeps_is_a_warning() {
        let state = |synchronised, seconds| {
            Ok(ClockState {
                synchronised,
                error_max: Duration::from_secs(seconds),
            })
        };
        for (clock, level) in [
            (state(true, 0), Level::Ok),
            (state(true, 60), Level::Warn),
            (state(false, 0), Level::Warn),
            (Err(io::ErrorKind::PermissionDenied.into()), Level::Unknown),
        ] {
            assert_eq!(of_clock(&clock).level, level, "{clock:?}");
        }
        assert_eq!(examine(&plan(1), &state(true, 0), None, now()).len(), 1);
    }
}
