//! What TLS keeps of a connection: its session, and bytes that are on their way into it or out of it.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::expect_used)]

use monoio::net::TcpStream;

use super::{StreamError, is_for_later, send};
use crate::tls::{Opened, TlsSession};

/// The TLS side of a connection. Never borrowed over an `await`.
pub(super) struct Tls {
    pub(super) session: Box<TlsSession>,
    /// Received and not yet decrypted: part of a record.
    pub(super) ciphertext: Vec<u8>,
    /// Handshake flights, alerts and sealed data on their way out, in the order in which they were sealed.
    pub(super) unsent: Vec<u8>,
}

impl Tls {
    /// `received` was read from the connection before TLS began.
    pub(super) fn new(session: Box<TlsSession>, received: Vec<u8>) -> Self {
        Self {
            session,
            ciphertext: received,
            unsent: Vec::new(),
        }
    }

    /// Decrypts `bytes` behind what waits for its rest. `None` if the session is broken.
    pub(super) fn open(&mut self, bytes: &mut [u8], keep: &mut dyn FnMut(&[u8])) -> Option<Opened> {
        let Self {
            session,
            ciphertext,
            unsent,
        } = self;
        let opened = if ciphertext.is_empty() {
            // The common case: what came is whole records, and nothing has to be kept.
            let opened = session.open(bytes, keep, unsent).ok()?;
            ciphertext.extend_from_slice(bytes.get(opened.consumed..).unwrap_or_default());
            opened
        } else {
            ciphertext.extend_from_slice(bytes);
            let opened = session.open(ciphertext, keep, unsent).ok()?;
            ciphertext.drain(..opened.consumed);
            opened
        };
        if ciphertext.is_empty() {
            *ciphertext = Vec::new();
        }
        Some(opened)
    }

    pub(super) fn seal(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        let sealed = self.session.seal(bytes, &mut self.unsent);
        sealed.map_err(|_| StreamError::Tls)
    }

    /// Whether all has been sent.
    pub(super) fn send_waiting(&mut self, socket: &TcpStream) -> Result<bool, StreamError> {
        while !self.unsent.is_empty() {
            match send(socket, &self.unsent) {
                Ok(sent) if sent >= self.unsent.len() => self.unsent = Vec::new(),
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if is_for_later(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Sends what it takes without waiting.
    pub(super) fn send_last_word(&mut self, socket: &TcpStream) {
        let unsent = std::mem::take(&mut self.unsent);
        if let Err(error) = send(socket, &unsent) {
            tracing::trace!(%error, "a last word could not be sent");
        }
    }
}
