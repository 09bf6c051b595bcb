//! The echo backend of the demo, on loopback: a thread a connection, since it is there to be tried and not to be measured.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// More than this many at a time are turned away.
const CONNECTIONS_MAX: usize = 1000;

/// Echoing needs little; the default would reserve 2 MiB a thread.
const STACK_BYTES: usize = 256 << 10;

/// Starts the backend on a free port, for as long as the process runs.
pub fn echo_backend() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::Builder::new()
        .name("demo-echo".into())
        .spawn(move || accept(&listener))?;
    Ok(address)
}

fn accept(listener: &TcpListener) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming().flatten() {
        if open.fetch_add(1, Relaxed) >= CONNECTIONS_MAX {
            open.fetch_sub(1, Relaxed);
            continue;
        }
        let held = Held(Arc::clone(&open));
        let spawned = thread::Builder::new()
            .name("demo-echo".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _held = held;
                // A peer that breaks off is the end of its conversation, and nobody else's business.
                if let Err(error) = echo(stream) {
                    tracing::debug!(%error, "demo backend");
                }
            });
        if let Err(error) = spawned {
            tracing::warn!(%error, "demo backend has no thread for a connection");
        }
    }
}

/// A place among the connections, given back however its thread ends.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn echo(stream: TcpStream) -> Result<(), tungstenite::Error> {
    stream.set_nodelay(true)?;
    let mut socket =
        tungstenite::accept(stream).map_err(|error| io::Error::other(error.to_string()))?;
    loop {
        let message = match socket.read() {
            Ok(message) => message,
            Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if message.is_text() || message.is_binary() {
            socket.send(message)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_echoes() {
        let address = echo_backend().unwrap();
        let (mut socket, _) = tungstenite::client(
            format!("ws://{address}/"),
            TcpStream::connect(address).unwrap(),
        )
        .unwrap();
        socket.send("hello".into()).unwrap();
        assert_eq!(socket.read().unwrap().into_text().unwrap(), "hello");
        socket.close(None).unwrap();
    }
}
