//! Scanning frames as they come from a socket: small ones, one or many to a segment, and large ones over many segments.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringgate::proto::frame::{FrameScanner, Masking, Tally};
use ringgate::proto::handshake::Extensions;

/// A segment as large as a provided buffer.
const SEGMENT_BYTES: usize = 64 << 10;

/// A masked binary frame.
fn frame(payload_len: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    match u16::try_from(payload_len) {
        Ok(len @ 0..=125) => frame.push(0x80 | len.to_be_bytes()[1]),
        Ok(len) => {
            frame.push(0x80 | 126);
            frame.extend(len.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((payload_len as u64).to_be_bytes());
        }
    }
    frame.extend([1, 2, 3, 4]);
    frame.resize(frame.len() + payload_len, 7);
    frame
}

/// Scans `stream` in segments of `segment` bytes.
fn scan(scanner: &mut FrameScanner, stream: &[u8], segment: usize) -> Tally {
    let mut tally = Tally::default();
    for bytes in stream.chunks(segment) {
        let _scan = black_box(scanner.scan(black_box(bytes), 0, &mut tally));
    }
    tally
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    for (name, payload, count, segment) in [
        ("64 B, one a segment", 64, 1, SEGMENT_BYTES),
        ("64 B, 100 a segment", 64, 100, SEGMENT_BYTES),
        ("64 B, cut in the header", 64, 2, 3),
        ("16 KiB", 16 << 10, 1, SEGMENT_BYTES),
        ("1 MiB in segments", 1 << 20, 1, SEGMENT_BYTES),
    ] {
        let stream = frame(payload).repeat(count);
        let mut scanner = FrameScanner::new(Masking::Required, Extensions::None);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |b| {
            b.iter(|| scan(&mut scanner, &stream, segment));
        });
    }
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
