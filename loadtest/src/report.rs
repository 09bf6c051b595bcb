//! The outcome of a run: a table for a person, JSON for a program.

use std::io::{self, IsTerminal, Write};

use serde_json::{Map, Value};

use crate::error::Failures;
use crate::screen;

/// Named figures; units stand at the end of the names.
#[derive(Debug, Default)]
pub(crate) struct Report {
    fields: Vec<(String, Value)>,
}

impl Report {
    pub(crate) fn new(scenario: &str) -> Self {
        let mut report = Self::default();
        report.add("scenario", scenario);
        report
    }

    pub(crate) fn add(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.fields.push((name.into(), value.into()));
    }

    pub(crate) fn add_failures(&mut self, failures: &Failures) {
        self.add("errors", failures.total());
        if let Some(first) = failures.first() {
            let by_kind = failures.by_kind().iter();
            let by_kind: Map<_, _> = by_kind
                .map(|(kind, count)| ((*kind).to_owned(), (*count).into()))
                .collect();
            self.add("errors_by_kind", by_kind);
            self.add("first_error", first);
        }
    }

    /// Prints JSON, unless a person is watching who did not ask for it.
    pub(crate) fn print(&self, json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !json && out.is_terminal() {
            return out.write_all(self.table().as_bytes());
        }
        writeln!(out, "{}", self.to_json())
    }

    pub(crate) fn to_json(&self) -> Value {
        Value::from(self.fields.iter().cloned().collect::<Map<_, _>>())
    }

    /// Two columns, names without their units and values with them.
    pub(crate) fn table(&self) -> String {
        let rows: Vec<_> = self
            .fields
            .iter()
            .map(|(name, value)| readable(name, value))
            .collect();
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        rows.iter()
            .map(|(name, value)| format!("{name:width$}  {value}\n"))
            .collect()
    }
}

fn readable(name: &str, value: &Value) -> (String, String) {
    let number = value.as_f64();
    let spaced = |name: &str| name.replace('_', " ");
    if let (Some(number), Some(name)) = (number, name.strip_suffix("_us")) {
        return (spaced(name), screen::time(number));
    }
    if let (Some(number), Some(name)) = (number, name.strip_suffix("_bytes")) {
        return (spaced(name), bytes(number));
    }
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Number(number) if number.is_f64() => {
            format!("{:.2}", number.as_f64().unwrap_or(f64::NAN))
        }
        other => other.to_string(),
    };
    (spaced(name), text)
}

fn bytes(number: f64) -> String {
    match number.abs() {
        size if size < 10_240.0 => format!("{number:.0} B"),
        size if size < 10_485_760.0 => format!("{:.1} KiB", number / 1024.0),
        _ => format!("{:.1} MiB", number / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_units_and_json_has_numbers() {
        let mut report = Report::new("echo");
        report.add("latency_p50_us", 1500.0);
        report.add("after_rss_bytes", 20_480);
        report.add("seconds", 5.0);
        assert_eq!(
            report.table(),
            "scenario     echo\nlatency p50  1.50 ms\nafter rss    20.0 KiB\nseconds      5.00\n"
        );
        assert_eq!(report.to_json()["after_rss_bytes"], 20_480);
    }
}
