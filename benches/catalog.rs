//! Look-up of an API among 10, 1,000 and 100,000, which may not slow down with their number; building as many, and loading
//! 10,000 from a file.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ringgate::catalog::{Catalog, MatchMode, Query};
use ringgate::config::{Config, Scheme};
use ringgate::definition::{self, ApiDefinition, Definition};

fn look_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("catalog");
    for count in [10, 1_000, 100_000] {
        let catalog = built(&definition(count));
        let index = count / 6;
        for (name, path) in [
            ("literal", format!("/service/{index}/socket")),
            ("parameter", format!("/users/{index}/list/{index}")),
            ("prefix", format!("/files/{index}/some/longer/way")),
            ("miss", "/service/none/socket".to_owned()),
            ("escaped", format!("/service/%2e/{index}/%73ocket")),
        ] {
            let query = query(&path);
            assert_eq!(catalog.route(&query).is_ok(), name != "miss", "{path}");
            group.bench_with_input(BenchmarkId::new(name, count), &query, |bencher, query| {
                bencher.iter(|| catalog.route(black_box(query)).is_ok());
            });
        }
    }
    let catalog = built(&definition(1_000));
    let path = format!("/files/1/{}", "a/".repeat(16_000));
    group.bench_function("prefix/32KiB", |bencher| {
        bencher.iter(|| catalog.route(black_box(&query(&path))).is_ok());
    });
    group.finish();
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("catalog");
    group.sample_size(10);
    let definition = definition(100_000);
    group.bench_function("build/100000", |bencher| {
        bencher.iter(|| built(black_box(&definition)))
    });
    group.finish();
}

fn load(criterion: &mut Criterion) {
    let (text, rich) = (text(10_000), rich(10_000));
    let mut group = criterion.benchmark_group("definition");
    group.sample_size(10);
    group.bench_function("load/10000", |bencher| {
        bencher.iter(|| built(&parsed(black_box(&text))))
    });
    group.bench_function("load-rich/10000", |bencher| {
        bencher.iter(|| parsed(black_box(&rich)))
    });
    group.finish();
}

fn query(path: &str) -> Query<'_> {
    Query {
        scheme: Scheme::Https,
        inbound: ([192, 0, 2, 1], 443).into(),
        host: "192.0.2.1",
        method: "GET",
        path,
        stage: None,
    }
}

/// So many APIs: by turns literals, parameters between literals, and prefixes.
fn definition(count: usize) -> Definition {
    let mut definition = parsed(&text(1));
    let template = definition.apis.pop();
    let paths = (0..count).flat_map(|index| {
        [
            (format!("/service/{index}/socket"), MatchMode::Normal),
            (format!("/users/{{user}}/list/{index}"), MatchMode::Normal),
            (format!("/files/{index}"), MatchMode::Prefix),
        ]
    });
    definition.apis = paths
        .take(count)
        .zip(template.iter().cycle())
        .enumerate()
        .map(|(number, ((path, match_mode), template))| ApiDefinition {
            name: format!("api{number}"),
            path,
            match_mode,
            ..template.clone()
        })
        .collect();
    definition
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

fn parsed(text: &str) -> Definition {
    let environments = ["RELEASE".to_owned()];
    let (definition, complaints) =
        definition::parse("bench.yaml", text, &environments, &Config::base());
    assert!(complaints.is_empty(), "{complaints:?}");
    definition.unwrap_or_else(|| unreachable!())
}

fn built(definition: &Definition) -> Catalog {
    let catalog = Catalog::build(&Config::base(), std::slice::from_ref(definition));
    assert!(catalog.is_ok(), "{:?}", catalog.err());
    catalog.unwrap_or_else(|_| unreachable!())
}

criterion_group!(benches, look_up, build, load);
criterion_main!(benches);
