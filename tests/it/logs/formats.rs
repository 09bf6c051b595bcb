//! What the lines say, field by field.

use serde_json::Value;

use super::*;

/// The names of spec 9.1, in their order.
const FIELDS: &str = "remote_addr request_id api_id user_id app_id time_local request_time request_method scheme host \
    router_uri server_protocol status bytes_sent request_length http_user_agent http_x_forwarded_for upstream_addr \
    upstream_uri upstream_status upstream_connect_time upstream_header_time upstream_response_time region_id \
    all_upstream_response_time errorType auth_type access_model1 access_model2 inner_time proxy_protocol_vni \
    proxy_protocol_vpce_id proxy_protocol_addr body_bytes_sent api_name app_name provider_app_id provider_app_name \
    custom_data_log1 custom_data_log2 custom_data_log3 custom_data_log4 custom_data_log5 custom_data_log6 \
    custom_data_log7 custom_data_log8 custom_data_log9 custom_data_log10 response_source gzip_ratio upstream_scheme \
    group_id apig_err_code function_urn";

/// The value of a field by its name.
fn of<'a>(fields: &'a [String], name: &str) -> &'a str {
    let at = FIELDS.split(' ').position(|known| known == name).unwrap();
    &fields[at]
}

fn milliseconds(value: &Value) -> f64 {
    let value = value.as_f64().unwrap();
    assert!((0.0..60_000.0).contains(&value), "{value}");
    value
}

#[test]
fn json_has_a_line_when_a_tunnel_opens_and_one_when_it_ends() {
    let backend = backend();
    let program = Ringgate::run(&settings(backend.address, ""));
    let (id, _, _) = tunnel(&program);
    let lines = lines(&access_log(&program), 2);
    let [open, end] = [&lines[0], &lines[1]].map(|line| json(line));
    for (line, event) in [(&open, "tunnel_open"), (&end, "tunnel_close")] {
        assert_eq!(line["event"], event);
        assert_eq!(line["id"], id);
        assert_eq!(line["api"], "API01");
        assert_eq!(line["group"], "DEFAULT");
        assert_eq!(line["environment"], "RELEASE");
        assert_eq!(line["backend"], backend.address.to_string());
        assert_eq!(line["status"], 101);
        assert!(line["client"].as_str().unwrap().starts_with("127.0.0.1:"));
        milliseconds(&line["handshake_ms"]);
    }
    assert_eq!(open["host"], "127.0.0.1");
    assert_eq!(open["target"], "/hello?room=7&token=***");
    assert_eq!(open["user_agent"], AGENT);
    assert_eq!(open["client_ip"], "127.0.0.1");
    assert!(milliseconds(&open["connect_ms"]) <= milliseconds(&open["answer_ms"]));
    // Two frames of 11 bytes and a Close of 8 from the client; of 7 and 4 from the backend, unmasked.
    assert_eq!(end["bytes_from_client"], 30);
    assert_eq!(end["bytes_from_backend"], 18);
    assert_eq!(end["messages_from_client"], 2);
    assert_eq!(end["messages_from_backend"], 2);
    assert_eq!(end["close_code_client"], 4001);
    assert_eq!(end["close_code_backend"], 4001);
    assert_eq!(end["closed_by"], "client");
    assert_eq!(end["reason"], "finished");
    assert_eq!(end["blame"], "nobody");
    milliseconds(&end["duration_ms"]);
}

#[test]
fn the_cloud_format_has_54_fields_of_a_tunnel() {
    let backend = backend();
    let program = Ringgate::run(&settings(backend.address, "access_format = \"apig\""));
    let (id, asked, answered) = tunnel(&program);
    let lines = lines(&access_log(&program), 1);
    assert_eq!(lines.len(), 1, "the cloud writes one line a call");
    let fields = split(&lines[0]);
    assert_eq!(fields.len(), 54, "{fields:?}");
    let agent = String::from_utf8_lossy(AGENT.as_bytes());
    for (name, expected) in [
        ("remote_addr", "127.0.0.1"),
        ("request_id", &id),
        ("user_id", "-"),
        ("request_method", "GET"),
        ("scheme", "http"),
        ("host", "127.0.0.1"),
        ("router_uri", "/hello?room=7&token=***"),
        ("server_protocol", "HTTP/1.1"),
        ("status", "101"),
        ("bytes_sent", &(answered + 18).to_string()),
        ("request_length", &(asked + 30).to_string()),
        ("http_user_agent", &agent),
        ("http_x_forwarded_for", "198.51.100.1"),
        ("upstream_addr", &backend.address.to_string()),
        ("upstream_uri", "/?room=7&token=***"),
        ("upstream_status", "101"),
        ("errorType", "0"),
        ("auth_type", "NONE"),
        ("body_bytes_sent", "18"),
        ("api_name", "API01"),
        ("custom_data_log1", "-"),
        ("custom_data_log10", "-"),
        ("response_source", "remote"),
        ("gzip_ratio", "-"),
        ("upstream_scheme", "http"),
        ("group_id", "DEFAULT"),
        ("apig_err_code", "-"),
        ("function_urn", "-"),
    ] {
        assert_eq!(of(&fields, name), expected, "{name}");
    }
    assert_eq!(of(&fields, "api_id").len(), 32);
    let seconds = |name| -> f64 { of(&fields, name).parse().unwrap() };
    assert!(seconds("upstream_connect_time") <= seconds("upstream_header_time"));
    assert!(seconds("upstream_header_time") <= seconds("upstream_response_time"));
    assert!(seconds("inner_time") <= seconds("request_time"));
    assert!(of(&fields, "time_local").ends_with(" +0000"));
}

