//! A backend that tungstenite drives: it echoes, and tells what it was asked and how it ended.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::DEADLINE;
use super::client::large_frames;

/// The subprotocol that the backend speaks, if it is offered.
pub(crate) const SUBPROTOCOL: &str = "echo.v2";

/// What one conversation was like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The request's target.
    Opened(String),
    Pinged(Vec<u8>),
    /// Code and reason of the client's Close frame, where it had them.
    Closed(Option<(u16, String)>),
    /// The connection ended without a Close.
    Lost,
}

#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    events: Receiver<Event>,
}

impl Echo {
    /// Serves on a thread and runtime of its own, so that tests may block theirs.
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, events) = channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(converse(socket, sender.clone()));
                }
            });
        });
        Self { address, events }
    }

    pub(crate) fn event(&self) -> Event {
        let event = self.events.recv_timeout(DEADLINE);
        event.unwrap_or_else(|_| panic!("nothing happens at the backend"))
    }

    /// The next event that is neither an opening nor a ping.
    pub(crate) fn end(&self) -> Event {
        loop {
            match self.event() {
                Event::Opened(_) | Event::Pinged(_) => {}
                end => return end,
            }
        }
    }
}

#[expect(
    clippy::result_large_err,
    reason = "the shape that tungstenite's callback has"
)]
async fn converse(socket: TcpStream, events: Sender<Event>) {
    let tell = |event| {
        // The test may be over.
        events.send(event).ok();
    };
    let answer = |request: &Request, mut response: Response| {
        tell(Event::Opened(request.uri().to_string()));
        let offered = request.headers().get("Sec-WebSocket-Protocol");
        let offered = offered.map(|value| value.to_str().unwrap().to_owned());
        if offered.is_some_and(|list| list.split(", ").any(|one| one == SUBPROTOCOL)) {
            let chosen = HeaderValue::from_static(SUBPROTOCOL);
            response
                .headers_mut()
                .insert("Sec-WebSocket-Protocol", chosen);
        }
        Ok(response)
    };
    let config = Some(large_frames());
    let Ok(mut stream) = accept_hdr_async_with_config(socket, answer, config).await else {
        return;
    };
    while let Some(Ok(message)) = stream.next().await {
        match message {
            Message::Text(_) | Message::Binary(_) => {
                if stream.send(message).await.is_err() {
                    break;
                }
            }
            Message::Ping(payload) => tell(Event::Pinged(payload.to_vec())),
            Message::Close(frame) => {
                let frame = frame.map(|f| (u16::from(f.code), f.reason.to_string()));
                // Polling on sends tungstenite's answer.
                while let Some(Ok(_)) = stream.next().await {}
                tell(Event::Closed(frame));
                return;
            }
            Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    tell(Event::Lost);
}
