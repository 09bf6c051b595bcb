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

    /// For people: figures with their units, then latencies by percentile and costs before, after and each connection.
    pub(crate) fn table(&self) -> String {
        let mut figures = Vec::new();
        let mut latencies = Grid::new(&LATENCY_COLUMNS);
        let mut costs = Grid::new(&COST_COLUMNS);
        for (name, value) in &self.fields {
            let placed = latencies.place(name, value) || costs.place(name, value);
            if !placed {
                figures.push([spaced(figure_name(name)), readable(name, value)]);
            }
        }
        let grids = [latencies.rows, costs.rows];
        let filled = grids.iter().filter(|rows| rows.len() > 1);
        filled.fold(columns(&figures), |text, rows| text + "\n" + &columns(rows))
    }
}

/// What a name begins or ends with, and the column that it belongs to.
type Column = (&'static str, &'static str, &'static str);

const LATENCY_COLUMNS: [Column; 7] = [
    ("", "_mean_us", "mean"),
    ("", "_p50_us", "p50"),
    ("", "_p90_us", "p90"),
    ("", "_p99_us", "p99"),
    ("", "_p999_us", "p99.9"),
    ("", "_p9999_us", "p99.99"),
    ("", "_max_us", "max"),
];

const COST_COLUMNS: [Column; 3] = [
    ("before_", "", "before"),
    ("after_", "", "after"),
    ("", "_per_connection", "each connection"),
];

/// Figures of the same kind in rows below one another.
struct Grid {
    columns: &'static [Column],
    /// The first one has the columns' names.
    rows: Vec<Vec<String>>,
}

impl Grid {
    fn new(columns: &'static [Column]) -> Self {
        let names = columns.iter().map(|(_, _, name)| (*name).to_owned());
        Self {
            columns,
            rows: vec![std::iter::once(String::new()).chain(names).collect()],
        }
    }

    /// Says whether there is a place for it.
    fn place(&mut self, name: &str, value: &Value) -> bool {
        let found = self.columns.iter().enumerate().find_map(|(index, column)| {
            let rest = name.strip_prefix(column.0)?.strip_suffix(column.1)?;
            Some((index, rest))
        });
        // The CPU time of a connection has no before.
        let Some((index, rest)) = found.filter(|(_, rest)| !rest.starts_with("cpu_")) else {
            return false;
        };
        let title = spaced(figure_name(rest.trim_start_matches("machine_")));
        let is_ours = |row: &Vec<String>| row.first() == Some(&title);
        let at = self.rows.iter().position(is_ours).unwrap_or_else(|| {
            let empty = std::iter::repeat_n(String::new(), self.columns.len());
            self.rows
                .push(std::iter::once(title.clone()).chain(empty).collect());
            self.rows.len() - 1
        });
        if let Some(cell) = self.rows.get_mut(at).and_then(|row| row.get_mut(index + 1)) {
            *cell = readable(name, value);
        }
        true
    }
}

/// The first column to the left, others to the right, but for texts in the last of two.
fn columns<R: AsRef<[String]>>(rows: &[R]) -> String {
    let width = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.as_ref().get(index));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (index, cell) in row.as_ref().iter().enumerate() {
            let width = width(index);
            line += &match (index, row.as_ref().len()) {
                (0, _) => format!("{cell:width$}"),
                (_, 2) => format!("  {cell}"),
                _ => format!("  {cell:>width$}"),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn spaced(name: &str) -> String {
    name.replace('_', " ")
}

/// Without the unit, which stands beside the value.
fn figure_name(name: &str) -> &str {
    let name = name.strip_suffix("_us").unwrap_or(name);
    name.strip_suffix("_bytes").unwrap_or(name)
}

/// The unit is in the name, before what it is counted by.
fn readable(name: &str, value: &Value) -> String {
    let number = value.as_f64();
    let unit = name.split_once("_per_").map_or(name, |(unit, _)| unit);
    if let Some(number) = number {
        if unit == "cpu_us" {
            return format!("{number:.1} us");
        }
        if unit.ends_with("_us") {
            return screen::time(number);
        }
        if unit.ends_with("_bytes") {
            return bytes(number);
        }
        if name == "cpu_share" {
            return format!("{:.0} % of a core", number * 100.0);
        }
    }
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Number(number) if number.is_f64() => {
            format!("{:.2}", number.as_f64().unwrap_or(f64::NAN))
        }
        other => other.to_string(),
    }
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
        report.add("seconds", 5.0);
        report.add("latency_p50_us", 1500.0);
        report.add("latency_max_us", 20.0);
        report.add("cpu_us_per_relayed_message", 9.25);
        report.add("before_rss_bytes", 0);
        report.add("after_rss_bytes", 20_480);
        report.add("rss_bytes_per_connection", 1024.0);
        assert_eq!(
            report.table(),
            "scenario                    echo\n\
             seconds                     5.00\n\
             cpu us per relayed message  9.2 us\n\
             \n         mean      p50  p90  p99  p99.9  p99.99    max\n\
             latency        1.50 ms                           20 us\n\
             \n     before     after  each connection\n\
             rss     0 B  20.0 KiB           1024 B\n"
        );
        assert_eq!(report.to_json()["after_rss_bytes"], 20_480);
    }
}
