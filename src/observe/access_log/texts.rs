//! A request's texts as a line has them: cut, and without secrets.
#![forbid(unsafe_code)]

use super::facts::TEXT_BYTES_MAX;
use super::redact::{Secrets, put_text};

/// What follows a text that was longer.
const CUT: &[u8] = b"...";

#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    secrets: Secrets,
}

impl Texts {
    pub(super) fn new(secrets: &[String]) -> Self {
        Self {
            secrets: Secrets::new(secrets),
        }
    }

    pub(super) fn plain(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len().min(TEXT_BYTES_MAX) + CUT.len());
        put_cut(&mut out, text, put_text);
        out
    }

    /// Path and query.
    pub(super) fn target(&self, path: &[u8], query: &[u8]) -> Vec<u8> {
        let mut out = self.plain(path);
        if !query.is_empty() {
            out.push(b'?');
            put_cut(&mut out, query, |out, query| {
                self.secrets.put_query(out, query)
            });
        }
        out
    }

    /// The same of a text that has both.
    pub(super) fn whole_target(&self, target: &[u8]) -> Vec<u8> {
        let mark = target.iter().position(|byte| *byte == b'?');
        let (path, query) = target.split_at(mark.unwrap_or(target.len()));
        self.target(path, query.get(1..).unwrap_or_default())
    }
}

fn put_cut(out: &mut Vec<u8>, text: &[u8], put: impl FnOnce(&mut Vec<u8>, &[u8])) {
    match text.get(..TEXT_BYTES_MAX) {
        Some(beginning) if text.len() > TEXT_BYTES_MAX => {
            put(out, beginning);
            out.extend_from_slice(CUT);
        }
        _ => put(out, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_and_say_so() {
        let texts = Texts::default();
        let long = vec![b'x'; TEXT_BYTES_MAX];
        assert_eq!(texts.plain(&long), long);
        let longer = [&long[..], b"y"].concat();
        assert_eq!(texts.plain(&longer), [&long[..], b"..."].concat());
    }

    #[test]
    fn a_target_has_its_query_without_secrets() {
        let texts = Texts::new(&[]);
        assert_eq!(texts.target(b"/a", b""), b"/a");
        assert_eq!(texts.target(b"/a", b"b=1&key=2"), b"/a?b=1&key=***");
        assert_eq!(texts.whole_target(b"/a?b=1&key=2?"), b"/a?b=1&key=***");
        assert_eq!(texts.whole_target(b"/a"), b"/a");
        assert_eq!(texts.whole_target(b""), b"");
    }
}
