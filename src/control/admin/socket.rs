//! The admin listener's socket: a file for owner and group that takes the place of a dead one, and goes with its process.
#![forbid(unsafe_code)]

use std::fs::{self, File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};

use crate::sys;

const BACKLOG: i32 = 64;
/// Owner and group: the group is how an operator lets a scraper in.
const MODE: u32 = 0o660;

/// Why there is no admin listener.
#[derive(Debug)]
pub enum AdminError {
    /// `admin.listen` can't be listened on.
    Listen(SocketAddr, io::Error),
    /// Another process answers on it.
    InUse(PathBuf),
    /// The path names something that is no socket, and is not ours to remove.
    NotASocket(PathBuf),
    Io(PathBuf, io::Error),
}

impl std::fmt::Display for AdminError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InUse(path) => write!(
                f,
                "admin socket {}: another process listens there; stop it or choose another path",
                path.display()
            ),
            Self::NotASocket(path) => write!(
                f,
                "admin socket {}: the path names a file that is no socket; remove it or choose another path",
                path.display()
            ),
            Self::Listen(address, error) => write!(f, "admin.listen {address}: {error}"),
            Self::Io(path, error) => write!(f, "admin socket {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for AdminError {}

/// A bound unix socket, whose file goes when this does.
#[derive(Debug)]
pub struct AdminSocket {
    pub(super) listener: net::UnixListener,
    pub(super) file: SocketFile,
    /// The path that it is to have, where another process may answer until then.
    wanted: Option<PathBuf>,
}

#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode, to tell the file from a successor's.
    identity: (u64, u64),
}

impl AdminSocket {
    /// Binds `path`, and takes the place of a socket that nobody listens on any more.
    pub fn bind(path: &Path) -> Result<Self, AdminError> {
        let failed = |error| AdminError::Io(path.to_owned(), error);
        remove_stale(path)?;
        let listener = listen(path).map_err(failed)?;
        let identity = identity(path).map_err(failed)?;
        let file = SocketFile {
            path: path.to_owned(),
            identity,
        };
        Ok(Self {
            listener,
            file,
            wanted: None,
        })
    }

    /// Binds a name beside `path`, which another process may answer on until `step_in`.
    pub fn bind_beside(path: &Path) -> Result<Self, AdminError> {
        let beside = with_suffix(path, "new", std::process::id());
        Ok(Self {
            wanted: Some(path.to_owned()),
            ..Self::bind(&beside)?
        })
    }

    /// Takes the path that it was bound beside. Whoever answers there goes on under the path with its process id behind.
    /// At no moment does the path lead nowhere.
    pub fn step_in(mut self) -> Result<Self, AdminError> {
        let Some(path) = self.wanted.take() else {
            return Ok(self);
        };
        let failed = |error| AdminError::Io(path.clone(), error);
        if is_socket(&path)?
            && let Ok(other) = net::UnixStream::connect(&path)
        {
            let aside = aside(&path, sys::peer_process(other.as_fd()).unwrap_or(0));
            // Process ids come again, and a killed process leaves its file.
            remove_stale(&aside)?;
            fs::hard_link(&path, &aside).map_err(failed)?;
        }
        fs::rename(&self.file.path, &path).map_err(failed)?;
        self.file.path = path;
        Ok(self)
    }
}

/// Where the socket of a process goes on once a successor has taken its path.
fn aside(path: &Path, process: u32) -> PathBuf {
    with_suffix(path, "", process)
}

fn with_suffix(path: &Path, word: &str, process: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{word}{process}"));
    PathBuf::from(name)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let aside = aside(&self.path, std::process::id());
        for path in [&self.path, &aside] {
            if identity(path).is_ok_and(|found| found == self.identity)
                && let Err(error) = fs::remove_file(path)
            {
                tracing::warn!(path = %path.display(), %error, "admin socket not removed");
            }
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn remove_stale(path: &Path) -> Result<(), AdminError> {
    let failed = |error| AdminError::Io(path.to_owned(), error);
    if !is_socket(path)? {
        return Ok(());
    }
    match net::UnixStream::connect(path) {
        Ok(_) => Err(AdminError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Whether there is a socket. Any other file is an error.
fn is_socket(path: &Path) -> Result<bool, AdminError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(true),
        Ok(_) => Err(AdminError::NotASocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(AdminError::Io(path.to_owned(), error)),
    }
}

fn listen(path: &Path) -> io::Result<net::UnixListener> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    // The file is made with the socket's own mode, less the umask: at no moment is it open to others.
    let socket = File::from(OwnedFd::from(socket));
    socket.set_permissions(Permissions::from_mode(MODE))?;
    let socket = socket2::Socket::from(OwnedFd::from(socket));
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    socket.listen(BACKLOG)?;
    Ok(net::UnixListener::from(OwnedFd::from(socket)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_file_is_for_owner_and_group() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let socket = AdminSocket::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let first = AdminSocket::bind(&path).unwrap();
        assert!(matches!(
            AdminSocket::bind(&path),
            Err(AdminError::InUse(_))
        ));
        // As a killed process leaves it: the file stays, nobody listens.
        std::mem::forget(first.file);
        drop(first.listener);
        let second = AdminSocket::bind(&path).unwrap();
        drop(second);

        fs::write(&path, "precious").unwrap();
        let error = AdminSocket::bind(&path).unwrap_err();
        assert!(matches!(error, AdminError::NotASocket(_)), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_successor_takes_the_path_and_the_other_steps_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let names = || {
            let entries = fs::read_dir(dir.path()).unwrap();
            let mut names: Vec<_> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let first = AdminSocket::bind(&path).unwrap();
        let second = AdminSocket::bind_beside(&path).unwrap();
        assert_eq!(names().len(), 2, "nothing has moved");
        let second = second.step_in().unwrap();
        let aside = aside(&path, std::process::id());
        for (path, socket) in [(&path, &second), (&aside, &first)] {
            let client = net::UnixStream::connect(path).unwrap();
            socket.listener.accept().unwrap();
            drop(client);
        }
        drop(first);
        assert_eq!(names(), ["a"], "what stepped aside is gone");
        drop(second);
        assert_eq!(names(), [""; 0]);
        // Where nobody answers, the path is just taken.
        let alone = AdminSocket::bind_beside(&path).unwrap().step_in().unwrap();
        assert_eq!(names(), ["a"]);
        drop(alone);
    }

    #[test]
    fn successors_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let first = AdminSocket::bind(&path).unwrap();
        fs::rename(&path, dir.path().join("old")).unwrap();
        let second = AdminSocket::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
    }
}
