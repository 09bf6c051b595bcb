//! Checking an opening handshake, from the parsed request to the proof that the backend's 101 is right.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringgate::proto::handshake::{accept_value, check_answer, check_request};
use ringgate::proto::head::{HeadLimits, parse_request, parse_response};

const REQUEST: &[u8] = b"GET /chat HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    Sec-WebSocket-Protocol: chat\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

const LIMITS: HeadLimits = HeadLimits {
    target_bytes_max: 32 << 10,
    field_bytes_max: 32 << 10,
    fields_bytes_max: 128 << 10,
};

fn handshake(c: &mut Criterion) {
    let mut group = c.benchmark_group("handshake");
    group.bench_function("accept value", |b| {
        b.iter(|| accept_value(black_box(b"dGhlIHNhbXBsZSBub25jZQ==")));
    });
    let request = parse_request(REQUEST, &LIMITS);
    let answer = parse_response(ANSWER, &LIMITS);
    let (Ok(Some(request)), Ok(Some(answer))) = (request, answer) else {
        unreachable!("both heads are right");
    };
    let Ok(facts) = request.check(REQUEST) else {
        unreachable!("the request is right");
    };
    group.bench_function("check the request", |b| {
        b.iter(|| check_request(black_box(&request), &facts, REQUEST));
    });
    let Ok(offer) = check_request(&request, &facts, REQUEST) else {
        unreachable!("the request is an upgrade");
    };
    group.bench_function("check the answer", |b| {
        b.iter(|| check_answer(black_box(&answer), ANSWER, &offer, REQUEST));
    });
    group.finish();
}

criterion_group!(benches, handshake);
criterion_main!(benches);
