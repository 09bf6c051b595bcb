//! The sections about the process itself: workers, limits, times, and how tunnels are treated.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::addresses::{addresses, networks};
use super::{Reader, set};
use crate::close::DrainCause;
use crate::config::{Fate, ForwardedFor, HostSent, Limits, OnUnsupported, Tunnel};
use crate::document::{Complaints, Item, Place, Severity, Table, Value};
use crate::relay::drain::{DrainPlan, Pace};
use crate::relay::policy::{FrameMode, IdleEnd};

const FRAMES: [(&str, FrameMode); 3] = [
    ("strict", FrameMode::Strict),
    ("observe", FrameMode::Observe),
    ("opaque", FrameMode::Opaque),
];

const IDLE_ENDS: [(&str, IdleEnd); 2] = [
    ("close", IdleEnd::Close),
    ("disconnect", IdleEnd::Disconnect),
];

const FORWARDED_FOR: [(&str, ForwardedFor); 2] = [
    ("append", ForwardedFor::Append),
    ("replace", ForwardedFor::Replace),
];

const HOSTS: [(&str, HostSent); 2] = [("backend", HostSent::Backend), ("client", HostSent::Client)];

/// More cores than any box that is sold; a larger number is a slip.
const CORE_MAX: usize = 4095;

/// Bounds of bounds: below them nothing works, above them the number is a slip.
const HEAD_BYTES: RangeInclusive<u64> = 1 << 10..=1 << 20;
pub(super) const TIMES: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(3600);

impl Reader {
    pub(super) fn settings(&mut self, top: &mut Table<'_>) {
        let words = [
            ("reject", OnUnsupported::Reject),
            ("skip", OnUnsupported::Skip),
        ];
        let choice = top
            .take("on_unsupported")
            .and_then(|item| item.choice(&words, &mut self.complaints));
        set(&mut self.draft.config.definitions.on_unsupported, choice);
        // Spec 2.7.
        let retries = top
            .take("retry_count_default")
            .and_then(|item| item.integer(-1..=10, &mut self.complaints));
        set(
            &mut self.draft.config.definitions.retry_count,
            retries.and_then(|count| i8::try_from(count).ok()),
        );
        self.section(top, "workers", Self::workers);
        self.section(top, "tls", Self::tls);
        self.section(top, "backends", Self::backends);
        self.section(top, "forwarding", Self::forwarding);
        self.section(top, "limits", Self::limits);
        self.section(top, "timeouts", Self::timeouts);
        self.section(top, "drain", Self::drain);
        self.section(top, "reload", Self::reload);
        self.section(top, "admin", Self::admin);
        self.section(top, "log", Self::log);
        // Before `[[apis]]`, which begin with what is said here.
        self.section(top, "tunnel", |reader, table| {
            tunnel(
                &mut reader.draft.config.tunnel,
                table,
                &mut reader.complaints,
            );
        });
    }

    fn workers(&mut self, table: &mut Table<'_>) {
        let complaints = &mut self.complaints;
        let workers = &mut self.draft.config.workers;
        if let Some(item) = table.take("cores") {
            for item in item.list(complaints) {
                let Some(core) = item.count(0..=CORE_MAX, complaints) else {
                    continue;
                };
                if workers.cores.contains(&core) {
                    complaints.error(
                        &item.place(complaints),
                        format!("core {core} is listed twice"),
                        "list it once",
                    );
                }
                workers.cores.push(core);
            }
        }
        let nice = table
            .take("edge_nice")
            .and_then(|item| item.integer(-20..=19, complaints));
        set(
            &mut workers.edge_nice,
            nice.and_then(|n| i32::try_from(n).ok()),
        );
        // Linux clamps a slice to 0.1 ms .. 100 ms (`sched_setattr(2)`); zero leaves the kernel's own.
        let slice = Duration::ZERO..=Duration::from_millis(100);
        set(
            &mut workers.relay_slice,
            table
                .take("relay_slice")
                .and_then(|item| item.duration(slice, complaints)),
        );
        let fifo = table
            .take("relay_fifo")
            .and_then(|item| item.integer(1..=99, complaints));
        set(&mut workers.relay_fifo, fifo.map(|n| u8::try_from(n).ok()));
        let adopt = table
            .take("adopt_per_turn")
            .and_then(|item| item.count(1..=1024, complaints));
        set(&mut workers.adopt_per_turn, adopt);
    }

