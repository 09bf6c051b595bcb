//! The loop of a relay: one turn sleeps in the ring, gathers what completed, lets the tunnels handle it, and carries out
//! what they want. It is the only one here that knows of slots, the wheel and the ring at once.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::drain::{Drain, DrainOrder, Target};
use super::handover::{Endpoint, Tunnel as NewTunnel};
use super::listing::{Listing, SLOTS_PER_TURN, TunnelInfo};
use super::mailbox::Permit;
use super::policy::{PolicyChanges, TunnelPolicy};
use super::report::{REPORTS_PER_TURN, Reports};
use super::shelf::{Batches, Bounds, Context, Shelf, Tick};
use super::tunnel::{Action, Early, Reset, Start, Tunnel};
use crate::buffer::OwnedPool;
use crate::close::{CloseReason, DrainCause, Side};
use crate::observe::access_log::{AccessLog, SoFar, Traffic, TunnelFacts};
use crate::observe::metrics::RelayMetrics;
use crate::observe::request_id::RequestId;
use crate::timer::Wheel;
use crate::uring::{Completion, OpKind, Received, Ring, Token, Wait};

/// What a relay is made with, apart from its ring.
pub(super) struct Setup {
    pub(super) bounds: Bounds,
    pub(super) spill_bytes_max: usize,
    pub(super) metrics: Arc<RelayMetrics>,
    pub(super) log: AccessLog,
    pub(super) mask: Box<dyn FnMut() -> [u8; 4] + Send>,
    /// Between two lines about a tunnel; zero for none.
    pub(super) report_every: Duration,
}

pub(super) struct Relay<R> {
    ring: R,
    slots: Slab<Slot>,
    wheel: Wheel,
    reports: Reports,
    shelf: Shelf,
    log: AccessLog,
    began: Instant,
    now: Instant,
    /// `now`, worked out once a turn.
    tick: Tick,
    generation: u16,
    completions: Vec<Completion>,
    /// Slots that something happened to in this turn, each once.
    touched: Vec<u32>,
    /// Sockets that wait for free buffers.
    starved: Vec<Token>,
    /// Orders to end tunnels, oldest first.
    drains: Vec<Drain>,
    /// What the latest reload changed, for tunnels that come by what was before it.
    changes: Option<Arc<PolicyChanges>>,
    /// What open tunnels have to be told after reloads, oldest first, each with the slot to go on with: a few slots a turn, so
    /// that no message waits for it.
    revisions: VecDeque<(Revision, usize)>,
    /// Questions about open tunnels, oldest first.
    listings: VecDeque<Listing>,
    /// The last tick at which waiting bytes were copied out of the provided buffers.
    spilled_at: Tick,
}

/// What concerns all open tunnels.
enum Revision {
    /// Other rules, by which their next look at the time may come earlier.
    Rules(Arc<PolicyChanges>),
    /// Other bounds: a deadline may have moved.
    Bounds,
}

struct Slot {
    tunnel: Tunnel,
    generation: u16,
    touched: bool,
    record: Box<Record>,
}

impl Slot {
    fn info(&self, age: Duration, now: Tick) -> TunnelInfo {
        let facts = &self.record.facts;
        let queued = |side| self.tunnel.half(side).queued_bytes();
        TunnelInfo {
            id: facts.id,
            policy: Arc::clone(&facts.policy),
            scheme: facts.scheme,
            client: facts.client,
            backend: facts.backend,
            opened_at: facts.opened_at,
            age,
            idle: self.tunnel.idle_at(now),
            from_client: traffic(&self.tunnel, Side::Client),
            from_backend: traffic(&self.tunnel, Side::Backend),
            waiting_for_backend: queued(Side::Client),
            waiting_for_client: queued(Side::Backend),
            closing: self.tunnel.is_closing(),
        }
    }
}

/// What the log line at the end needs, and what is given back then.
struct Record {
    facts: TunnelFacts,
    opened: Instant,
    _permit: Option<Permit>,
    /// The orders that it is to end by.
    orders: Vec<Ordered>,
}

/// A tunnel's part in an order.
struct Ordered {
    order: Arc<DrainOrder>,
    /// Its turn has come.
    told: bool,
}

impl Record {
    fn mark_told(&mut self, order: &DrainOrder) {
        let it = |ordered: &&mut Ordered| std::ptr::eq(Arc::as_ptr(&ordered.order), order);
        if let Some(ordered) = self.orders.iter_mut().find(it)
            && !std::mem::replace(&mut ordered.told, true)
        {
            order.count_closed();
        }
    }
}

