//! The admin listener's socket: a file for owner and group that takes the place of a dead one, and goes with its process.
#![forbid(unsafe_code)]

use std::fs::{self, File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};

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
        Ok(Self { listener, file })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "admin socket not removed");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn remove_stale(path: &Path) -> Result<(), AdminError> {
    let failed = |error| AdminError::Io(path.to_owned(), error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(AdminError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match net::UnixStream::connect(path) {
        Ok(_) => Err(AdminError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
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