    fn tls(&mut self, table: &mut Table<'_>) {
        let tls13 = table
            .take("tls13")
            .and_then(|item| item.boolean(&mut self.complaints));
        set(&mut self.draft.config.tls.tls13, tls13);
    }

    fn backends(&mut self, table: &mut Table<'_>) {
        if let Some(item) = table.take("source_addresses") {
            self.draft.config.backends.source_addresses = addresses(&item, &mut self.complaints);
        }
        if let Some(item) = table.take("ca") {
            self.draft.config.backends.ca = self.path(&item);
            self.draft.ca = Some(item.place(&self.complaints));
        }
        let complaints = &mut self.complaints;
        let backends = &mut self.draft.config.backends;
        if let Some(item) = table.take("denied") {
            backends.denied = networks(&item, complaints);
        }
        let idle = table
            .take("idle_connections_max")
            .and_then(|item| item.count(0..=1 << 20, complaints));
        set(&mut backends.idle_connections_max, idle);
        let timeout = table
            .take("idle_timeout")
            .and_then(|item| item.duration(TIMES, complaints));
        set(&mut backends.idle_timeout, timeout);
    }

    fn forwarding(&mut self, table: &mut Table<'_>) {
        let complaints = &mut self.complaints;
        let forwarding = &mut self.draft.config.forwarding;
        let forwarded_for = table
            .take("forwarded_for")
            .and_then(|item| item.choice(&FORWARDED_FOR, complaints));
        set(&mut forwarding.forwarded_for, forwarded_for);
        let host = table
            .take("host")
            .and_then(|item| item.choice(&HOSTS, complaints));
        set(&mut forwarding.host, host);
        let strip = table
            .take("strip_gateway_fields")
            .and_then(|item| item.boolean(complaints));
        set(&mut forwarding.strip_gateway_fields, strip);
    }

    fn limits(&mut self, table: &mut Table<'_>) {
        let place = table.place(&self.complaints);
        let complaints = &mut self.complaints;
        let limits = &mut self.draft.config.limits;
        let connections = table
            .take("connections_max")
            .and_then(|item| item.count(0..=10_000_000, complaints));
        set(&mut limits.connections_max, connections);
        set(
            &mut limits.head.target_bytes_max,
            bytes(table.take("target_bytes_max"), HEAD_BYTES, complaints),
        );
        set(
            &mut limits.head.field_bytes_max,
            bytes(table.take("field_bytes_max"), HEAD_BYTES, complaints),
        );
        set(
            &mut limits.head.fields_bytes_max,
            bytes(table.take("fields_bytes_max"), HEAD_BYTES, complaints),
        );
        let status = table
            .take("head_too_large_status")
            .and_then(|item| head_too_large_status(&item, complaints));
        set(&mut limits.head_too_large_status, status);
        set(
            &mut limits.early_bytes_max,
            bytes(table.take("early_bytes_max"), 0..=1 << 20, complaints),
        );
        // Spec 6.1: `request_body_size` is 1 to 9536 MB.
        let body = table
            .take("request_body_bytes_max")
            .and_then(|item| item.size(0..=9536 << 20, complaints));
        set(&mut limits.request_body_bytes_max, body);
        let buffers = bytes(
            table.take("relay_buffer_bytes"),
            256 << 10..=1 << 30,
            complaints,
        );
        set(&mut limits.relay_buffer_bytes, buffers);
        set(
            &mut limits.half_bytes_max,
            bytes(table.take("half_bytes_max"), 4 << 10..=1 << 30, complaints),
        );
        let spill = bytes(
            table.take("relay_spill_bytes_max"),
            1 << 20..=64 << 30,
            complaints,
        );
        set(&mut limits.relay_spill_bytes_max, spill);
        // Spec 1.3: the feature `backend_timeout` allows at most 600000 ms.
        let ceiling = Duration::from_millis(1)..=Duration::from_secs(600);
        let timeout = table
            .take("backend_timeout_max")
            .and_then(|item| item.duration(ceiling, complaints));
        set(
            &mut self.draft.config.definitions.backend_timeout_max,
            timeout,
        );
        relations(limits, &place, complaints);
    }

