//! The configuration that runs, for those who show it.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use sha1::{Digest, Sha1};

use super::Config;

/// What runs now. Clones are the same; no worker looks here.
#[derive(Clone, Debug)]
pub struct Running(Arc<RwLock<Arc<Config>>>);

impl Running {
    pub fn new(config: Arc<Config>) -> Self {
        Self(Arc::new(RwLock::new(config)))
    }

    pub fn set(&self, config: Arc<Config>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What tells configurations apart: a hash of the file, the definitions, the certificates and the CA that it names, each by
/// its contents. Written as 12 hexadecimal digits; as a number it fits a metric, whose floats have 53 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 6]);

impl Fingerprint {
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha1::new();
        for part in parts {
            // Lengths too, so that no byte can move from one part to the next unnoticed.
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let digest: [u8; 20] = hash.finalize().into();
        let [a, b, c, d, e, f, ..] = digest;
        Self([a, b, c, d, e, f])
    }

    pub fn number(self) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.number())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_tell_parts_apart() {
        let of = |parts: &[&str]| Fingerprint::of(parts.iter().map(|part| part.as_bytes()));
        let one = of(&["ab", "c"]);
        assert_eq!(one, of(&["ab", "c"]));
        for other in [of(&["a", "bc"]), of(&["abc"]), of(&["ab", "d"]), of(&[])] {
            assert_ne!(one, other);
        }
        assert_eq!(one.to_string().len(), 12);
        assert_eq!(format!("{:012x}", one.number()), one.to_string());
        assert!(one.number() < 1 << 48);
    }
}