/// A tunnel's parts once its sockets belong to the ring.
pub(super) struct Adopted {
    pub(super) tunnel: Tunnel,
    pub(super) client: Early,
    pub(super) backend: Early,
    pub(super) facts: TunnelFacts,
    pub(super) permit: Option<Permit>,
}

impl<R: Ring> Relay<R> {
    pub(super) fn new(ring: R, setup: Setup, now: Instant) -> Self {
        let Setup {
            bounds,
            spill_bytes_max,
            metrics,
            log,
            mask,
            report_every,
        } = setup;
        let owned = OwnedPool::new(spill_bytes_max);
        let batches = Batches::default();
        Self {
            ring,
            slots: Slab::new(),
            wheel: Wheel::new(0, 0),
            reports: Reports::new(report_every),
            shelf: Shelf {
                owned,
                batches,
                bounds,
                metrics,
                now,
                mask,
                scratch: Vec::new(),
            },
            log,
            began: now,
            now,
            tick: Tick(0),
            generation: 0,
            completions: Vec::new(),
            touched: Vec::new(),
            starved: Vec::new(),
            drains: Vec::new(),
            changes: None,
            revisions: VecDeque::new(),
            listings: VecDeque::new(),
            spilled_at: Tick(0),
        }
    }

    /// Submits what is queued and sleeps until something completes or a timer is due; `busy` forbids the sleep.
    pub(super) fn sleep(&mut self, busy: bool) -> io::Result<()> {
        let wait = if busy { Wait::No } else { self.wait() };
        self.ring.turn(wait, &mut self.completions)
    }

    fn wait(&self) -> Wait {
        let of_tick = |tick| self.began + Tick::STEP * u32::try_from(tick).unwrap_or(u32::MAX);
        let timers = [self.wheel.next_tick(), self.reports.next_tick()];
        let timers = timers.into_iter().flatten().map(of_tick);
        let turns = self.drains.iter().filter_map(Drain::next_turn);
        let Some(at) = turns.chain(timers).min() else {
            return Wait::Forever;
        };
        let left = at.saturating_duration_since(self.now);
        if left.is_zero() {
            Wait::No
        } else {
            Wait::AtMost(left)
        }
    }