    fn timeouts(&mut self, table: &mut Table<'_>) {
        let complaints = &mut self.complaints;
        let timeouts = &mut self.draft.config.timeouts;
        for (key, slot) in [
            ("handshake", &mut timeouts.handshake),
            ("keep_alive", &mut timeouts.keep_alive),
            ("request_body", &mut timeouts.request_body),
            ("permit", &mut timeouts.permit),
            ("slow_consumer", &mut timeouts.slow_consumer),
            ("close_grace", &mut timeouts.close_grace),
        ] {
            set(
                slot,
                table
                    .take(key)
                    .and_then(|item| item.duration(TIMES, complaints)),
            );
        }
    }

    fn drain(&mut self, table: &mut Table<'_>) {
        drain(&mut self.draft.config.drain, table, &mut self.complaints);
    }

    fn reload(&mut self, table: &mut Table<'_>) {
        let complaints = &mut self.complaints;
        let reload = &mut self.draft.config.reload;
        let over = table
            .take("over")
            .and_then(|item| item.duration(DRAINS, complaints));
        set(&mut reload.pace, over.map(Pace::Over));
        let watch = table
            .take("watch")
            .and_then(|item| item.boolean(complaints));
        set(&mut reload.watch, watch);
        let pace = reload.pace;
        for (key, slot) in [
            ("removed_apis", &mut reload.removed_apis),
            ("removed_backends", &mut reload.removed_backends),
            ("changed_apis", &mut reload.changed_apis),
        ] {
            let said = table.take(key);
            set(slot, said.and_then(|item| fate(&item, pace, complaints)));
        }
    }

    fn admin(&mut self, table: &mut Table<'_>) {
        if let Some(item) = table.take("socket") {
            self.draft.config.admin.socket = self.path(&item);
        }
        let (listen, token) = (table.take("listen"), table.take("token_file"));
        if let Some(item) = &listen {
            self.draft.config.admin.listen = loopback(item, &mut self.complaints);
        }
        if let Some(item) = &token {
            self.draft.config.admin.token_file = self.path(item);
            self.draft.token = Some(item.place(&self.complaints));
        }
        match (listen, token) {
            (Some(listen), None) => self.complaints.error(
                &listen.place(&self.complaints),
                "there is no token_file, and without a token it is never open",
                "make one with `(umask 027; openssl rand -hex 32 > admin.token)`, and name it in admin.token_file",
            ),
            (None, Some(token)) => self.complaints.error(
                &token.place(&self.complaints),
                "there is no listen that would ask for the token; the unix socket goes by its file's permissions",
                "add admin.listen = \"127.0.0.1:9901\", or leave token_file out",
            ),
            _ => {}
        }
    }
}

/// How long draining may take.
const DRAINS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 3600);

const CAUSES: [(&str, DrainCause); 2] =
    [("stop", DrainCause::Stop), ("restart", DrainCause::Restart)];

