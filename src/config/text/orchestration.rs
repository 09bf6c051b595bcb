//! `[[orchestrations]]`: rules that make a new parameter out of a caller's (spec 8.10). The keys are those of the cloud's
//! API, so that exported rules can be carried over as they are.

use super::Reader;
use crate::config::{Orchestration, OrchestrationTarget, Strategy, TargetLocation};
use crate::document::{Complaints, Item, Severity, Table, Value};

/// Spec 8.10: entries of one map, and those times the length of its longest list.
const ENTRIES_MAX: usize = 300;
const LIST_PRODUCT_MAX: usize = 3000;
const LENGTH_MAX: i64 = 100;

/// What a rule does, before its map is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    List,
    Range,
    Hash,
    HashRange,
    NoneValue,
    Default,
    Head,
    Tail,
}

const KINDS: [(&str, Kind); 8] = [
    ("list", Kind::List),
    ("range", Kind::Range),
    ("hash", Kind::Hash),
    ("hash_range", Kind::HashRange),
    ("none_value", Kind::NoneValue),
    ("default", Kind::Default),
    ("head_n", Kind::Head),
    ("tail_n", Kind::Tail),
];

const LOCATIONS: [(&str, TargetLocation); 2] = [
    ("query", TargetLocation::Query),
    ("header", TargetLocation::Header),
];

/// The result is sent as text either way; the type is checked, so that a slip in it shows.
const TYPES: [(&str, ()); 2] = [("string", ()), ("number", ())];

impl Reader {
    pub(super) fn orchestration(&mut self, table: &mut Table<'_>) {
        let complaints = &mut self.complaints;
        let name = table.need(
            "orchestration_name",
            "write orchestration_name = \"by_tenant\", which `x-apigateway-orchestrations` refers to",
            complaints,
        );
        let kind = table
            .need(
                "orchestration_strategy",
                "write orchestration_strategy = \"list\" or another strategy",
                complaints,
            )
            .and_then(|item| item.choice(&KINDS, complaints));
        let target = target(table, complaints);
        let strategy = kind.and_then(|kind| strategy(kind, table, complaints));
        let Some(item) = name else { return };
        let parsed = item.parsed("a name of 3 to 64 characters", rule_name, complaints);
        let (Some(name), Some(strategy), Some(target)) = (parsed, strategy, target) else {
            return;
        };
        let place = item.place(complaints);
        let rules = &mut self.draft.config.definitions.orchestrations;
        if let Some(first) = rules.iter().find(|rule| rule.name == name) {
            let problem = format!("there is a rule {name} already: {}", first.place);
            complaints.error(&place, problem, "give one of them another name");
            return;
        }
        rules.push(Orchestration {
            name,
            strategy,
            target,
            place,
        });
    }
}

/// What a rule makes: nothing if it only prepares the input of the next one. The outer `None` is a mistake.
fn target(
    table: &mut Table<'_>,
    complaints: &mut Complaints,
) -> Option<Option<OrchestrationTarget>> {
    let preprocessing = match table.take("is_preprocessing") {
        Some(item) => item.boolean(complaints)?,
        None => false,
    };
    let item = table.take("orchestration_mapped_param");
    match item.filter(|item| !item.is_blank()) {
        None if preprocessing => Some(None),
        None => {
            let place = table.place(complaints);
            complaints.error(
                &place,
                "`orchestration_mapped_param` is missing",
                "write orchestration_mapped_param = { mapped_param_name = \"x-tenant\", mapped_param_type = \"string\", \
                 mapped_param_location = \"header\" }, or is_preprocessing = true",
            );
            None
        }
        Some(item) if preprocessing => {
            let place = item.place(complaints);
            complaints.error(
                &place,
                "a preprocessing rule makes no parameter: what it makes is the input of the next rule",
                "remove orchestration_mapped_param, or is_preprocessing",
            );
            None
        }
        Some(item) => mapped_parameter(&item, complaints).map(Some),
    }
}

