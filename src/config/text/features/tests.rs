use std::time::Duration;

use crate::config::text::tests::check;
use crate::config::{ClientAddress, Config, PathEscapes};
use crate::document::Severity;

const LEAST: &str = "listeners = [{ address = \"0.0.0.0:80\", protocol = \"http\" }]\ndefinitions = [{ files = [\"a.yaml\"] }]\n";

/// The configuration that `text` gives, and its warnings.
fn read(text: &str) -> (Config, Vec<String>) {
    let draft = crate::config::text::read("ringgate.toml", &format!("{LEAST}{text}"));
    let mut warnings = Vec::new();
    for complaint in draft.complaints {
        assert_eq!(complaint.severity, Severity::Warning, "{complaint}");
        warnings.push(complaint.to_string());
    }
    (draft.config, warnings)
}

#[test]
fn every_form_of_a_feature_is_understood() {
    for text in [
        "[features]\nrequest_body_size = 104857600",
        "[features]\nrequest_body_size = \"104857600\"",
        "[features]\nrequest_body_size = \"100MiB\"",
        "[features]\nrequest_body_size = { enable = true, config = \"104857600\" }",
        "[[features]]\nname = \"request_body_size\"\nenable = true\nconfig = \"104857600\"\nupdate_time = \"x\"",
    ] {
        let (config, warnings) = read(text);
        assert_eq!(config.limits.request_body_bytes_max, 100 << 20, "{text}");
        assert_eq!(warnings, [""; 0], "{text}");
    }
    for text in [
        "backend_timeout = { max_timeout = 500 }",
        "backend_timeout = '{\"max_timeout\":500}'",
        "backend_timeout = 500",
        "backend_timeout = \"500ms\"",
    ] {
        let (config, _) = read(&format!("[features]\n{text}"));
        let timeout = config.definitions.backend_timeout_max;
        assert_eq!(timeout, Duration::from_millis(500), "{text}");
    }
    for text in [
        "request_custom_config = { request_body_timeout = 20 }",
        "request_custom_config = '{\"http2_enable\":\"off\",\"request_body_timeout\":\"20s\"}'",
    ] {
        let (config, warnings) = read(&format!("[features]\n{text}"));
        assert_eq!(
            config.timeouts.request_body,
            Duration::from_secs(20),
            "{text}"
        );
        assert_eq!(warnings, [""; 0], "{text}");
    }
}

