//! The forms in which a feature may be given: a value, a table, JSON in a string, or an entry of the cloud's list.

use super::{is_known, names};
use crate::document::{
    At, Complaints, Entry, Item, Node, Place, Severity, Value, likely, parse_yaml,
};

/// Name, value and place of each feature: a table of them, or the cloud's list of `{ name, enable, config }`.
pub(super) fn entries<'a>(
    item: &Item<'a>,
    complaints: &mut Complaints,
) -> Vec<(String, Item<'a>, Place)> {
    if !matches!(item.value(), Value::List(_)) {
        let Some(mut table) = item.table(complaints) else {
            return Vec::new();
        };
        return table
            .rest()
            .into_iter()
            .map(|(name, item)| {
                let place = item.place(complaints);
                (name.to_owned(), item, place)
            })
            .collect();
    }
    let mut all = Vec::new();
    for item in item.list(complaints) {
        let Some(mut table) = item.table(complaints) else {
            continue;
        };
        let name = table.need("name", "write name = \"request_body_size\"", complaints);
        // What an export has beside: they say nothing about what is served.
        table.take_where(|key| {
            matches!(
                key,
                "enable" | "config" | "id" | "instance_id" | "update_time"
            )
        });
        table.finish(Severity::Error, complaints);
        let Some(name) = name else { continue };
        let place = name.place(complaints);
        if let Some(name) = name.text(complaints) {
            all.push((name.to_owned(), item, place));
        }
    }
    all
}

/// A feature as it was given, whichever way.
pub(super) struct Feature {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) on: bool,
    /// Its configuration, unpacked.
    pub(super) node: Node,
}

impl Feature {
    pub(super) fn read(
        name: &str,
        item: &Item<'_>,
        place: &Place,
        complaints: &mut Complaints,
    ) -> Option<Self> {
        if !is_known(name) {
            let remedy = match likely(name, names()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => "remove it".to_owned(),
            };
            complaints.error(place, format!("unknown feature `{name}`"), remedy);
            return None;
        }
        let mut node = unpacked(item.value(), place, complaints)?;
        let mut on = true;
        if let Some(enable) = entry(&node, "enable") {
            on = switch(enable, place, complaints)?;
        }
        // The cloud's form: what counts stands in `config`.
        if entry(&node, "name").is_some() || entry(&node, "config").is_some() {
            node = match entry(&node, "config") {
                Some(config) => unpacked(&config.value, place, complaints)?,
                None => Node {
                    at: node.at,
                    value: Value::Null,
                },
            };
            if let Some(enable) = entry(&node, "enable") {
                on &= switch(enable, place, complaints)?;
            }
        }
        if let Some(plain) = as_switch(&node.value) {
            on &= plain;
        }
        Some(Self {
            name: name.to_owned(),
            place: place.clone(),
            on,
            node,
        })
    }
}

/// JSON in a string becomes what it says, a number in a string a number; all of it stands where the string does.
fn unpacked(value: &Value, place: &Place, complaints: &mut Complaints) -> Option<Node> {
    let at = At {
        line: place.line,
        column: place.column,
    };
    let Value::Text(text) = value else {
        return Some(Node {
            at,
            value: value.clone(),
        });
    };
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return Some(Node {
            at,
            value: Value::Integer(number),
        });
    }
    if !text.starts_with('{') {
        return Some(Node {
            at,
            value: value.clone(),
        });
    }
    match parse_yaml("", text) {
        Ok(mut node) => {
            stand_at(&mut node, at);
            Some(node)
        }
        Err(error) => {
            complaints.error(
                place,
                format!("its JSON cannot be read: {}", error.problem),
                "correct the JSON, or write a TOML table",
            );
            None
        }
    }
}

/// The parser bounds how deep `node` is.
fn stand_at(node: &mut Node, at: At) {
    node.at = at;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| stand_at(item, at)),
        Value::Table(entries) => {
            for Entry { key_at, node, .. } in entries {
                *key_at = at;
                stand_at(node, at);
            }
        }
        _ => {}
    }
}

pub(super) fn entry<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let Value::Table(entries) = &node.value else {
        return None;
    };
    let found = entries.iter().find(|entry| entry.key == key);
    found.map(|entry| &entry.node)
}

pub(super) fn as_switch(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(on) => Some(*on),
        Value::Text(text) if text == "on" || text == "true" => Some(true),
        Value::Text(text) if text == "off" || text == "false" => Some(false),
        _ => None,
    }
}

fn switch(node: &Node, place: &Place, complaints: &mut Complaints) -> Option<bool> {
    let on = as_switch(&node.value);
    if on.is_none() {
        let problem = format!("its `enable` is {}, neither on nor off", node.value.kind());
        complaints.error(place, problem, "write \"on\" or \"off\"");
    }
    on
}