fn mapped_parameter(item: &Item<'_>, complaints: &mut Complaints) -> Option<OrchestrationTarget> {
    let mut table = item.table(complaints)?;
    let name = table.need(
        "mapped_param_name",
        "write mapped_param_name = \"x-tenant\"",
        complaints,
    );
    let location = table.need(
        "mapped_param_location",
        "write mapped_param_location = \"header\" or \"query\"",
        complaints,
    );
    let typed = match table.take("mapped_param_type") {
        Some(item) => item.choice(&TYPES, complaints),
        None => Some(()),
    };
    table.finish(Severity::Error, complaints);
    let location = location.and_then(|item| item.choice(&LOCATIONS, complaints))?;
    let name = name?.parsed(
        "a parameter name of 1 to 128 characters that may stand in a header or query",
        |text| super::addresses::is_field_name(text).then(|| text.to_owned()),
        complaints,
    )?;
    typed.map(|()| OrchestrationTarget { name, location })
}

fn strategy(kind: Kind, table: &mut Table<'_>, complaints: &mut Complaints) -> Option<Strategy> {
    if kind == Kind::Hash {
        return hash(table, complaints);
    }
    let errors = complaints.errors();
    let (map, entries) = entries(kind, table, complaints)?;
    let strategy = match kind {
        Kind::List => list(&map, &entries, complaints).map(Strategy::List),
        Kind::Range => Some(Strategy::Range(ranges(&entries, complaints))),
        Kind::HashRange => Some(Strategy::HashRange(ranges(&entries, complaints))),
        Kind::NoneValue => single(&entries, result, complaints).map(Strategy::NoneValue),
        Kind::Default => single(&entries, result, complaints).map(Strategy::Default),
        Kind::Head => single(&entries, length, complaints).map(Strategy::Head),
        Kind::Tail => single(&entries, length, complaints).map(Strategy::Tail),
        Kind::Hash => None,
    };
    strategy.filter(|_| complaints.errors() == errors)
}

fn hash(table: &mut Table<'_>, complaints: &mut Complaints) -> Option<Strategy> {
    let map = table.take("orchestration_map");
    let Some(map) = map.filter(|map| !map.is_blank()) else {
        return Some(Strategy::Hash);
    };
    let place = map.place(complaints);
    complaints.error(
        &place,
        "the strategy hash has no map: its result is the hash",
        "remove orchestration_map, or write the strategy hash_range",
    );
    None
}

/// The map and its entries, of which there may be as many as the strategy takes.
fn entries<'a>(
    kind: Kind,
    table: &mut Table<'a>,
    complaints: &mut Complaints,
) -> Option<(Item<'a>, Vec<Item<'a>>)> {
    let remedy = format!("write orchestration_map = [{}]", sample(kind));
    let map = table.need("orchestration_map", &remedy, complaints)?;
    let errors = complaints.errors();
    let entries = map.list(complaints);
    let most = match kind {
        Kind::List | Kind::Range | Kind::HashRange => ENTRIES_MAX,
        Kind::NoneValue | Kind::Default | Kind::Head | Kind::Tail => 1,
        Kind::Hash => 0,
    };
    if complaints.errors() == errors && !(1..=most).contains(&entries.len()) {
        let allowed = if most == 1 {
            "one entry is".to_owned()
        } else {
            format!("1 to {most} entries are")
        };
        let place = map.place(complaints);
        complaints.error(
            &place,
            format!("the number of its entries is {}", entries.len()),
            format!("{allowed} allowed: [{}]", sample(kind)),
        );
    }
    Some((map, entries))
}

fn sample(kind: Kind) -> &'static str {
    match kind {
        Kind::List => "{ map_param_list = [\"a\", \"b\"], mapped_param_value = \"1\" }",
        Kind::Range | Kind::HashRange => {
            "{ map_param_range = { range_start = \"0\", range_end = \"99\" }, mapped_param_value = \"1\" }"
        }
        Kind::NoneValue | Kind::Default => "{ mapped_param_value = \"1\" }",
        Kind::Head | Kind::Tail => "{ intercept_length = 3 }",
        Kind::Hash => "",
    }
}

