//! What a comparison measured, as medians with their spread and ratios: a table, JSON, charts.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::svg::{RatioChart, RatioRow, short};

/// One scenario over one scheme.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) title: String,
    /// Name in the report, and in the table.
    pub(super) figures: Vec<(String, String)>,
    pub(super) chart: String,
    /// By proxy and figure, one value a round.
    pub(super) values: BTreeMap<(String, String), Vec<f64>>,
    pub(super) failures: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted.first()?, sorted.last()?);
        let upper = sorted.get(sorted.len() / 2)?;
        let lower = sorted.get((sorted.len() - 1) / 2)?;
        Some(Self {
            median: f64::midpoint(*lower, *upper),
            low: *low,
            high: *high,
        })
    }
}

impl Case {
    pub(super) fn add(&mut self, proxy: &str, report: &Value) {
        for (figure, _) in &self.figures {
            if let Some(value) = report.get(figure).and_then(Value::as_f64) {
                let key = (proxy.to_owned(), figure.clone());
                self.values.entry(key).or_default().push(value);
            }
        }
        let errors = report
            .get("errors")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        if errors > 0 {
            let kinds = report.get("errors_by_kind").unwrap_or(&Value::Null);
            self.failures
                .push(format!("{proxy}: {errors} errors {kinds}"));
        }
    }

    fn spread(&self, proxy: &str, figure: &str) -> Option<Spread> {
        let key = (proxy.to_owned(), figure.to_owned());
        Spread::of(self.values.get(&key)?)
    }

    /// To the first proxy, which is the baseline.
    fn ratio(&self, names: &[String], proxy: &str, figure: &str) -> Option<[f64; 3]> {
        let baseline = self.spread(names.first()?, figure)?.median;
        let spread = self.spread(proxy, figure)?;
        (baseline != 0.0)
            .then(|| [spread.median, spread.low, spread.high].map(|value| value / baseline))
    }

    /// Markdown, which is a table in a terminal as well.
    pub(super) fn table(&self, names: &[String]) -> String {
        let mut rows = vec![vec![self.title.clone()]];
        for (index, name) in names.iter().enumerate() {
            let cells = [name.clone(), "ratio".to_owned()];
            let shown = if index == 0 { 1 } else { 2 };
            if let Some(head) = rows.first_mut() {
                head.extend(cells.into_iter().take(shown));
            }
        }
        for (figure, title) in &self.figures {
            let mut row = vec![title.clone()];
            for (index, name) in names.iter().enumerate() {
                row.push(self.spread(name, figure).map_or_else(dash, |spread| {
                    format!(
                        "{} ({}..{})",
                        short(spread.median),
                        short(spread.low),
                        short(spread.high)
                    )
                }));
                if index > 0 {
                    let ratio = self.ratio(names, name, figure);
                    row.push(ratio.map_or_else(dash, |[ratio, ..]| format!("{ratio:.2}")));
                }
            }
            rows.push(row);
        }
        let mut text = markdown(&rows);
        for failure in &self.failures {
            // Writing to a string cannot fail.
            writeln!(text, "- {failure}").ok();
        }
        text
    }

    pub(super) fn json(&self, names: &[String]) -> Value {
        let mut figures = Map::new();
        for (figure, title) in &self.figures {
            let mut proxies = Map::new();
            for name in names {
                let key = (name.clone(), figure.clone());
                let Some((values, spread)) = self.values.get(&key).zip(self.spread(name, figure))
                else {
                    continue;
                };
                let ratio = self.ratio(names, name, figure).map(|[ratio, ..]| ratio);
                proxies.insert(name.clone(), json!({
                    "rounds": values, "median": spread.median, "low": spread.low, "high": spread.high, "ratio": ratio,
                }));
            }
            figures.insert(
                figure.clone(),
                json!({ "title": title, "proxies": proxies }),
            );
        }
        json!({ "title": self.title, "figures": figures, "failures": self.failures })
    }
}

/// What is not there.
fn dash() -> String {
    "-".to_owned()
}

fn markdown(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        // Writing to a string cannot fail.
        writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | ")).ok();
        if index == 0 {
            let rules = widths.iter().map(|width| "-".repeat(*width));
            writeln!(text, "| {} |", rules.collect::<Vec<_>>().join(" | ")).ok();
        }
    }
    text
}

/// Every case in one chart.
pub(super) fn chart(cases: &[&Case], names: &[String]) -> Option<String> {
    let (baseline, others) = names.split_first()?;
    let rows = cases.iter().map(|case| {
        let title = case
            .figures
            .iter()
            .find(|(figure, _)| *figure == case.chart);
        RatioRow {
            label: format!("{}: {}", case.title, title.map_or("", |(_, title)| title)),
            bars: others
                .iter()
                .map(|name| case.ratio(names, name, &case.chart))
                .collect(),
        }
    });
    let chart = RatioChart {
        title: format!("{} beside {baseline}", others.join(", ")),
        baseline: baseline.clone(),
        names: others.to_vec(),
        rows: rows.collect(),
    };
    chart.draw()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Case {
        let mut case = Case {
            title: "echo, ws".to_owned(),
            figures: vec![("cpu".to_owned(), "CPU us".to_owned())],
            chart: "cpu".to_owned(),
            values: BTreeMap::new(),
            failures: Vec::new(),
        };
        for (proxy, value) in [("a", 4.0), ("a", 5.0), ("a", 9.0), ("b", 10.0)] {
            case.add(proxy, &json!({ "cpu": value, "errors": 0 }));
        }
        case
    }

    #[test]
    fn medians_spread_and_ratios_are_tabled() {
        let names = ["a".to_owned(), "b".to_owned()];
        let expected = "| echo, ws | a        | b           | ratio |\n\
                        | -------- | -------- | ----------- | ----- |\n\
                        | CPU us   | 5 (4..9) | 10 (10..10) | 2.00  |\n";
        assert_eq!(case().table(&names), expected);
        assert_eq!(
            case().json(&names)["figures"]["cpu"]["proxies"]["b"]["ratio"],
            2.0
        );
        assert!(chart(&[&case()], &names).unwrap().contains(">2.00<"));
    }

    #[test]
    fn errors_are_listed_and_a_proxy_without_values_is_a_dash() {
        let mut case = case();
        case.add(
            "a",
            &json!({ "cpu": 5.0, "errors": 2, "errors_by_kind": { "lost": 2 } }),
        );
        let table = case.table(&["a".to_owned(), "c".to_owned()]);
        assert!(
            table.contains("| -        | -     |") || table.contains("| - | -     |"),
            "{table}"
        );
        assert!(table.ends_with("- a: 2 errors {\"lost\":2}\n"), "{table}");
    }

    #[test]
    fn an_even_number_of_rounds_has_its_median_between_them() {
        assert_eq!(
            Spread::of(&[4.0, 1.0]).map(|spread| spread.median),
            Some(2.5)
        );
        assert_eq!(Spread::of(&[]), None);
    }
}
