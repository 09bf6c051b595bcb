//! Asking the admin listener: over its unix socket, or over loopback with the token.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;

use super::Failure;
use crate::cli::Socket;
use crate::config::Token;
use crate::document::{Node, Value, parse_toml};

/// Most bytes of an answer: ten thousand tunnels, several times over.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Both ends are on this box, or at the end of a forwarding.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How the program that runs is reached.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    Socket(PathBuf),
    Loopback {
        address: SocketAddr,
        /// What `Host` has to say.
        host: String,
        token: Token,
    },
}

impl Door {
    /// The one that was named, or that of the configuration file.
    pub(crate) fn find(wanted: &Socket) -> Result<Self, Failure> {
        if let Some(path) = &wanted.socket {
            return Ok(Self::Socket(path.clone()));
        }
        let file = wanted.config.display().to_string();
        if let Some(url) = &wanted.admin {
            let token = match &wanted.token_file {
                Some(path) => path.clone(),
                None => read(&wanted.config)
                    .ok()
                    .and_then(|text| named(&file, &text, "token_file"))
                    .map(|name| beside(&wanted.config, &name))
                    .ok_or_else(|| {
                        Failure("--admin wants a token: name its file with --token-file".to_owned())
                    })?,
            };
            return Self::loopback(url, &token);
        }
        let text = read(&wanted.config).map_err(|error| {
            Failure(format!(
                "{file}: {error}; name it with -c, or the socket with --socket"
            ))
        })?;
        let named = |key| named(&file, &text, key);
        match (named("socket"), named("listen"), named("token_file")) {
            (Some(socket), ..) => Ok(Self::Socket(beside(&wanted.config, &socket))),
            (None, Some(listen), Some(token)) => {
                Self::loopback(&format!("http://{listen}"), &beside(&wanted.config, &token))
            }
            _ => Err(Failure(format!(
                "{file} has no admin.socket; add one, or name it with --socket"
            ))),
        }
    }

    fn loopback(url: &str, token: &Path) -> Result<Self, Failure> {
        let host = url
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'));
        let addresses = host.and_then(|host| host.to_socket_addrs().ok());
        let address = addresses.and_then(|mut all| all.find(|address| address.ip().is_loopback()));
        let (Some(address), Some(host)) = (address, host) else {
            return Err(Failure(format!(
                "{url} is no loopback address such as http://127.0.0.1:9901; the token does not go further: \
                 to another box, forward a port with ssh -L 9901:127.0.0.1:9901 HOST"
            )));
        };
        let read = Token::read(token).map_err(|problem| {
            let remedy = problem.remedy(token);
            Failure(format!("{} {problem}; {remedy}", token.display()))
        })?;
        Ok(Self::Loopback {
            address,
            host: host.to_owned(),
            token: read,
        })
    }

    /// The JSON of a good answer.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        patience: Duration,
    ) -> Result<Json, Failure> {
        let text = self
            .exchange(method, path, patience)
            .map_err(|error| Failure(format!("{self}: {error}; is the program running?")))?;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).unwrap_or_default();
        let answer: Json = serde_json::from_str(body).unwrap_or_default();
        if status.starts_with('2') {
            return Ok(answer);
        }
        let error = answer["error"].as_str().unwrap_or_else(|| body.trim());
        let mut said = format!("{error} ({status})");
        for line in answer["complaints"].as_array().into_iter().flatten() {
            said.push('\n');
            said.push_str(line.as_str().unwrap_or_default());
        }
        Err(Failure(said))
    }

    fn exchange(&self, method: &str, path: &str, patience: Duration) -> io::Result<String> {
        let (host, authorization) = match self {
            Self::Socket(_) => ("localhost", String::new()),
            Self::Loopback { host, token, .. } => (
                host.as_str(),
                format!("Authorization: Bearer {}\r\n", token.reveal()),
            ),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}Connection: close\r\n\r\n"
        );
        let mut stream: Box<dyn Stream> = match self {
            Self::Socket(path) => Box::new(UnixStream::connect(path)?),
            Self::Loopback { address, .. } => {
                Box::new(TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?)
            }
        };
        stream.patience(patience)?;
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
        if text.is_empty() {
            // Sixteen connections stall there already, or it ended just now.
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it hung up without an answer",
            ));
        }
        Ok(text)
    }
}

trait Stream: Read + Write {
    fn patience(&self, time: Duration) -> io::Result<()>;
}

impl Stream for UnixStream {
    fn patience(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }
}

impl Stream for TcpStream {
    fn patience(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "admin socket {}", path.display()),
            Self::Loopback { host, .. } => write!(f, "admin listener http://{host}"),
        }
    }
}

fn read(file: &Path) -> io::Result<String> {
    std::fs::read_to_string(file)
}

/// A path of the configuration file: relative ones begin where it stands.
fn beside(file: &Path, path: &str) -> PathBuf {
    file.parent().unwrap_or_else(|| Path::new("")).join(path)
}

/// A key of `[admin]` in a file that may be wrong elsewhere: that is what the program is asked about.
fn named(file: &str, text: &str, key: &str) -> Option<String> {
    let (root, _) = parse_toml(file, text);
    let entry = |node: &Node, key: &str| match &node.value {
        Value::Table(entries) => entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| entry.node.clone()),
        _ => None,
    };
    match entry(&entry(&root, "admin")?, key)?.value {
        Value::Text(value) => Some(value),
        _ => None,
    }
}

/// The parameters of a request.
#[derive(Default)]
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn add(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        let separator = if self.0.is_empty() { '?' } else { '&' };
        self.0.push(separator);
        self.0.push_str(name);
        self.0.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
                self.0.push(char::from(byte));
            } else {
                self.0.push_str(&format!("%{byte:02X}"));
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn on(&self, path: &str) -> String {
        format!("{path}{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_no_further_than_this_box() {
        let token = Path::new("nothing-is-read-before-this");
        for url in [
            "http://192.0.2.1:9901",
            "https://127.0.0.1:9901",
            "127.0.0.1:9901",
            "http://127.0.0.1",
        ] {
            let error = Door::loopback(url, token).unwrap_err();
            assert!(error.to_string().contains("no loopback address"), "{error}");
        }
        let error = Door::loopback("http://127.0.0.1:9901/", token).unwrap_err();
        assert!(error.to_string().contains("cannot be read"), "{error}");
    }
}