/// The keys of `[drain]`, and of every other way to end tunnels.
fn drain(plan: &mut DrainPlan, table: &mut Table<'_>, complaints: &mut Complaints) {
    let mut duration = |key| {
        table
            .take(key)
            .and_then(|item| item.duration(DRAINS, complaints))
    };
    set(&mut plan.notice, duration("notice"));
    set(&mut plan.pace, duration("over").map(Pace::Over));
    set(&mut plan.limit, duration("limit").map(Some));
    let cause = table
        .take("cause")
        .and_then(|item| item.choice(&CAUSES, complaints));
    set(&mut plan.cause, cause);
}

/// `"keep"`, `"drain"`, or how to drain: `{ over = "5m" }`. `pace` holds where it says none.
pub(super) fn fate(item: &Item<'_>, pace: Pace, complaints: &mut Complaints) -> Option<Fate> {
    let mut plan = DrainPlan {
        pace,
        ..DrainPlan::default()
    };
    if let Value::Table(_) = item.value() {
        let mut table = item.table(complaints)?;
        drain(&mut plan, &mut table, complaints);
        table.finish(Severity::Error, complaints);
        return Some(Fate::Drain(plan));
    }
    let words = [("keep", Fate::Keep), ("drain", Fate::Drain(plan))];
    item.choice(&words, complaints)
}

/// The keys that `[tunnel]` and `[[apis]]` share.
pub(super) fn tunnel(tunnel: &mut Tunnel, table: &mut Table<'_>, complaints: &mut Complaints) {
    set(
        &mut tunnel.frames,
        table
            .take("frames")
            .and_then(|item| item.choice(&FRAMES, complaints)),
    );
    set(
        &mut tunnel.idle_end,
        table
            .take("idle_end")
            .and_then(|item| item.choice(&IDLE_ENDS, complaints)),
    );
    let size = table
        .take("message_bytes_max")
        .and_then(|item| item.size(0..=1 << 40, complaints));
    set(&mut tunnel.message_bytes_max, size);
}

/// An address that nobody beyond the box can reach.
fn loopback(item: &Item<'_>, complaints: &mut Complaints) -> Option<SocketAddr> {
    let address: SocketAddr = item.parsed(
        "an address and port such as 127.0.0.1:9901",
        |text| text.parse().ok(),
        complaints,
    )?;
    if !address.ip().is_loopback() {
        let place = item.place(complaints);
        complaints.error(
            &place,
            format!("{} can be reached from beyond this box", address.ip()),
            "listen on 127.0.0.1 or [::1]; from elsewhere come through SSH: ssh -L 9901:127.0.0.1:9901 HOST",
        );
        return None;
    }
    Some(address)
}

/// The cloud's status or that of RFC 6585 §5.
fn head_too_large_status(item: &Item<'_>, complaints: &mut Complaints) -> Option<u16> {
    let status = item.integer(0..=999, complaints)?;
    let allowed = [494, 431]
        .into_iter()
        .find(|known| i64::from(*known) == status);
    if allowed.is_none() {
        let place = item.place(complaints);
        complaints.error(
            &place,
            format!("{status} does not say that a head is too large"),
            "write 494, as the cloud gateway answers, or 431 (RFC 6585)",
        );
    }
    allowed
}

/// Bounds that would make each other useless.
fn relations(limits: &Limits, place: &Place, complaints: &mut Complaints) {
    if limits.head.field_bytes_max > limits.head.fields_bytes_max {
        complaints.error(
            place,
            "field_bytes_max is above fields_bytes_max, so no field could be that long",
            "raise fields_bytes_max or lower field_bytes_max",
        );
    }
    if limits.half_bytes_max > limits.relay_spill_bytes_max {
        complaints.error(
            place,
            "half_bytes_max is above relay_spill_bytes_max, so one slow tunnel could not even have its share",
            "raise relay_spill_bytes_max or lower half_bytes_max",
        );
    }
}

fn bytes(
    item: Option<Item<'_>>,
    range: RangeInclusive<u64>,
    complaints: &mut Complaints,
) -> Option<usize> {
    item.and_then(|item| item.size(range, complaints))
        .and_then(|bytes| usize::try_from(bytes).ok())
}