    /// Handles everything that has completed and everything that is due at `now`. `true` when the relay was woken.
    pub(super) fn work(&mut self, now: Instant) -> bool {
        self.now = now;
        self.shelf.now = now;
        self.tick = Tick::at(now.saturating_duration_since(self.began));
        let woken = self.handle_completions();
        self.handle_timers();
        self.report();
        self.end_drained();
        self.revise();
        self.look_through();
        self.feed_starved();
        self.relieve_pressure();
        self.drive();
        self.publish();
        woken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    #[cfg(test)]
    pub(super) fn ring_mut(&mut self) -> &mut R {
        &mut self.ring
    }

    #[cfg(test)]
    pub(super) fn ring(&self) -> &R {
        &self.ring
    }

    #[cfg(test)]
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    #[cfg(test)]
    pub(super) fn held_segments(&self) -> usize {
        self.slots
            .iter()
            .map(|(_, slot)| slot.tunnel.held_segments())
            .sum()
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    #[cfg(test)]
    pub(super) fn owned_bytes(&self) -> usize {
        self.shelf.owned.taken_bytes()
    }

    /// Takes a tunnel over from the edge.
    pub(super) fn adopt(&mut self, new: NewTunnel) {
        let NewTunnel {
            client,
            backend,
            extensions,
            mut policy,
            mut facts,
            series,
            permit,
        } = new;
        // It may have been agreed on while a reload was under way.
        let came_by = Arc::clone(&policy);
        if let Some(newer) = self.changes.as_ref().and_then(|c| c.successor(&policy)) {
            policy = Arc::clone(newer);
            facts.policy = Arc::clone(newer);
        }
        let now = self.tick;
        let (client, client_early) = self.take_endpoint(client);
        let (backend, backend_early) = self.take_endpoint(backend);
        let tunnel = Tunnel::new(client, backend, extensions, policy, series, now);
        let target = self.insert(Adopted {
            tunnel,
            client: client_early,
            backend: backend_early,
            facts,
            permit: Some(permit),
        });
        self.join_drain(target, &came_by);
    }

    fn take_endpoint(&mut self, endpoint: Endpoint) -> (Start, Early) {
        let Endpoint {
            socket,
            tls,
            plaintext,
            ciphertext,
            eof,
        } = endpoint;
        (
            Start {
                fd: self.ring.adopt(socket),
                tls,
            },
            Early {
                plaintext,
                ciphertext,
                eof,
            },
        )
    }

    pub(super) fn insert(&mut self, adopted: Adopted) -> Target {
        let Adopted {
            tunnel,
            client,
            backend,
            mut facts,
            permit,
        } = adopted;
        self.log.tunnel_open(&mut facts);
        tunnel.series().opened.add(1);
        tunnel.series().tunnels.add(1);
        self.generation = self.generation.wrapping_add(1);
        let record = Box::new(Record {
            facts,
            opened: self.now,
            _permit: permit,
            orders: Vec::new(),
        });
        let key = self.slots.insert(Slot {
            tunnel,
            generation: self.generation,
            touched: false,
            record,
        });
        let slot = u32::try_from(key).unwrap_or(u32::MAX);
        self.reports.begin(slot, self.tick);
        self.shelf.metrics.opened.add(1);
        self.shelf.metrics.tunnels.add(1);
        self.with(slot, |tunnel, cx| {
            tunnel.begin(Side::Backend, backend, cx);
            tunnel.begin(Side::Client, client, cx);
        });
        Target {
            slot,
            generation: self.generation,
        }
    }

    /// Gives a newcomer its turn, if there is an order that it comes into.
    pub(super) fn join_drain(&mut self, target: Target, came_by: &Arc<TunnelPolicy>) {
        let concerns = |drain: &&mut Drain| drain.includes_newcomer(came_by);
        let Some(drain) = self.drains.iter_mut().find(concerns) else {
            return;
        };
        drain.add(target);
        let order = Arc::clone(&drain.order);
        self.enlist(target, &order);
        self.end_drained();
    }

    /// Notes in a tunnel which order it is to end by.
    fn enlist(&mut self, target: Target, order: &Arc<DrainOrder>) {
        if let Some(slot) = self.slots.get_mut(target.slot as usize) {
            let orders = &mut slot.record.orders;
            orders.retain(|ordered| !ordered.order.is_cancelled());
            orders.push(Ordered {
                order: Arc::clone(order),
                told: false,
            });
        }
    }

    /// Takes an order to end tunnels.
    pub(super) fn drain(&mut self, order: Arc<DrainOrder>) {
        let target = |(key, slot): (usize, &Slot)| {
            let target = Target {
                slot: u32::try_from(key).ok()?,
                generation: slot.generation,
            };
            order.includes(&slot.record.facts).then_some(target)
        };
        let targets: Vec<_> = self.slots.iter().filter_map(target).collect();
        for target in &targets {
            self.enlist(*target, &order);
        }
        let seed = (self.shelf.mask)();
        self.drains.push(Drain::new(order, targets, self.now, seed));
        self.end_drained();
    }

    /// Has open tunnels live by other rules. Their next look at the time is moved where it has to come earlier. `orders`
    /// are about tunnels by the rules that they had.
    pub(super) fn change(&mut self, changes: Arc<PolicyChanges>, orders: Vec<Arc<DrainOrder>>) {
        // The orders know tunnels by what they live by once all that was changed before has reached them.
        while self.revise() {}
        self.drains.iter_mut().for_each(Drain::close_to_newcomers);
        self.drains.retain(|drain| !drain.is_over());
        for order in orders {
            self.drain(order);
        }
        self.changes = (!changes.is_empty()).then(|| Arc::clone(&changes));
        if !changes.is_empty() {
            let revision = Revision::Rules(changes);
            self.revisions.push_back((revision, 0));
        }
    }

    /// Goes on with the oldest revision; `false` if there is none.
    fn revise(&mut self) -> bool {
        let Some((revision, from)) = self.revisions.pop_front() else {
            return false;
        };
        let to = from + SLOTS_PER_TURN;
        for key in from..to.min(self.slots.capacity()) {
            self.revise_slot(key, &revision);
        }
        if to < self.slots.capacity() {
            self.revisions.push_front((revision, to));
        }
        true
    }

    fn revise_slot(&mut self, key: usize, revision: &Revision) {
        let (Some(entry), Ok(slot)) = (self.slots.get_mut(key), u32::try_from(key)) else {
            return;
        };
        let Revision::Rules(changes) = revision else {
            self.with(slot, |_, _| ());
            return;
        };
        let facts = &mut entry.record.facts;
        if let Some(policy) = changes.successor(&facts.policy) {
            facts.policy = Arc::clone(policy);
            self.with(slot, |tunnel, _| tunnel.live_by(Arc::clone(policy)));
        }
    }

    /// Ends the tunnels whose turn has come.
    fn end_drained(&mut self) {
        if self.drains.is_empty() {
            return;
        }
        let now = self.now;
        let mut drains = std::mem::take(&mut self.drains);
        for drain in &mut drains {
            while let Some(target) = drain.pop(now) {
                self.end_in_turn(target, &drain.order);
            }
            for target in drain.cut(now) {
                self.cut(target, &drain.order);
            }
        }
        drains.retain(|drain| !drain.is_over());
        self.drains = drains;
    }

    fn end_in_turn(&mut self, target: Target, order: &DrainOrder) {
        // Who is on the way out already leaves by itself.
        let Some(slot) = self
            .slot_of(target)
            .filter(|slot| !slot.tunnel.is_closing())
        else {
            return;
        };
        slot.record.mark_told(order);
        let reason = CloseReason::Drained(order.cause());
        self.with(target.slot, |tunnel, cx| tunnel.end_with(reason, cx));
    }

    fn cut(&mut self, target: Target, order: &DrainOrder) {
        let Some(slot) = self.slot_of(target) else {
            return;
        };
        slot.record.mark_told(order);
        let reason = CloseReason::Drained(order.cause());
        self.with(target.slot, |tunnel, cx| tunnel.end_now(reason, cx));
    }

    /// The slot, if it still has the tunnel that was meant.
    fn slot_of(&mut self, target: Target) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(target.slot as usize)?;
        (slot.generation == target.generation).then_some(slot)
    }

    /// Sets other bounds. Each tunnel looks at them anew.
    pub(super) fn limit(&mut self, bounds: Bounds) {
        if self.shelf.bounds != bounds {
            self.shelf.bounds = bounds;
            self.revisions.push_back((Revision::Bounds, 0));
        }
    }

    /// Has lines about open tunnels come at another interval, which begins now.
    pub(super) fn report_every(&mut self, every: Duration) {
        if self.reports.change(every) {
            for slot in self.keys() {
                self.reports.begin(slot, self.tick);
            }
        }
    }

    /// Takes a question about the open tunnels.
    pub(super) fn list(&mut self, listing: Listing) {
        self.listings.push_back(listing);
    }

    /// Whether there are slots to be looked at in the next turn: for an answer, or after a reload.
    pub(super) fn is_walking(&self) -> bool {
        !self.listings.is_empty() || !self.revisions.is_empty()
    }

    /// Goes on with the oldest question.
    fn look_through(&mut self) {
        let Some(listing) = self.listings.front_mut() else {
            return;
        };
        let (from, to) = (listing.next, listing.next + SLOTS_PER_TURN);
        for key in from..to {
            if let Some(slot) = self.slots.get(key) {
                let age = self.now.saturating_duration_since(slot.record.opened);
                listing.look_at(slot.info(age, self.tick));
            }
        }
        listing.next = to;
        if (listing.is_abandoned() || to >= self.slots.capacity())
            && let Some(listing) = self.listings.pop_front()
        {
            listing.answer();
        }
    }

    /// Closes one tunnel politely. `false` if it is not here.
    pub(super) fn end(&mut self, id: RequestId, code: u16) -> bool {
        let is_it = |(_, slot): &(usize, &Slot)| slot.record.facts.id == id;
        let found = self.slots.iter().find(is_it);
        let Some(slot) = found.and_then(|(key, _)| u32::try_from(key).ok()) else {
            return false;
        };
        let reason = CloseReason::Ordered(code);
        self.with(slot, |tunnel, cx| tunnel.end_with(reason, cx));
        true
    }

    /// Ends every tunnel at once.
    pub(super) fn stop(&mut self) {
        for slot in self.keys() {
            let reason = CloseReason::Drained(DrainCause::Stop);
            self.with(slot, |tunnel, cx| tunnel.end_now(reason, cx));
        }
    }

    fn keys(&self) -> Vec<u32> {
        self.slots
            .iter()
            .filter_map(|(key, _)| u32::try_from(key).ok())
            .collect()
    }

    /// Lets a tunnel handle something, and notes that its wishes have to be asked for.
    fn with<T>(
        &mut self,
        slot: u32,
        handle: impl FnOnce(&mut Tunnel, &mut Context<'_, R>) -> T,
    ) -> Option<T> {
        let now = self.tick;
        let entry = self.slots.get_mut(slot as usize)?;
        if !std::mem::replace(&mut entry.touched, true) {
            self.touched.push(slot);
        }
        let mut cx = Context {
            memory: &mut self.ring,
            shelf: &mut self.shelf,
            now,
        };
        Some(handle(&mut entry.tunnel, &mut cx))
    }

    fn check(&self, token: Token) {
        let generation = self
            .slots
            .get(token.slot as usize)
            .map(|slot| slot.generation);
        assert_eq!(
            generation,
            Some(token.generation),
            "a completion for a slot that was freed before it was at rest"
        );
    }

    // ---- One turn, step by step ----

    fn handle_completions(&mut self) -> bool {
        let mut completions = std::mem::take(&mut self.completions);
        self.shelf.metrics.turns.observe(completions.len() as u64);
        let mut woken = false;
        for completion in completions.drain(..) {
            woken |= self.handle(completion);
        }
        self.completions = completions;
        woken
    }

    fn handle(&mut self, completion: Completion) -> bool {
        match completion {
            Completion::Received { token, what, armed } => self.received(token, what, armed),
            Completion::Sent {
                token,
                result,
                batch,
            } => {
                self.check(token);
                self.with(token.slot, |tunnel, cx| {
                    tunnel.handle_sent(token.side, result, batch, cx)
                });
            }
            Completion::Cancelled { token } => {
                self.check(token);
                self.with(token.slot, |tunnel, _| tunnel.handle_cancelled(token.side));
            }
            Completion::Wake => return true,
        }
        false
    }

    fn received(&mut self, token: Token, what: Received, armed: bool) {
        self.check(token);
        if matches!(what, Received::NoBuffers) {
            self.shelf.metrics.no_buffers.add(1);
        }
        let starved = self.with(token.slot, |tunnel, cx| {
            let side = token.side;
            if !armed {
                tunnel.handle_receive_over(side);
            }
            let was_starved = tunnel.is_starved(side);
            match what {
                Received::Bytes(segment) => tunnel.handle_segment(side, segment, cx),
                Received::Eof => tunnel.handle_eof(side, cx),
                Received::NoBuffers => tunnel.handle_no_buffers(side),
                Received::Cancelled => {}
                Received::Failed(errno) => tunnel.handle_failure(side, errno, cx),
            }
            !was_starved && tunnel.is_starved(side)
        });
        if starved == Some(true) {
            self.starved.push(token);
        }
    }

    fn handle_timers(&mut self) {
        let now = self.tick;
        while let Some(slot) = self.wheel.pop(u64::from(now.0)) {
            self.shelf.metrics.timers.add(1);
            self.with(slot, Tunnel::handle_time);
        }
    }

    /// Makes a few of the lines that are due.
    fn report(&mut self) {
        let now = self.tick;
        for _ in 0..REPORTS_PER_TURN {
            let Some(slot) = self.reports.pop(now) else {
                return;
            };
            if let Some(entry) = self.slots.get(slot as usize) {
                let so_far = self.so_far(&entry.tunnel, &entry.record);
                self.log.tunnel_progress(&entry.record.facts, &so_far);
                self.reports.begin(slot, now);
            }
        }
    }

    fn so_far(&self, tunnel: &Tunnel, record: &Record) -> SoFar {
        SoFar {
            duration: self.now.saturating_duration_since(record.opened),
            from_client: traffic(tunnel, Side::Client),
            from_backend: traffic(tunnel, Side::Backend),
            closed_by: tunnel.first_close(),
        }
    }

    fn feed_starved(&mut self) {
        if self.starved.is_empty() || self.ring.account().is_low() || !self.shelf.owned.has_room() {
            return;
        }
        for token in std::mem::take(&mut self.starved) {
            let lives = |slot: &Slot| slot.generation == token.generation;
            if self.slots.get(token.slot as usize).is_some_and(lives) {
                self.with(token.slot, |tunnel, _| tunnel.feed(token.side));
            }
        }
    }

    /// Copies what waits for slow sockets, once a tick at most, so that they do not pin the buffers that all share.
    fn relieve_pressure(&mut self) {
        let now = self.tick;
        if !self.ring.account().is_low() || self.spilled_at == now {
            return;
        }
        self.spilled_at = now;
        for slot in self.keys() {
            for side in [Side::Client, Side::Backend] {
                let now = self.tick;
                let Some(entry) = self.slots.get_mut(slot as usize) else {
                    continue;
                };
                let mut cx = Context {
                    memory: &mut self.ring,
                    shelf: &mut self.shelf,
                    now,
                };
                if entry.tunnel.spill(side, &mut cx) {
                    let token = Token {
                        slot,
                        generation: entry.generation,
                        op: OpKind::Send,
                        side,
                    };
                    self.ring.cancel(token);
                }
            }
        }
    }

    /// Carries out what the touched tunnels want. Completions were all handled before, so that what came together goes out
    /// together.
    pub(super) fn drive(&mut self) {
        let now = self.tick;
        let mut touched = std::mem::take(&mut self.touched);
        for slot in touched.drain(..) {
            let Some(entry) = self.slots.get_mut(slot as usize) else {
                continue;
            };
            entry.touched = false;
            let token = |op, side| Token {
                slot,
                generation: entry.generation,
                op,
                side,
            };
            loop {
                let mut cx = Context {
                    memory: &mut self.ring,
                    shelf: &mut self.shelf,
                    now,
                };
                match entry.tunnel.poll(&mut cx) {
                    None => break,
                    Some(Action::Receive(side, fd)) => {
                        self.ring.receive(token(OpKind::Receive, side), fd)
                    }
                    Some(Action::CancelReceive(side)) => {
                        self.ring.cancel(token(OpKind::Receive, side))
                    }
                    Some(Action::Send(side, fd, batch)) => {
                        self.ring.send(token(OpKind::Send, side), fd, batch)
                    }
                    Some(Action::CancelSend(side)) => self.ring.cancel(token(OpKind::Send, side)),
                    Some(Action::Shutdown(fd)) => self.ring.shutdown(fd),
                    Some(Action::Close(fd, reset)) => self.ring.close(fd, reset == Reset::Yes),
                    Some(Action::Wake(tick)) => self.wheel.schedule(slot, u64::from(tick.0)),
                    Some(Action::Free) => {
                        self.wheel.cancel(slot);
                        self.free(slot);
                        break;
                    }
                }
            }
        }
        self.touched = touched;
    }

    fn free(&mut self, slot: u32) {
        let Some(Slot { tunnel, record, .. }) = self.slots.try_remove(slot as usize) else {
            return;
        };
        for Ordered { order, told } in &record.orders {
            if *told {
                order.count_ended();
            } else {
                order.count_left();
            }
        }
        self.reports.end(slot);
        let reason = tunnel.reason();
        let so_far = self.so_far(&tunnel, &record);
        for closed in [&self.shelf.metrics.closed, &tunnel.series().closed] {
            closed.count(reason, so_far.closed_by);
        }
        self.shelf.metrics.tunnels.sub(1);
        tunnel.series().tunnels.sub(1);
        self.shelf.metrics.lifetime.observe_time(so_far.duration);
        for side in [Side::Client, Side::Backend] {
            if tunnel.half(side).was_paused() {
                self.shelf.metrics.from(side).paused.sub(1);
            }
        }
        self.log.tunnel_close(&record.facts, reason, &so_far);
    }

    fn publish(&self) {
        let metrics = &self.shelf.metrics;
        metrics.buffers.set(self.ring.account().count() as u64);
        metrics.timers_set.set(self.wheel.len() as u64);
        metrics.buffers_free.set(self.ring.account().free() as u64);
        metrics
            .spill_bytes
            .set(self.shelf.owned.taken_bytes() as u64);
        metrics.cq_overflows.set(self.ring.overflows());
    }
}

fn traffic(tunnel: &Tunnel, source: Side) -> Traffic {
    let half = tunnel.half(source);
    Traffic {
        bytes: half.bytes,
        messages: half.messages,
        // RFC 6455 §7.1.5: a Close without a code counts as 1005.
        close_code: half.close.map(|code| code.unwrap_or(1005)),
    }
}

/// How long a relay lingers after a last message, and how much it reads meanwhile (RFC 9112 §9.6 has the reason).
pub(super) const LINGER: Duration = Duration::from_secs(1);
pub(super) const LINGER_BYTES_MAX: usize = 64 << 10;
