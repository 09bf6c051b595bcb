//! Opening what the configuration names: certificates, the backends' CA, definition files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::text::{self, CertificateFiles, DefinitionFiles, Draft};
use super::{Certificate, Config, Fingerprint, Inputs, Token, certificates, glob};
use crate::document::{Complaint, Place};

/// A definition file is text that people and consoles write; above this it is something else.
const DEFINITION_BYTES_MAX: u64 = 256 << 20;

/// A checked configuration and the definitions it leads to, not parsed yet.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub sources: Vec<Source>,
    pub warnings: Vec<Complaint>,
}

/// One definition file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub file: String,
    pub text: String,
    /// Where its APIs are published.
    pub environments: Vec<String>,
}

/// As much as could be read; fit for use only if no complaint is an error.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) config: Config,
    pub(crate) sources: Vec<Source>,
    pub(crate) inputs: Inputs,
    pub(crate) complaints: Vec<Complaint>,
}

impl Opened {
    pub(super) fn into_result(self) -> Result<Loaded, Vec<Complaint>> {
        if self.complaints.iter().any(Complaint::is_error) {
            return Err(self.complaints);
        }
        Ok(Loaded {
            config: self.config,
            sources: self.sources,
            warnings: self.complaints,
        })
    }
}

pub(super) fn open(path: &Path) -> Opened {
    let file = path.display().to_string();
    let mut inputs = Inputs::default();
    inputs.files.insert(path.to_owned());
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let complaint = Place::whole(&file).error(
                format!("cannot be read: {error}"),
                "name the configuration with -c, and see that it is a text file that this user may read",
            );
            return Opened {
                config: Config::base(),
                sources: Vec::new(),
                inputs,
                complaints: vec![complaint],
            };
        }
    };
    let Draft {
        mut config,
        certificates,
        definitions,
        ca,
        token,
        mut complaints,
    } = text::read(&file, &text);
    inputs.files.extend(config.backends.ca.clone());
    for files in &certificates {
        inputs
            .files
            .extend([files.certificate.clone(), files.key.clone()]);
        let (certificate, found) = certificate(files);
        config.tls.certificates.extend(certificate);
        complaints.extend(found);
    }
    if let (Some(path), Some(place)) = (&config.backends.ca, &ca) {
        complaints.extend(check_ca(path, place));
    }
    if let (Some(path), Some(place)) = (&config.admin.token_file, &token) {
        match Token::read(path) {
            Ok(token) => config.admin.token = Some(token),
            Err(problem) => complaints.push(problem.complaint(path, place)),
        }
    }
    let patterns = definitions.iter().flat_map(|entry| &entry.patterns);
    inputs
        .patterns
        .extend(patterns.map(|(pattern, _)| pattern.clone()));
    let sources = sources(&definitions, &mut complaints);
    config.fingerprint = Some(fingerprint(&text, &config, &sources));
    Opened {
        config,
        sources,
        inputs,
        complaints,
    }
}

fn fingerprint(text: &str, config: &Config, sources: &[Source]) -> Fingerprint {
    let ca = config
        .backends
        .ca
        .as_ref()
        .and_then(|path| fs::read(path).ok());
    let chains = config
        .tls
        .certificates
        .iter()
        .flat_map(|certificate| &certificate.key.cert);
    let parts = [text.as_bytes()].into_iter();
    let parts = parts.chain(sources.iter().map(|source| source.text.as_bytes()));
    let parts = parts.chain(chains.map(|certificate| certificate.as_ref()));
    Fingerprint::of(parts.chain(ca.as_deref()))
}

fn certificate(files: &CertificateFiles) -> (Option<Certificate>, Vec<Complaint>) {
    let mut complaints = Vec::new();
    let chain = read(
        &files.certificate,
        &files.certificate_place,
        &mut complaints,
    );
    let key = read(&files.key, &files.key_place, &mut complaints);
    let (Some(chain), Some(key)) = (chain, key) else {
        return (None, complaints);
    };
    match Certificate::from_pem(&chain, &key) {
        Ok(certificate) => {
            let doubts = certificate.doubts(certificates::now());
            complaints.extend(
                doubts
                    .iter()
                    .map(|doubt| doubt.complaint(&files.certificate_place, false)),
            );
            (Some(certificate), complaints)
        }
        Err(problem) => {
            let place = if problem.is_about_key() {
                &files.key_place
            } else {
                &files.certificate_place
            };
            complaints.push(problem.complaint(place, true));
            (None, complaints)
        }
    }
}

fn check_ca(path: &Path, place: &Place) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    if let Some(pem) = read(path, place, &mut complaints) {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        if certificates.is_ok_and(|found| !found.is_empty()) {
            return complaints;
        }
        complaints.push(
            place
                .error(
                    format!("{} holds no PEM certificates", path.display()),
                    "name a PEM bundle of CA certificates",
                )
                .with_code("APIG.2106"),
        );
    }
    complaints
}

fn read(path: &Path, place: &Place, complaints: &mut Vec<Complaint>) -> Option<Vec<u8>> {
    match fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            complaints.push(place.error(
                format!("{} cannot be read: {error}", path.display()),
                "correct the path (a relative one begins where this file stands) or the permissions",
            ));
            None
        }
    }
}

/// Every file once, in the order of names, however many patterns match it and in whatever order they stand.
fn sources(definitions: &[DefinitionFiles], complaints: &mut Vec<Complaint>) -> Vec<Source> {
    let mut files: BTreeMap<PathBuf, (Place, Vec<String>)> = BTreeMap::new();
    for entry in definitions {
        for (pattern, place) in &entry.patterns {
            match glob::expand(pattern) {
                Ok(found) if found.is_empty() => complaints.push(place.error(
                    format!("no file matches {}", pattern.display()),
                    "correct the pattern (a relative one begins where this file stands); `*` and `?` stay in one folder",
                )),
                Ok(found) => {
                    for file in found {
                        let (_, environments) = files.entry(file).or_insert_with(|| (place.clone(), Vec::new()));
                        environments.extend(entry.environments.iter().cloned());
                    }
                }
                Err(problem) => complaints.push(place.error(problem, "correct the pattern or the permissions")),
            }
        }
    }
    files
        .into_iter()
        .filter_map(|(path, (place, environments))| source(&path, &place, environments, complaints))
        .collect()
}

fn source(
    path: &Path,
    place: &Place,
    mut environments: Vec<String>,
    complaints: &mut Vec<Complaint>,
) -> Option<Source> {
    environments.sort();
    environments.dedup();
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > DEFINITION_BYTES_MAX) {
        complaints.push(place.error(
            format!(
                "{} is larger than {} MiB",
                path.display(),
                DEFINITION_BYTES_MAX >> 20
            ),
            "split it: several files may add to one group",
        ));
        return None;
    }
    let bytes = read(path, place, complaints)?;
    match String::from_utf8(bytes) {
        Ok(text) => Some(Source {
            file: path.display().to_string(),
            text,
            environments,
        }),
        Err(_) => {
            complaints.push(
                Place::whole(&path.display().to_string())
                    .error("is not UTF-8 text", "save it as UTF-8"),
            );
            None
        }
    }
}
