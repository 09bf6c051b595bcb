//! The file that lines go to.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

/// A file that can be asked, from any thread, to open its path anew.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    told: Receiver<Option<PathBuf>>,
}

impl LogFile {
    pub(super) fn open(path: &Path, told: Receiver<Option<PathBuf>>) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: append_to(path)?,
            told,
        })
    }
}

impl Write for LogFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        while let Ok(path) = self.told.try_recv() {
            let path = path.unwrap_or_else(|| self.path.clone());
            match append_to(&path) {
                Ok(file) => (self.file, self.path) = (file, path),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "access log not opened, the old file goes on");
                }
            }
        }
        self.file.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}
