//! The wheel with as many timers as a worker has tunnels.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringgate::timer::Wheel;

/// Ticks until a timer is due: a minute of 100 ms, spread by id.
fn delay(id: u32) -> u64 {
    600 + u64::from(id.wrapping_mul(2_654_435_761) >> 22)
}

fn filled(timers: u32) -> Wheel {
    let mut wheel = Wheel::new(0, timers as usize);
    for id in 0..timers {
        wheel.schedule(id, delay(id));
    }
    wheel
}

fn timer(c: &mut Criterion) {
    for timers in [20_000u32, 100_000] {
        let mut group = c.benchmark_group("timer");
        group.throughput(Throughput::Elements(u64::from(timers)));
        group.bench_function(BenchmarkId::new("insert", timers), |b| {
            b.iter(|| filled(timers));
        });
        group.bench_function(BenchmarkId::new("cancel and insert", timers), |b| {
            let mut wheel = filled(timers);
            b.iter(|| {
                for id in 0..timers {
                    wheel.schedule(id, delay(id ^ 1));
                }
            });
        });
        group.bench_function(BenchmarkId::new("expire and insert", timers), |b| {
            let mut wheel = filled(timers);
            let mut now = 0;
            b.iter(|| {
                let mut expired = 0;
                while expired < timers {
                    now += 1;
                    while let Some(id) = wheel.pop(now) {
                        wheel.schedule(id, now + delay(id));
                        expired += 1;
                    }
                }
            });
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("advance, nothing due", timers), |b| {
            let mut wheel = filled(timers);
            let mut now = 0;
            b.iter(|| {
                now = (now + 1) % 600;
                black_box(wheel.pop(now))
            });
        });
        group.finish();
    }
}

criterion_group!(benches, timer);
criterion_main!(benches);
