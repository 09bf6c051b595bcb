//! The outcome of a run: a table for a person, a line of JSON for a program.

use std::io::{self, IsTerminal, Write};

use serde_json::{Map, Value};

use crate::error::Failures;

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
    pub(crate) fn print(self, json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !json && out.is_terminal() {
            return self.write_table(&mut out);
        }
        writeln!(
            out,
            "{}",
            Value::from(self.fields.into_iter().collect::<Map<_, _>>())
        )
    }

    fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        let width = self
            .fields
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or(0);
        for (name, value) in &self.fields {
            writeln!(out, "{name:width$}  {}", readable(value))?;
        }
        Ok(())
    }
}

fn readable(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            format!("{:.2}", number.as_f64().unwrap_or(f64::NAN))
        }
        other => other.to_string(),
    }
}
