//! A page of metrics in the making: families of numbers that each worker has, summed or core by core.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use super::Detail;
use crate::observe::metrics::{Counter, EdgeMetrics, Histogram, RelayMetrics, Scale};
use crate::observe::prometheus::{Families, Family, Kind};

/// What one worker counts.
#[derive(Debug)]
pub(super) struct Worker {
    /// The number of its core, as a label's value.
    pub(super) core: String,
    pub(super) edge: Arc<EdgeMetrics>,
    pub(super) relay: Arc<RelayMetrics>,
}

/// Workers whose numbers are summed.
#[derive(Clone, Copy)]
struct Group<'a> {
    /// Absent where it is all of them.
    core: Option<&'a str>,
    workers: &'a [Worker],
}

pub(super) struct Page<'a> {
    families: Families<'a>,
    groups: Vec<Group<'a>>,
}

/// The name of a family, what it is, and its help.
#[derive(Clone, Copy)]
pub(super) struct Name(
    pub(super) &'static str,
    pub(super) Kind,
    pub(super) &'static str,
);

/// Labels with their values.
type Pairs<'a> = &'a [(&'static str, &'static str)];

/// A histogram that each worker has.
type OfWorker<S> = fn(&Worker) -> &Histogram<S>;

/// The values of a family's own labels, and a number.
pub(super) type Value<const N: usize> = ([Cow<'static, str>; N], u64);

impl<'a> Page<'a> {
    pub(super) fn new(out: &'a mut String, workers: &'a [Worker], detail: Detail) -> Self {
        let groups = match detail {
            Detail::Sums => vec![Group {
                core: None,
                workers,
            }],
            Detail::Cores => workers
                .iter()
                .map(|worker| Group {
                    core: Some(&worker.core),
                    workers: std::slice::from_ref(worker),
                })
                .collect(),
        };
        Self {
            families: Families::new(out),
            groups,
        }
    }

    /// Opens a family that is not made of the workers' numbers.
    pub(super) fn family(&mut self, Name(name, kind, help): Name) -> Family<'_> {
        self.families.family(name, kind, help)
    }

    /// A family of one number without labels that is none of the workers'.
    pub(super) fn single(&mut self, name: Name, value: impl Display) {
        self.family(name).sample(&[], value);
    }

    /// A family of one number a worker.
    pub(super) fn each(&mut self, Name(name, kind, help): Name, number: impl Fn(&Worker) -> u64) {
        let mut family = self.families.family(name, kind, help);
        for group in &self.groups {
            let sum: u64 = group.workers.iter().map(&number).sum();
            group.sample(&mut family, "", &[], sum);
        }
    }

    /// The same for a counter of the edges, and of the relays.
    pub(super) fn edges(&mut self, name: Name, counter: fn(&EdgeMetrics) -> &Counter) {
        self.each(name, |worker| counter(&worker.edge).value());
    }

    pub(super) fn relays(&mut self, name: Name, counter: fn(&RelayMetrics) -> &Counter) {
        self.each(name, |worker| counter(&worker.relay).value());
    }

    /// A family with labels, whose values each worker lists; zeros are told where `zeros` says so.
    pub(super) fn labelled<const N: usize>(
        &mut self,
        Name(name, kind, help): Name,
        labels: [&str; N],
        values: impl Fn(&Worker) -> Vec<Value<N>>,
        zeros: impl Fn(&[Cow<'static, str>; N]) -> bool,
    ) {
        let mut family = self.families.family(name, kind, help);
        for group in &self.groups {
            let mut sums: BTreeMap<[Cow<'static, str>; N], u64> = BTreeMap::new();
            for (of, n) in group.workers.iter().flat_map(&values) {
                *sums.entry(of).or_default() += n;
            }
            for (of, n) in sums.iter().filter(|(of, n)| **n > 0 || zeros(of)) {
                let pairs: Vec<_> = labels.into_iter().zip(of.iter().map(Cow::as_ref)).collect();
                group.sample(&mut family, "", &pairs, n);
            }
        }
    }

    /// A family of histograms, each with its labels.
    pub(super) fn histograms<S: Scale>(
        &mut self,
        (name, help): (&'static str, &'static str),
        all: &[(Pairs<'_>, OfWorker<S>)],
    ) {
        let mut family = self.families.family(name, Kind::Histogram, help);
        for group in &self.groups {
            for (labels, histogram) in all {
                group.histogram(&mut family, labels, *histogram);
            }
        }
    }

    /// The same for one that is none of the workers'.
    pub(super) fn histogram<S: Scale>(
        &mut self,
        (name, help): (&'static str, &'static str),
        histogram: &Histogram<S>,
    ) {
        let mut family = self.families.family(name, Kind::Histogram, help);
        let one = Group {
            core: None,
            workers: &[],
        };
        one.buckets::<S>(
            &mut family,
            &[],
            histogram.counts().collect(),
            histogram.sum(),
        );
    }
}

impl Group<'_> {
    fn sample(
        &self,
        family: &mut Family<'_>,
        suffix: &str,
        labels: &[(&str, &str)],
        value: impl Display,
    ) {
        match self.core {
            None => family.suffixed(suffix, labels, value),
            Some(core) => {
                let of_core: Vec<_> = [("core", core)].iter().chain(labels).copied().collect();
                family.suffixed(suffix, &of_core, value);
            }
        }
    }

    fn histogram<S: Scale>(
        &self,
        family: &mut Family<'_>,
        labels: &[(&str, &str)],
        histogram: OfWorker<S>,
    ) {
        let mut counts = vec![0; S::BOUNDS.len() + 1];
        let mut sum = 0_u64;
        for histogram in self.workers.iter().map(histogram) {
            for (total, count) in counts.iter_mut().zip(histogram.counts()) {
                *total += count;
            }
            sum = sum.wrapping_add(histogram.sum());
        }
        self.buckets::<S>(family, labels, counts, sum);
    }

    /// `counts` has each bucket alone; written, each has those before it as well.
    fn buckets<S: Scale>(
        &self,
        family: &mut Family<'_>,
        labels: &[(&str, &str)],
        counts: Vec<u64>,
        sum: u64,
    ) {
        let bounds = S::BOUNDS
            .iter()
            .map(|bound| in_ones::<S>(*bound).to_string());
        let mut so_far = 0;
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(counts) {
            so_far += count;
            let of_bound: Vec<_> = labels
                .iter()
                .copied()
                .chain([("le", bound.as_str())])
                .collect();
            self.sample(family, "_bucket", &of_bound, so_far);
        }
        self.sample(family, "_sum", labels, in_ones::<S>(sum));
        self.sample(family, "_count", labels, so_far);
    }
}

/// In the metric's own unit. `f64` writes itself without an exponent.
#[expect(
    clippy::cast_precision_loss,
    reason = "a scraper reads floats; 53 bits are more than any of these needs"
)]
fn in_ones<S: Scale>(value: u64) -> f64 {
    value as f64 / S::PER_ONE as f64
}
