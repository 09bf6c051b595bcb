//! What `/metrics` says, for tests that look at more than one number.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::program::Ringgate;

/// A scrape: the type of each family, and each sample by its name and labels.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    pub(crate) types: BTreeMap<String, String>,
    pub(crate) samples: BTreeMap<String, f64>,
}

impl Scrape {
    pub(crate) fn of(program: &Ringgate, path: &str) -> Self {
        let (status, _, text) = program.admin(path);
        assert_eq!(status, 200, "{text}");
        let mut scrape = Self::default();
        for line in text.lines() {
            if let Some(of) = line.strip_prefix("# TYPE ") {
                let (name, kind) = of.split_once(' ').unwrap();
                scrape.types.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let value = value.parse().unwrap();
                scrape.samples.insert(series.to_owned(), value);
            }
        }
        scrape
    }

    /// Samples that may only rise: of counters and histograms.
    pub(crate) fn rising(&self) -> impl Iterator<Item = (&String, f64)> {
        let rises = |series: &str| {
            let name = series.split('{').next().unwrap();
            let of = |suffix| {
                let family = name.strip_suffix(suffix)?;
                self.types.get(family).map(|kind| kind == "histogram")
            };
            self.types.get(name).is_some_and(|kind| kind == "counter")
                || ["_bucket", "_sum", "_count"]
                    .into_iter()
                    .any(|suffix| of(suffix) == Some(true))
        };
        let samples = self.samples.iter().filter(move |(series, _)| rises(series));
        samples.map(|(series, value)| (series, *value))
    }

    /// What the samples of `name` with this label add up to.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        let start = format!("{name}{{");
        let of_name = self.samples.iter();
        let of_name =
            of_name.filter(|(series, _)| series.starts_with(&start) && series.contains(label));
        of_name.map(|(_, value)| value).sum()
    }

    /// The labels that each name of a sample has.
    pub(crate) fn labels(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let label = Regex::new(r#"[{,]([a-z_]+)=""#).unwrap();
        let mut labels: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for series in self.samples.keys() {
            let name = series.split('{').next().unwrap();
            let found = label.captures_iter(series).map(|found| found[1].to_owned());
            labels.entry(name).or_default().extend(found);
        }
        labels
    }
}