#[test]
fn features_about_addresses_and_paths_are_settings() {
    let client = |text: &str| {
        read(&format!("[features]\n{text}"))
            .0
            .routing
            .client_address
    };
    for (text, index) in [
        ("real_ip_from_xff = \"on\"", -1),
        ("real_ip_from_xff = true", -1),
        ("real_ip_from_xff = 2", 2),
        ("real_ip_from_xff = { enable = \"on\", xff_index = 0 }", 0),
        (
            "real_ip_from_xff = '{\"enable\":\"on\",\"xff_index\":-3}'",
            -3,
        ),
    ] {
        assert_eq!(
            client(text),
            ClientAddress::ForwardedFor { index },
            "{text}"
        );
    }
    for off in [
        "real_ip_from_xff = \"off\"",
        "real_ip_from_xff = { enable = \"off\", xff_index = 0 }",
        "real_ip_from_xff = { enable = false, config = '{\"enable\":\"on\",\"xff_index\":-3}' }",
    ] {
        assert_eq!(client(off), ClientAddress::Peer, "{off}");
    }
    assert_eq!(
        client("real_ip_header_getter = { enable = \"on\", header_getter = \"header:testIP\" }"),
        ClientAddress::Field("testIP".to_owned())
    );
    let (config, warnings) = read(
        "[features]\napi_uri_no_escape = \"on\"\npolicy_cookie_param = \"on\"\nvpc_name_modifiable = \"on\"\n\
         default_group_host_trustlist = { enable = \"on\", hosts = [\"203.0.113.2\"] }",
    );
    assert_eq!(config.routing.path_escapes, PathEscapes::Kept);
    assert_eq!(config.routing.inbound_addresses.len(), 1);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn what_is_not_enforced_is_said_where_it_is_on() {
    for (text, said) in [
        (
            "gzip = { enable = \"on\", comp_level = 6 }",
            Some("`gzip` is not enforced"),
        ),
        ("gzip = \"off\"", None),
        ("app_secret = \"on\"", Some("`app_secret` is not enforced")),
        (
            "ratelimit = '{\"api_limits\":500}'",
            Some("`ratelimit` is not enforced"),
        ),
        (
            "ratelimit = { enable = false, config = '{\"api_limits\":500}' }",
            None,
        ),
        (
            "request_custom_config = { http2 = \"on\" }",
            Some("HTTP/2 is not offered"),
        ),
        ("breaker = true", None),
    ] {
        let (_, warnings) = read(&format!("[features]\n{text}"));
        match said {
            Some(said) => {
                assert_eq!(warnings.len(), 1, "{text}: {warnings:?}");
                assert!(warnings[0].contains(said), "{text}: {warnings:?}");
                assert!(warnings[0].starts_with("ringgate.toml:4:"), "{warnings:?}");
            }
            None => assert_eq!(warnings, [""; 0], "{text}"),
        }
    }
}

#[test]
fn mistakes_in_features_are_errors() {
    for (text, column, key, said) in [
        (
            "request_body_sise = 5",
            21,
            "request_body_sise",
            "unknown feature `request_body_sise`; did you mean `request_body_size`?",
        ),
        (
            "colour = 5",
            10,
            "colour",
            "unknown feature `colour`; remove it",
        ),
        (
            "request_body_size = 1048575",
            21,
            "request_body_size",
            "1MiB to 9536MiB is allowed",
        ),
        (
            "request_body_size = \"9999220737\"",
            21,
            "request_body_size",
            "too large",
        ),
        (
            "request_body_size = true",
            21,
            "request_body_size",
            "a boolean is not a number of bytes",
        ),
        (
            "backend_timeout = { max_timeout = 0 }",
            35,
            "backend_timeout.max_timeout",
            "1 to 600000 is allowed",
        ),
        (
            "backend_timeout = '{\"max_timeout\":600001}'",
            19,
            "backend_timeout.max_timeout",
            "600001 is too large",
        ),
        (
            "backend_timeout = '{\"max_timeout\":'",
            19,
            "backend_timeout",
            "its JSON cannot be read",
        ),
        (
            "backend_timeout = '{\"max_timeot\":5, \"max_timeout\":5}'",
            19,
            "backend_timeout.max_timeot",
            "did you mean `max_timeout`?",
        ),
        (
            "request_custom_config = { request_body_timeout = 8000 }",
            50,
            "request_custom_config.request_body_timeout",
            "1 to 3600 is allowed",
        ),
        (
            "request_custom_config = { body = 8 }",
            34,
            "request_custom_config.body",
            "unknown key `body`",
        ),
        (
            "real_ip_from_xff = { xff_indx = 0 }",
            22,
            "real_ip_from_xff.xff_indx",
            "did you mean `xff_index`?",
        ),
        (
            "real_ip_from_xff = { enable = \"maybe\" }",
            20,
            "real_ip_from_xff",
            "neither on nor off",
        ),
        (
            "real_ip_header_getter = \"on\"",
            25,
            "real_ip_header_getter",
            "is not a table",
        ),
        (
            "real_ip_header_getter = { header_getter = \"X-A\" }",
            43,
            "real_ip_header_getter.header_getter",
            "such as \"header:X-Real-IP\"",
        ),
        (
            "default_group_host_trustlist = { hosts = [\"a.b\"] }",
            43,
            "default_group_host_trustlist.hosts[0]",
            "is not an IP address",
        ),
        (
            "real_ip_from_xff = true\nreal_ip_header_getter = { header_getter = \"header:A\" }",
            25,
            "real_ip_header_getter",
            "`real_ip_header_getter` and `real_ip_from_xff` on line 5 set the same thing",
        ),
    ] {
        let line = if text.contains('\n') { 3 } else { 2 };
        check(
            &format!("[features]\n{text}"),
            line,
            column,
            &format!("features.{key}"),
            said,
        );
    }
}

#[test]
fn a_feature_and_its_setting_are_not_given_both() {
    for (feature, setting) in [
        (
            "request_body_size = 2000000",
            "[limits]\nrequest_body_bytes_max = 5",
        ),
        (
            "request_custom_config = { request_body_timeout = 8 }",
            "[timeouts]\nrequest_body = \"8s\"",
        ),
        (
            "backend_timeout = 5",
            "[limits]\nbackend_timeout_max = \"5ms\"",
        ),
        (
            "real_ip_from_xff = true",
            "[routing]\nclient_address = \"peer\"",
        ),
        (
            "real_ip_header_getter = { header_getter = \"header:A\" }",
            "[routing]\nclient_address = \"peer\"",
        ),
        (
            "default_group_host_trustlist = { hosts = [] }",
            "[routing]\ninbound_addresses = []",
        ),
        (
            "api_uri_no_escape = true",
            "[routing]\npath_escapes = \"keep\"",
        ),
    ] {
        let text = format!("{LEAST}{setting}\n[features]\n{feature}");
        let found = Config::from_text("ringgate.toml", &text).unwrap_err();
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        let said = found[0].to_string();
        let key = setting.lines().nth(1).unwrap().split(' ').next().unwrap();
        let name = feature.split(' ').next().unwrap();
        assert!(
            said.contains(&format!(".{key}` on line 4")) && said.contains(name),
            "{said}"
        );
        // A feature that is off says nothing.
        let off = format!("{LEAST}{setting}\n[features]\n{name} = \"off\"");
        assert!(Config::from_text("ringgate.toml", &off).is_ok(), "{off}");
    }
}

proptest::proptest! {
    #[test]
    fn no_value_of_a_feature_is_too_much(json in "\\{[ -&(-~]{0,40}\\}?", name in 0_usize..47) {
        let name = super::names().nth(name).unwrap();
        let text = format!("{LEAST}[features]\n{name} = '{json}'");
        // Whatever it is, it is taken or complained about at its place.
        for complaint in Config::from_text("ringgate.toml", &text).err().unwrap_or_default() {
            proptest::prop_assert!(complaint.line == 4 && !complaint.remedy.is_empty(), "{complaint}");
        }
    }
}
