use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;

const ECDSA: [SignatureScheme; 1] = [SignatureScheme::ECDSA_NISTP256_SHA256];
const ED25519: [SignatureScheme; 1] = [SignatureScheme::ED25519];

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

/// A self-signed certificate and its key, PEM.
fn pem(names: &[&str]) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = params(names).self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn certificate(names: &[&str]) -> Certificate {
    let (chain, key) = pem(names);
    Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
}

#[test]
fn names_come_from_the_san() {
    let certificate = certificate(&["a.example.com", "*.example.org", "127.0.0.1"]);
    assert_eq!(certificate.names, ["a.example.com", "*.example.org"]);
    assert_eq!(
        certificate.addresses(),
        ["127.0.0.1".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(certificate.doubts(now()), []);
}

#[test]
fn what_does_not_fit_is_named_with_its_code() {
    let (chain, key) = pem(&["a.example.com"]);
    let (_, other) = pem(&["a.example.com"]);
    let broken = chain.replace("MII", "AII");
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (chain, key, expected, code) in [
        (
            chain.as_str(),
            other.as_str(),
            CertificateProblem::KeyMismatch,
            "APIG.2101",
        ),
        (
            &chain,
            encrypted,
            CertificateProblem::KeyEncrypted,
            "APIG.2105",
        ),
        (&chain, "", CertificateProblem::NoKey, "APIG.2106"),
        ("", &key, CertificateProblem::NoCertificate, "APIG.2106"),
        (&broken, &key, CertificateProblem::Unreadable, "APIG.2106"),
    ] {
        let problem = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!((problem.code(), problem), (code, expected));
    }
}

#[test]
fn a_chain_stands_leaf_first() {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = params(&[]);
    ca.distinguished_name.push(DnType::CommonName, "test CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = params(&["a.example.com"])
        .signed_by(&key, &Issuer::new(ca, &ca_key))
        .unwrap();
    let (leaf, ca_certificate, key) = (leaf.pem(), ca_certificate.pem(), key.serialize_pem());
    let read = |chain: String| {
        Certificate::from_pem(chain.as_bytes(), key.as_bytes()).map(|c| c.key.cert.len())
    };
    assert_eq!(read(format!("{leaf}{ca_certificate}")), Ok(2));
    assert_eq!(
        read(format!("{ca_certificate}{leaf}")),
        Err(CertificateProblem::ChainOrder)
    );
}

#[test]
fn dates_and_missing_names_are_doubts() {
    let certificate = certificate(&["a.example.com"]);
    let facts = Facts::of(&certificate.key.cert[0]).unwrap();
    let (first, last) = (facts.not_before, facts.not_after);
    assert_eq!(
        certificate.doubts(first - 1),
        [CertificateProblem::NotYetValid]
    );
    assert_eq!(certificate.doubts(first), []);
    assert_eq!(certificate.doubts(last), []);
    assert_eq!(certificate.doubts(last + 1), [CertificateProblem::Expired]);
    assert_eq!(
        self::certificate(&[]).doubts(now()),
        [CertificateProblem::NoNames]
    );
}

#[test]
fn exact_names_come_before_wildcards_and_those_before_the_default() {
    let certificates = [
        certificate(&["default.example.net"]),
        certificate(&["*.example.com"]),
        certificate(&["A.example.com"]),
    ];
    let by_name = ByName::new(&certificates);
    for (name, expected) in [
        (Some("a.example.com"), Some(2)),
        (Some("A.EXAMPLE.COM"), Some(2)),
        (Some("b.example.com"), Some(1)),
        (Some("b.a.example.com"), Some(0)),
        (Some("example.com"), Some(0)),
        (Some("other.org"), Some(0)),
        (None, Some(0)),
    ] {
        let chosen = by_name.choose(name, &ECDSA).unwrap();
        let index = certificates
            .iter()
            .position(|certificate| Arc::ptr_eq(&certificate.key, &chosen));
        assert_eq!(index, expected, "{name:?}");
    }
    assert!(by_name.choose(None, &ED25519).is_none());
    assert!(ByName::new(&[]).choose(None, &ECDSA).is_none());
}

#[test]
fn several_certificates_of_one_name_are_chosen_by_the_kind_of_key() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let chain = params(&["a.example.com"]).self_signed(&key).unwrap().pem();
    let edwards = Certificate::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let certificates = [certificate(&["a.example.com"]), edwards];
    let by_name = ByName::new(&certificates);
    for (schemes, expected) in [(ECDSA, 0), (ED25519, 1)] {
        let chosen = by_name.choose(Some("a.example.com"), &schemes).unwrap();
        assert!(Arc::ptr_eq(&chosen, &certificates[expected].key));
    }
}
