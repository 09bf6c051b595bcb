//! A comparison's own directory: the certificate, filled templates, logs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::output::write_file;

/// Goes when the comparison does.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// With one certificate for all: ECDSA P-256, self-signed, also as HAProxy wants it, in one file.
    pub(super) fn make() -> Result<Self, String> {
        let name = format!("ringgate-compare-{}", std::process::id());
        let scratch = Self(std::env::temp_dir().join(name));
        let fail = |error: std::io::Error| format!("{}: {error}", scratch.0.display());
        fs::create_dir_all(&scratch.0).map_err(fail)?;
        // Proxies that drop root look into it.
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).map_err(fail)?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        scratch.write("certificate.pem", &certificate)?;
        scratch.write("key.pem", &key)?;
        scratch.write("pem.pem", &format!("{certificate}{key}"))?;
        Ok(scratch)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), String> {
        write_file(&self.0, name, text.as_bytes())
    }

    pub(super) fn directory(&self) -> &Path {
        &self.0
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}
