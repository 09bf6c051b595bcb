use super::*;
use crate::config::Config;
use crate::config::text::tests::{check, complaints};

const HEAD: &str = "[[orchestrations]]\norchestration_name = \"rule\"\n";
const TARGET: &str = "orchestration_mapped_param = { mapped_param_name = \"x-t\", mapped_param_type = \"string\", mapped_param_location = \"header\" }\n";

fn rule(rest: &str) -> Orchestration {
    let text = format!(
        "listeners = [{{ address = \"0.0.0.0:80\", protocol = \"http\" }}]\ndefinitions = [{{ files = [\"a\"] }}]\n{HEAD}{TARGET}{rest}"
    );
    let config = Config::from_text("ringgate.toml", &text).unwrap();
    config
        .definitions
        .orchestrations
        .into_iter()
        .next()
        .unwrap()
}

#[test]
fn every_strategy_is_read() {
    let text = str::to_owned;
    let range = "orchestration_map = [{ map_param_range = { range_start = \"0\", range_end = \"9223372036854775807\" }, mapped_param_value = \"a\" }]";
    let ranges = vec![(0, 9_223_372_036_854_775_807, text("a"))];
    for (strategy, map, expected) in [
        (
            "list",
            "orchestration_map = [{ map_param_list = [\"a-1\", \"b_2\"], mapped_param_value = \"v1\" }]",
            Strategy::List(vec![(vec![text("a-1"), text("b_2")], text("v1"))]),
        ),
        ("range", range, Strategy::Range(ranges.clone())),
        ("hash_range", range, Strategy::HashRange(ranges)),
        ("hash", "", Strategy::Hash),
        ("hash", "orchestration_map = []", Strategy::Hash),
        (
            "none_value",
            "orchestration_map = [{ mapped_param_value = \"v\" }]",
            Strategy::NoneValue(text("v")),
        ),
        (
            "default",
            "orchestration_map = [{ mapped_param_value = \"v\" }]",
            Strategy::Default(text("v")),
        ),
        (
            "head_n",
            "orchestration_map = [{ intercept_length = 100 }]",
            Strategy::Head(100),
        ),
        (
            "tail_n",
            "orchestration_map = [{ intercept_length = 1 }]",
            Strategy::Tail(1),
        ),
    ] {
        let rule = rule(&format!("orchestration_strategy = \"{strategy}\"\n{map}"));
        assert_eq!(rule.strategy, expected, "{strategy}");
        let target = rule.target.unwrap();
        assert_eq!(
            (target.name.as_str(), target.location),
            ("x-t", TargetLocation::Header)
        );
    }
}

#[test]
fn only_a_preprocessing_rule_makes_no_parameter() {
    let hash = "orchestration_strategy = \"hash\"\n";
    assert_eq!(
        complaints(&format!("{HEAD}{hash}is_preprocessing = true\n")),
        []
    );
    for (text, line, column, key, said) in [
        (
            format!("{HEAD}{hash}"),
            1,
            1,
            "orchestrations[0]",
            "`orchestration_mapped_param` is missing",
        ),
        (
            format!("{HEAD}{hash}{TARGET}is_preprocessing = true\n"),
            4,
            30,
            "orchestrations[0].orchestration_mapped_param",
            "a preprocessing rule makes no parameter",
        ),
    ] {
        check(&text, line, column, key, said);
    }
}

