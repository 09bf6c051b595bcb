//! Look-up of an API among 10, 1,000 and 100,000, which may not slow down with their number, and loading 10,000.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ringgate::catalog::{Catalog, Query};
use ringgate::config::{Config, Scheme};
use ringgate::definition;

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
    let text = text(10_000);
    let mut group = criterion.benchmark_group("definition");
    group.sample_size(10);
    group.bench_function("load/10000", |bencher| {
        bencher.iter(|| built(black_box(&text)))
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

fn built(text: &str) -> Catalog {
    let config = Config::base();
    let (definition, complaints) =
        definition::parse("bench.yaml", text, &["RELEASE".to_owned()], &config);
    assert!(complaints.is_empty(), "{complaints:?}");
    let definitions: Vec<_> = definition.into_iter().collect();
    let catalog = Catalog::build(&config, &definitions);
    assert!(catalog.is_ok(), "{:?}", catalog.err());
    catalog.unwrap_or_else(|_| unreachable!())
}

criterion_group!(benches, look_up, load);
criterion_main!(benches);
