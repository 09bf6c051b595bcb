//! The secret that callers of the admin listener on loopback have to show. Nothing prints it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::document::{Complaint, Place};

/// 32 hexadecimal digits are 128 bits, which nobody guesses.
const BYTES_MIN: usize = 32;
const BYTES_MAX: usize = 1024;

/// Rights that let others than owner and group at the file.
const OTHERS: u32 = 0o007;

/// A bearer token (RFC 6750 §2.1).
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<[u8]>);

/// Why a file holds no token.
#[derive(Debug)]
pub enum TokenProblem {
    Io(io::Error),
    NoFile,
    /// Others than owner and group may read or write it: its mode.
    Open(u32),
    /// So many bytes.
    Short(usize),
    /// Bytes that no `Authorization` field can carry, or too many.
    NoToken,
}

impl Token {
    /// Reads the file at `path`: one line, of which the line break is no part.
    pub fn read(path: &Path) -> Result<Self, TokenProblem> {
        let file = File::open(path).map_err(TokenProblem::Io)?;
        let facts = file.metadata().map_err(TokenProblem::Io)?;
        if !facts.is_file() {
            return Err(TokenProblem::NoFile);
        }
        let mode = facts.permissions().mode();
        if mode & OTHERS != 0 {
            return Err(TokenProblem::Open(mode & 0o777));
        }
        let mut text = Vec::new();
        file.take(BYTES_MAX as u64 + 2)
            .read_to_end(&mut text)
            .map_err(TokenProblem::Io)?;
        Self::from_text(&text)
    }

    fn from_text(text: &[u8]) -> Result<Self, TokenProblem> {
        let token = text.trim_ascii_end();
        let sendable = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
        if token.len() > BYTES_MAX || !token.iter().all(sendable) {
            return Err(TokenProblem::NoToken);
        }
        if token.len() < BYTES_MIN {
            return Err(TokenProblem::Short(token.len()));
        }
        Ok(Self(token.into()))
    }

    /// Whether `offered` is the token, in a time that does not tell how much of it is right.
    pub fn is(&self, offered: &[u8]) -> bool {
        verify_slices_are_equal(&self.0, offered).is_ok()
    }

    /// For the one who sends it.
    pub fn reveal(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl TokenProblem {
    pub(super) fn complaint(&self, path: &Path, place: &Place) -> Complaint {
        place.error(format!("{} {self}", path.display()), self.remedy(path))
    }

    /// What mends it.
    pub fn remedy(&self, path: &Path) -> String {
        let file = path.display();
        match self {
            Self::Io(_) | Self::NoFile => format!(
                "make it with `(umask 027; openssl rand -hex 32 > {file})`, where this user may read it"
            ),
            Self::Open(_) => {
                format!("close it with `chmod 640 {file}`, and put another token in it")
            }
            Self::Short(_) | Self::NoToken => {
                format!("write one with `openssl rand -hex 32 > {file}`")
            }
        }
    }
}

/// Continues "FILE".
impl fmt::Display for TokenProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::NoFile => f.write_str("is no file"),
            Self::Open(mode) => write!(f, "is open to everybody on this box (mode {mode:04o})"),
            Self::Short(bytes) => write!(f, "holds {bytes} bytes; a token has {BYTES_MIN} or more"),
            Self::NoToken => write!(
                f,
                "holds no token: one line of at most {BYTES_MAX} letters, digits and -._~+/="
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn a_file_holds_one_line_for_owner_and_group() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let long = "x".repeat(BYTES_MAX + 1);
        let token = "0123456789abcdef0123456789abcdef";
        for (text, mode, said) in [
            (token, 0o600, ""),
            (&format!("{token}\n"), 0o640, ""),
            (token, 0o644, "is open to everybody on this box (mode 0644)"),
            (token, 0o602, "is open to everybody on this box (mode 0602)"),
            ("short\n", 0o600, "holds 5 bytes; a token has 32 or more"),
            ("", 0o600, "holds 0 bytes"),
            (&format!("{token}\n{token}\n"), 0o600, "holds no token"),
            (&format!("{token} ä"), 0o600, "holds no token"),
            (&long, 0o600, "holds no token"),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match Token::read(&path) {
                Ok(read) => assert!(said.is_empty() && read.reveal() == token, "{text}"),
                Err(problem) => {
                    assert!(!said.is_empty(), "{problem}");
                    assert!(problem.to_string().starts_with(said), "{problem}");
                    assert!(problem.remedy(&path).contains("token"));
                }
            }
        }
        assert!(matches!(Token::read(dir.path()), Err(TokenProblem::NoFile)));
        let missing = Token::read(&dir.path().join("none"));
        assert!(matches!(missing, Err(TokenProblem::Io(_))));
    }

    #[test]
    fn only_the_token_is_the_token_and_nothing_prints_it() {
        let text = "0123456789abcdef0123456789abcdef";
        let token = Token::from_text(text.as_bytes()).unwrap();
        assert!(token.is(text.as_bytes()));
        assert!(!token.is(&text.as_bytes()[1..]));
        assert!(!token.is(b""));
        assert!(!format!("{token:?}").contains("0123"));
    }
}
