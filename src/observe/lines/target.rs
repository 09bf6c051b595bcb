//! Where lines go.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// An open target, or none.
#[derive(Debug)]
pub(crate) enum Target {
    Nowhere,
    /// A standard stream, under a descriptor of our own: the standard library's would keep a part of a line that failed.
    Stream(File),
    File(PathBuf, File),
}

impl Target {
    pub(crate) fn stdout() -> io::Result<Self> {
        Self::stream(io::stdout().as_fd())
    }

    pub(crate) fn stderr() -> io::Result<Self> {
        Self::stream(io::stderr().as_fd())
    }

    fn stream(stream: std::os::fd::BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self::Stream(stream.try_clone_to_owned()?.into()))
    }

    /// A file that is appended to, or a FIFO.
    pub(crate) fn file(path: PathBuf) -> io::Result<Self> {
        let file = open(&path)?;
        Ok(Self::File(path, file))
    }

    /// Opens the same path again. Where that fails, what is open stays.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Self::File(path, file) = self {
            *file = open(path)?;
        }
        Ok(())
    }

    /// Where it leads, for messages.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path, _) => Some(path),
            Self::Nowhere | Self::Stream(_) => None,
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Nowhere => Ok(bytes.len()),
            Self::Stream(file) | Self::File(_, file) => match file.write(bytes) {
                Ok(0) if !bytes.is_empty() => Err(ErrorKind::WriteZero.into()),
                written => written,
            },
        }
    }
}

/// A FIFO is opened for both ways, so that opening it does not wait for a reader, nor a reader's leave break it; and so
/// that a write that finds it full returns.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let is_fifo = fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo());
    if is_fifo {
        options
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK);
    } else {
        options.append(true).create(true).mode(0o640);
    }
    options.open(path)
}