#[test]
fn the_cloud_format_has_54_fields_of_a_call() {
    let backend = backend();
    for format in ["apig", "apig_json"] {
        let log = format!("access_format = \"{format}\"");
        let program = Ringgate::run(&settings(backend.address, &log));
        let (answer, asked) = call(&program);
        assert_eq!(answer.status, 200);
        let mut client = program.connect();
        let refused = client.ask(request("GET /other HTTP/1.1", &[("Host", "127.0.0.1")]));
        assert_eq!(refused.status, 404);
        let lines = lines(&access_log(&program), 2);
        let [called, refused_line] = [&lines[0], &lines[1]].map(|line| match format {
            "apig" => split(line),
            _ => {
                // In their order, and with numbers for numbers.
                let at = |name| line.find(&format!("\"{name}\":")).unwrap();
                assert!(FIELDS.split(' ').is_sorted_by_key(at), "{line}");
                let line = json(line);
                let text = |name| match &line[name] {
                    Value::Null => "-".to_owned(),
                    Value::String(text) => text.clone(),
                    number => number.to_string(),
                };
                FIELDS.split(' ').map(text).collect()
            }
        });
        let sent = answer.head.len() + 3;
        for (fields, name, expected) in [
            (&called, "request_id", answer.request_id()),
            (&called, "status", "200"),
            (&called, "upstream_status", "200"),
            (&called, "request_length", &asked.to_string()),
            (&called, "bytes_sent", &sent.to_string()),
            (&called, "body_bytes_sent", "3"),
            (&called, "response_source", "remote"),
            (&called, "router_uri", "/hello?room=7&token=***"),
            (&called, "upstream_uri", "/?room=7&token=***"),
            (&called, "api_name", "API01"),
            (&refused_line, "request_id", refused.request_id()),
            (&refused_line, "status", "404"),
            (&refused_line, "router_uri", "/other"),
            (&refused_line, "response_source", "local"),
            (&refused_line, "apig_err_code", "APIG.0101"),
            (&refused_line, "upstream_addr", "-"),
            (&refused_line, "upstream_status", "-"),
            (&refused_line, "upstream_response_time", "-"),
            (
                &refused_line,
                "body_bytes_sent",
                &refused.body.len().to_string(),
            ),
            (&refused_line, "api_name", "-"),
        ] {
            assert_eq!(of(fields, name), expected, "{name} in {format}");
        }
    }
}

#[test]
fn a_call_has_a_line_of_json() {
    let backend = backend();
    let program = Ringgate::run(&settings(backend.address, ""));
    let (answer, _) = call(&program);
    let line = json(&lines(&access_log(&program), 1)[0]);
    for (name, expected) in [
        ("event", Value::from("call")),
        ("id", answer.request_id().into()),
        ("api", "API01".into()),
        ("method", "GET".into()),
        ("target", "/hello?room=7&token=***".into()),
        ("status", 200.into()),
        ("reason", "answered".into()),
        ("bytes_from_backend", 3.into()),
        ("bytes_sent", (answer.head.len() + 3).into()),
        ("user_agent", AGENT.into()),
    ] {
        assert_eq!(line[name], expected, "{name}");
    }
}

#[test]
fn a_tunnel_that_lives_long_has_a_line_now_and_then() {
    let backend = backend();
    let program = Ringgate::run(&settings(backend.address, "access_interval = \"1s\""));
    let mut client = program.connect();
    let id = client.upgrade("/hello").request_id().to_owned();
    client.send(masked(TEXT, b"12345"));
    client.read_frame();
    let lines = lines(&access_log(&program), 3);
    for (line, seconds) in lines[1..3].iter().map(|line| json(line)).zip([1.0, 2.0]) {
        assert_eq!(line["event"], "tunnel_progress");
        assert_eq!(line["id"], id);
        assert_eq!(line["bytes_from_client"], 11);
        assert_eq!(line["messages_from_backend"], 1);
        assert!(line["duration_ms"].as_f64().unwrap() >= seconds * 1000.0);
    }
    // A reload ends them.
    settings(backend.address, "").write(&program.workspace);
    let directory = program.workspace.path("");
    let answer = command(&["reload", "-c", "ringgate.toml"], &directory);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    client.send(masked(TEXT, b"12345"));
    assert_eq!(client.read_frame().payload, b"12345");
}