fn list(
    map: &Item<'_>,
    entries: &[Item<'_>],
    complaints: &mut Complaints,
) -> Option<Vec<(Vec<String>, String)>> {
    let mut all = Vec::new();
    for entry in entries {
        let read = |table: &mut Table<'_>, complaints: &mut Complaints| {
            let list = table.need(
                "map_param_list",
                "write map_param_list = [\"a\", \"b\"]",
                complaints,
            );
            let result = result(table, complaints);
            let list = list?;
            let values: Vec<String> = list
                .list(complaints)
                .iter()
                .filter_map(|item| {
                    let what = "a value of 1 to 128 letters, digits, `-` and `_`";
                    item.parsed(what, list_value, complaints)
                })
                .collect();
            if values.is_empty() && list.is_blank() {
                let place = list.place(complaints);
                complaints.error(&place, "an empty list matches nothing", "write its values");
            }
            Some((values, result?))
        };
        all.extend(within(entry, read, complaints));
    }
    let longest = all.iter().map(|(values, _)| values.len()).max();
    let product = all.len().saturating_mul(longest.unwrap_or(0));
    if product > LIST_PRODUCT_MAX {
        let place = map.place(complaints);
        complaints.error(
            &place,
            format!("its entries times its longest list are {product}"),
            format!("at most {LIST_PRODUCT_MAX} are allowed: split the rule in two"),
        );
        return None;
    }
    Some(all)
}

fn ranges(entries: &[Item<'_>], complaints: &mut Complaints) -> Vec<(u64, u64, String)> {
    let read = |table: &mut Table<'_>, complaints: &mut Complaints| {
        let range = table.need(
            "map_param_range",
            "write map_param_range = { range_start = \"0\", range_end = \"99\" }",
            complaints,
        );
        let result = result(table, complaints);
        let item = range?;
        let (start, end) = within(&item, bounds, complaints)?;
        if start > end {
            let place = item.place(complaints);
            complaints.error(
                &place,
                format!("the range ends at {end}, before it starts at {start}"),
                "swap range_start and range_end",
            );
        }
        Some((start, end, result?))
    };
    entries
        .iter()
        .filter_map(|entry| within(entry, read, complaints))
        .collect()
}

fn bounds(table: &mut Table<'_>, complaints: &mut Complaints) -> Option<(u64, u64)> {
    let mut bound = |key, remedy| {
        let item = table.need(key, remedy, complaints)?;
        match item.value() {
            // As an export has it.
            Value::Text(_) => item.parsed(
                "a number from 0 to 9223372036854775807",
                |text| {
                    let digits = text.bytes().all(|b| b.is_ascii_digit());
                    let number = text.parse::<i64>().ok().filter(|_| digits)?;
                    u64::try_from(number).ok()
                },
                complaints,
            ),
            _ => item
                .integer(0..=i64::MAX, complaints)
                .and_then(|number| u64::try_from(number).ok()),
        }
    };
    let start = bound("range_start", "write range_start = \"0\"");
    let end = bound("range_end", "write range_end = \"99\"");
    Some((start?, end?))
}

/// The only entry, read by `read`.
fn single<T>(
    entries: &[Item<'_>],
    read: impl FnOnce(&mut Table<'_>, &mut Complaints) -> Option<T>,
    complaints: &mut Complaints,
) -> Option<T> {
    within(entries.first()?, read, complaints)
}

fn within<T>(
    item: &Item<'_>,
    read: impl FnOnce(&mut Table<'_>, &mut Complaints) -> Option<T>,
    complaints: &mut Complaints,
) -> Option<T> {
    let mut table = item.table(complaints)?;
    let value = read(&mut table, complaints);
    table.finish(Severity::Error, complaints);
    value
}

fn result(table: &mut Table<'_>, complaints: &mut Complaints) -> Option<String> {
    let item = table.need(
        "mapped_param_value",
        "write mapped_param_value = \"1\"",
        complaints,
    )?;
    item.parsed(
        "a result of 1 to 128 letters and digits",
        mapped_value,
        complaints,
    )
}

fn length(table: &mut Table<'_>, complaints: &mut Complaints) -> Option<usize> {
    let item = table.need("intercept_length", "write intercept_length = 3", complaints)?;
    let length = item.integer(1..=LENGTH_MAX, complaints)?;
    usize::try_from(length).ok()
}

/// Spec 8.10 gives only the length.
fn rule_name(text: &str) -> Option<String> {
    let valid = (3..=64).contains(&text.chars().count()) && !text.contains(char::is_control);
    valid.then(|| text.to_owned())
}

fn list_value(text: &str) -> Option<String> {
    let valid = (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    valid.then(|| text.to_owned())
}

fn mapped_value(text: &str) -> Option<String> {
    let valid = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    valid.then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
