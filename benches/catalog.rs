//! Look-up of an API among 10, 1,000 and 100,000, which may not slow down with their number, and loading 10,000.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ringgate::catalog::{Catalog, Query};
use ringgate::config::{Config, Scheme};
use ringgate::definition::{self, Definition};

fn look_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("catalog");
    for count in [10, 1_000, 100_000] {
        let catalog = catalog(count);
        for (name, path) in [
            ("hit", format!("/service/{}/socket", count / 2)),
            ("miss", "/service/none/socket".to_owned()),
            ("escaped", format!("/service/%2e/{}/socket", count / 2)),
        ] {
            let query = Query {
                scheme: Scheme::Https,
                inbound: ([192, 0, 2, 1], 443).into(),
                host: "192.0.2.1",
                method: "GET",
                path: &path,
                stage: None,
            };
            group.bench_with_input(BenchmarkId::new(name, count), &query, |bencher, query| {
                bencher.iter(|| catalog.route(black_box(query)).is_ok());
            });
        }
    }
    group.finish();
}

fn load(criterion: &mut Criterion) {
    let (text, rich) = (text(10_000), rich(10_000));
    let mut group = criterion.benchmark_group("definition");
    group.sample_size(10);
    group.bench_function("load/10000", |bencher| {
        bencher.iter(|| built(black_box(&text)))
    });
    group.bench_function("load-rich/10000", |bencher| {
        bencher.iter(|| read(black_box(&rich)))
    });
    group.finish();
}

fn catalog(count: usize) -> Catalog {
    built(&text(count))
}

fn text(count: usize) -> String {
    let mut text = String::from("swagger: '2.0'\ninfo: {title: DEFAULT}\npaths:\n");
    for index in 0..count {
        text.push_str(&format!(
            "  /service/{index}/socket: {{get: {{operationId: socket{index}, x-apigateway-backend: {{type: HTTP, \
             httpEndpoints: {{address: '127.0.0.1:9000', scheme: http, method: GET, path: /}}}}}}}}\n"
        ));
    }
    text
}

/// As exports write it: every API with parameters, a policy, and all that says nothing.
fn rich(count: usize) -> String {
    let mut text = String::from("swagger: '2.0'\ninfo: {title: DEFAULT}\npaths:\n");
    for index in 0..count {
        text.push_str(&format!(
            "  /service/{index}/{{room}}:
    get:
      operationId: socket{index}
      description: a session in a room
      schemes: [https]
      parameters:
      - {{name: room, in: path, required: true, type: string, maxLength: 32, minLength: 0}}
      - {{name: channel, in: query, type: string, default: stable, enum: [stable, beta], x-apigateway-pass-through: always}}
      responses:
        default: {{description: default response, x-apigateway-result-normal-sample: '', x-apigateway-result-failure-sample: ''}}
      x-apigateway-request-type: public
      x-apigateway-match-mode: NORMAL
      x-apigateway-cors: false
      x-apigateway-is-send-fg-body-base64: true
      x-apigateway-response: default
      x-apigateway-backend:
        type: HTTP
        parameters:
        - {{name: X-Room, value: room, in: header, origin: REQUEST}}
        - {{name: X-Edge, value: '1', in: header, origin: CONSTANT}}
        httpEndpoints: {{address: '127.0.0.1:9000', scheme: http, method: GET, path: '/{{room}}', timeout: 60000, retryCount: '-1'}}
      x-apigateway-backend-policies:
      - name: canary
        type: HTTP
        conditions:
        - {{type: equal, value: beta, origin: request, parameter: channel}}
        - {{type: pattern, value: '^test-\\w+$', origin: request, parameter: room}}
        httpEndpoints: {{address: '127.0.0.1:9001', scheme: http, method: GET, path: /, timeout: 60000}}
"
        ));
    }
    text
}

fn read(text: &str) -> Definition {
    let (definition, complaints) =
        definition::parse("bench.yaml", text, &["RELEASE".to_owned()], &Config::base());
    assert!(complaints.is_empty(), "{complaints:?}");
    definition.unwrap_or_else(|| unreachable!())
}

fn built(text: &str) -> Catalog {
    let config = Config::base();
    let definitions = [read(text)];
    let catalog = Catalog::build(&config, &definitions);
    assert!(catalog.is_ok(), "{:?}", catalog.err());
    catalog.unwrap_or_else(|_| unreachable!())
}

criterion_group!(benches, look_up, load);
criterion_main!(benches);
