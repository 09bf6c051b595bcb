//! The one-way road from the edge to the relay: permits, so that nothing can fail for lack of room after a 101; a queue;
//! and an eventfd that wakes the relay.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use futures_channel::oneshot;

use super::Limits;
use super::drain::DrainOrder;
use super::handover::Tunnel;
use super::listing::{Listed, Question};
use super::policy::PolicyChanges;
use crate::connections::Place;
use crate::observe::request_id::RequestId;

/// What a relay is told.
#[derive(Debug)]
pub(super) enum Command {
    Adopt(Box<Tunnel>),
    /// Close frames to tunnels, in turn.
    Drain(Arc<DrainOrder>),
    /// Other rules for open tunnels, and the end of some.
    Change(Arc<PolicyChanges>, Vec<Arc<DrainOrder>>),
    /// Other bounds for all tunnels.
    Limit(Limits),
    /// Which tunnels are open?
    List(Arc<Question>, oneshot::Sender<Listed>),
    /// Close this tunnel, if it is here, with this code.
    End {
        id: RequestId,
        code: u16,
        reply: oneshot::Sender<bool>,
    },
    /// Close every tunnel at once, and end.
    Stop,
}

/// The sending end, one for each thread that talks to the relay.
#[derive(Clone, Debug)]
pub struct RelayHandle {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
    room: Arc<Room>,
}

/// Slots that nobody has taken. The queue itself needs no bound of its own: what is in it has a permit.
#[derive(Debug)]
struct Room(AtomicUsize);

/// The right to one slot of the relay, and so to a place in its queue. It is given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    room: Arc<Room>,
    /// The client's place among the connections of the process, once there is a tunnel to keep it.
    place: Option<Place>,
}

impl Permit {
    /// Keeps the client's `place` for as long as its tunnel has the slot.
    pub fn keep(&mut self, place: Place) {
        self.place = Some(place);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.room.0.fetch_add(1, Ordering::Release);
    }
}

impl RelayHandle {
    /// A slot for one tunnel, if there is one.
    pub fn permit(&self) -> Option<Permit> {
        let take = |free: usize| free.checked_sub(1);
        self.room
            .0
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, take)
            .ok()?;
        Some(Permit {
            room: Arc::clone(&self.room),
            place: None,
        })
    }

    /// Hands a tunnel over.
    pub fn adopt(&self, tunnel: Tunnel) {
        self.tell(Command::Adopt(Box::new(tunnel)));
    }

    /// Has tunnels closed politely.
    pub fn drain(&self, order: Arc<DrainOrder>) {
        self.tell(Command::Drain(order));
    }

    /// Has open tunnels live by other rules, and some closed: `orders` go by the rules from before.
    pub fn change(&self, changes: Arc<PolicyChanges>, orders: Vec<Arc<DrainOrder>>) {
        self.tell(Command::Change(changes, orders));
    }

    /// Has all tunnels live within other bounds, as far as these can change: what memory was set aside for stays.
    pub fn limit(&self, limits: Limits) {
        self.tell(Command::Limit(limits));
    }

    /// Asks which tunnels are open. No answer means that the relay has ended.
    pub fn list(&self, question: &Arc<Question>) -> oneshot::Receiver<Listed> {
        let (reply, listed) = oneshot::channel();
        self.tell(Command::List(Arc::clone(question), reply));
        listed
    }

    /// Has one tunnel closed politely, with this code. The answer says whether it is one of this relay.
    pub fn end(&self, id: RequestId, code: u16) -> oneshot::Receiver<bool> {
        let (reply, found) = oneshot::channel();
        self.tell(Command::End { id, code, reply });
        found
    }

    /// Has every tunnel closed at once; the relay ends when it is at rest.
    pub fn stop(&self) {
        self.tell(Command::Stop);
    }

    fn tell(&self, command: Command) {
        // The relay outlives every edge; at the very end of the program a tunnel that nobody takes is closed by its drop.
        drop(self.commands.send(command));
        crate::sys::eventfd_signal(&self.wake);
    }
}

/// The receiving end, with a duplicate of the eventfd for the ring.
pub(super) struct Mailbox {
    pub(super) commands: Receiver<Command>,
    pub(super) wake: OwnedFd,
}

/// A mailbox for a relay of `tunnels_max` slots.
pub(super) fn mailbox(tunnels_max: usize) -> io::Result<(RelayHandle, Mailbox)> {
    let (sender, receiver) = channel();
    let wake = crate::sys::eventfd()?;
    let mailbox = Mailbox {
        commands: receiver,
        wake: wake.try_clone()?,
    };
    let room = Arc::new(Room(AtomicUsize::new(tunnels_max)));
    Ok((
        RelayHandle {
            commands: sender,
            wake: Arc::new(wake),
            room,
        },
        mailbox,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_given_out_and_come_back() {
        let (handle, _mailbox) = mailbox(2).unwrap();
        let first = handle.permit();
        let second = handle.permit();
        assert!(first.is_some() && second.is_some());
        assert!(handle.permit().is_none());
        drop(first);
        assert!(handle.permit().is_some());
    }
}
