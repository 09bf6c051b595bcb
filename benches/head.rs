//! Parsing request heads: at once, and a seeker that gets them byte by byte.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringgate::proto::head::{HeadLimits, HeadSeeker, parse_request, resume_request};

/// What a browser sends to open a WebSocket.
const BROWSER: &[u8] = b"GET /hello?room=4711 HTTP/1.1\r\n\
    Host: gateway.example.com\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\n\
    Origin: https://www.example.com\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-US,en;q=0.9\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

const LIMITS: HeadLimits = HeadLimits {
    target_bytes_max: 32 << 10,
    field_bytes_max: 32 << 10,
    fields_bytes_max: 128 << 10,
};

fn head(c: &mut Criterion) {
    let mut group = c.benchmark_group("head");
    group.throughput(Throughput::Bytes(BROWSER.len() as u64));
    group.bench_function("seek", |b| {
        b.iter(|| HeadSeeker::request().seek(black_box(BROWSER), &LIMITS));
    });
    group.bench_function("parse", |b| {
        b.iter(|| parse_request(black_box(BROWSER), &LIMITS));
    });
    let parsed = parse_request(BROWSER, &LIMITS);
    if let Ok(Some(parsed)) = parsed {
        group.bench_function("check", |b| b.iter(|| parsed.check(black_box(BROWSER))));
    }
    group.bench_function("parse, byte by byte", |b| {
        b.iter(|| {
            let mut seeker = HeadSeeker::request();
            let prefixes = (1..=BROWSER.len()).filter_map(|len| BROWSER.get(..len));
            prefixes.fold(None, |_, prefix| {
                resume_request(&mut seeker, black_box(prefix), &LIMITS).ok()
            })
        });
    });
    group.finish();
}

criterion_group!(benches, head);
criterion_main!(benches);