#[test]
fn mistakes_in_maps_are_errors() {
    let value = |length: usize| format!("[{{ mapped_param_value = \"{}\" }}]", "v".repeat(length));
    let lists = |entries: usize, length: usize| {
        let list = vec!["\"a\""; length].join(",");
        let entry = format!("{{ map_param_list = [{list}], mapped_param_value = \"v\" }}");
        format!("[{}]", vec![entry; entries].join(","))
    };
    let range = |start: &str, end: &str| {
        format!(
            "[{{ map_param_range = {{ range_start = {start}, range_end = {end} }}, mapped_param_value = \"v\" }}]"
        )
    };
    for (strategy, map, key, said) in [
        (
            "none_value",
            value(129),
            "[0].mapped_param_value",
            "is not a result of 1 to 128",
        ),
        (
            "default",
            value(0),
            "[0].mapped_param_value",
            "is not a result",
        ),
        (
            "default",
            "[]".to_owned(),
            "",
            "the number of its entries is 0; one entry is allowed",
        ),
        (
            "default",
            "[{}]".to_owned(),
            "[0]",
            "`mapped_param_value` is missing",
        ),
        ("default", "5".to_owned(), "", "5 is not a list"),
        (
            "head_n",
            "[{ intercept_length = 0 }]".to_owned(),
            "[0].intercept_length",
            "1 to 100 is allowed",
        ),
        (
            "tail_n",
            "[{ intercept_length = 101 }]".to_owned(),
            "[0].intercept_length",
            "too large",
        ),
        (
            "head_n",
            "[{ intercept_length = 1, lenght = 2 }]".to_owned(),
            "[0].lenght",
            "unknown key",
        ),
        ("hash", value(1), "", "the strategy hash has no map"),
        (
            "list",
            lists(301, 1),
            "",
            "the number of its entries is 301; 1 to 300 entries are allowed",
        ),
        (
            "list",
            lists(300, 11),
            "",
            "are 3300; at most 3000 are allowed",
        ),
        (
            "list",
            lists(1, 0),
            "[0].map_param_list",
            "an empty list matches nothing",
        ),
        (
            "list",
            "[{ map_param_list = [\"a b\"], mapped_param_value = \"v\" }]".to_owned(),
            "[0].map_param_list[0]",
            "letters, digits, `-` and `_`",
        ),
        (
            "range",
            range("5", "4"),
            "[0].map_param_range",
            "the range ends at 4, before it starts at 5",
        ),
        (
            "range",
            range("-1", "4"),
            "[0].map_param_range.range_start",
            "-1 is too small",
        ),
        (
            "range",
            range("\"+1\"", "4"),
            "[0].map_param_range.range_start",
            "is not a number from 0",
        ),
        (
            "hash_range",
            range("\"0\"", "\"9223372036854775808\""),
            "[0].map_param_range.range_end",
            "is not a number from 0",
        ),
    ] {
        let text = format!(
            "{HEAD}{TARGET}orchestration_strategy = \"{strategy}\"\norchestration_map = {map}\n"
        );
        let found = complaints(&text);
        assert_eq!(found.len(), 1, "{map}: {found:?}");
        assert_eq!(
            found[0].key,
            format!("orchestrations[0].orchestration_map{key}"),
            "{map}"
        );
        assert!(found[0].to_string().contains(said), "{}", found[0]);
        assert_eq!(found[0].code, None, "codes are for definitions");
    }
    assert_eq!(
        complaints(&format!(
            "{HEAD}{TARGET}orchestration_strategy = \"list\"\norchestration_map = {}\n",
            lists(300, 10)
        )),
        []
    );
}

#[test]
fn rules_are_named_once() {
    let rest = format!("{TARGET}orchestration_strategy = \"hash\"\n");
    check(
        &format!("{HEAD}{rest}{HEAD}{rest}"),
        6,
        22,
        "orchestrations[1].orchestration_name",
        "there is a rule rule already",
    );
    check(
        &format!("[[orchestrations]]\norchestration_name = \"ab\"\n{rest}"),
        2,
        22,
        "orchestrations[0].orchestration_name",
        "is not a name of 3 to 64 characters",
    );
    check(
        &format!("{HEAD}{TARGET}orchestration_strategy = \"hsah\"\n"),
        4,
        26,
        "orchestrations[0].orchestration_strategy",
        "did you mean \"hash\"?",
    );
    check(
        &format!(
            "{HEAD}{}orchestration_strategy = \"hash\"\n",
            TARGET.replace("x-t", "x t")
        ),
        3,
        52,
        "orchestrations[0].orchestration_mapped_param.mapped_param_name",
        "is not a parameter name",
    );
}
