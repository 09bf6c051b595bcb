//! `ringgate.toml` from text to values, with every mistake reported and nothing opened.

mod addresses;
mod domains;
mod features;
mod log;
mod orchestration;
mod routing;
mod settings;

use std::path::{Path, PathBuf};

use super::{Config, Scheme, defaults};
use crate::document::{Complaint, Complaints, Item, Place, Severity, Table, parse_toml};

/// What the text says: right where there was no complaint, defaults elsewhere.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) certificates: Vec<CertificateFiles>,
    pub(super) definitions: Vec<DefinitionFiles>,
    /// Where `backends.ca` stands.
    pub(super) ca: Option<Place>,
    pub(super) complaints: Vec<Complaint>,
}

/// One `[[certificates]]`, not opened yet.
#[derive(Debug)]
pub(super) struct CertificateFiles {
    pub(super) certificate: PathBuf,
    pub(super) certificate_place: Place,
    pub(super) key: PathBuf,
    pub(super) key_place: Place,
}

/// One `[[definitions]]`, not looked for yet.
#[derive(Debug)]
pub(super) struct DefinitionFiles {
    pub(super) patterns: Vec<(PathBuf, Place)>,
    pub(super) environments: Vec<String>,
}

pub(super) fn read(file: &str, text: &str) -> Draft {
    let (root, syntax_errors) = parse_toml(file, text);
    let broken = !syntax_errors.is_empty();
    let mut reader = Reader {
        base: Path::new(file)
            .parent()
            .unwrap_or_else(|| Path::new(""))
            .to_path_buf(),
        draft: Draft {
            config: defaults::config(),
            certificates: Vec::new(),
            definitions: Vec::new(),
            ca: None,
            complaints: syntax_errors,
        },
        complaints: Complaints::plain(file),
        listeners_complete: true,
    };
    if let Some(mut top) = Item::root(&root).table(&mut reader.complaints) {
        reader.settings(&mut top);
        reader.routing(&mut top);
        reader.features(&mut top, &root);
        if !broken {
            // What is missing or unknown in a broken file may only be what the breakage took along.
            reader.check_whole(&top);
            top.finish(Severity::Error, &mut reader.complaints);
        }
    }
    let mut draft = reader.draft;
    // The parser puts something in the place of a broken value, which is not what was written: at the same line, or
    // nowhere.
    let beside: Vec<u32> = draft.complaints.iter().map(|error| error.line).collect();
    let made_up =
        |c: &Complaint| broken && (beside.contains(&c.line) || (c.line, c.column) == (1, 1));
    draft.complaints.extend(
        reader
            .complaints
            .into_list()
            .into_iter()
            .filter(|c| !made_up(c)),
    );
    draft
}

/// The values and complaints so far.
struct Reader {
    /// Where the file stands: relative paths begin there.
    base: PathBuf,
    draft: Draft,
    complaints: Complaints,
    /// Whether every listener of the file could be read.
    listeners_complete: bool,
}

impl Reader {
    /// The table at `key`, read by `read`; keys it leaves are unknown.
    fn section(
        &mut self,
        top: &mut Table<'_>,
        key: &'static str,
        read: impl FnOnce(&mut Self, &mut Table<'_>),
    ) {
        if let Some(item) = top.take(key) {
            self.table(&item, read);
        }
    }

    /// Every table of the array at `key`, read by `read`.
    fn sections(
        &mut self,
        top: &mut Table<'_>,
        key: &'static str,
        mut read: impl FnMut(&mut Self, &mut Table<'_>),
    ) {
        let Some(item) = top.take(key) else { return };
        for item in item.list(&mut self.complaints) {
            self.table(&item, &mut read);
        }
    }

    fn table(&mut self, item: &Item<'_>, read: impl FnOnce(&mut Self, &mut Table<'_>)) {
        if let Some(mut table) = item.table(&mut self.complaints) {
            read(self, &mut table);
            table.finish(Severity::Error, &mut self.complaints);
        }
    }

    /// A path, relative to where the file stands.
    fn path(&mut self, item: &Item<'_>) -> Option<PathBuf> {
        let path = item.parsed(
            "a path",
            |text| (!text.is_empty()).then(|| self.base.join(text)),
            &mut self.complaints,
        )?;
        Some(path)
    }

    /// What only shows in the whole.
    fn check_whole(&mut self, top: &Table<'_>) {
        let place = top.place(&self.complaints);
        let listeners = &self.draft.config.listeners;
        if listeners.is_empty() && self.complaints.errors() == 0 {
            self.complaints.error(
                &place,
                "there is no listener",
                "add [[listeners]] with address = \"0.0.0.0:443\" and protocol = \"https\"",
            );
        }
        let tls = listeners
            .iter()
            .any(|listener| listener.scheme == Scheme::Https);
        if tls && self.draft.certificates.is_empty() && self.complaints.errors() == 0 {
            self.complaints.error(
                &place,
                "an https listener has no certificate",
                "add [[certificates]] with certificate = \"cert.pem\" and key = \"key.pem\"",
            );
        }
        if self.draft.definitions.is_empty() && self.complaints.errors() == 0 {
            self.complaints.error(
                &place,
                "there is no definition, so nothing would be served",
                "add [[definitions]] with files = [\"apis/*.yaml\"]",
            );
        }
    }
}

/// Puts a value that was read over the default.
fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

#[cfg(test)]
mod tests;
