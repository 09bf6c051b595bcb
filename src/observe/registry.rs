//! Every counter of the process in one place, summed over the workers and written out for a scraper. A scrape reads
//! counters; it asks no worker for anything.
#![forbid(unsafe_code)]

mod edge;
mod page;
mod process;
mod relay;
mod series;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use super::access_log::AccessLog;
use super::book::Book;
use super::events::Losses;
use super::metrics::{DnsMetrics, EdgeMetrics, RelayMetrics, ReloadMetrics};
use crate::config::{Config, Running};
use page::{Page, Worker};

/// The value of `Content-Type` for what `render` writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct ProcessFacts {
    pub version: &'static str,
    pub started_at: SystemTime,
    /// Connections that can be let in at most, tunnels included; a configuration may allow fewer.
    pub connections_max: usize,
    pub relay_buffer_bytes: usize,
    pub relay_spill_bytes_max: usize,
}

impl ProcessFacts {
    /// `connections_max` is the number in force: the configuration may leave it to the descriptor limit.
    pub fn new(config: &Config, connections_max: usize, started_at: SystemTime) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            started_at,
            connections_max,
            relay_buffer_bytes: config.limits.relay_buffer_bytes,
            relay_spill_bytes_max: config.limits.relay_spill_bytes_max,
        }
    }
}

/// Where everything that is not a worker's is read.
#[derive(Debug)]
pub struct Sources {
    pub facts: ProcessFacts,
    pub access_log: AccessLog,
    /// Absent where messages go nowhere.
    pub messages: Option<Losses>,
    pub reloads: Arc<ReloadMetrics>,
    pub dns: Arc<DnsMetrics>,
    pub running: Running,
    pub book: Book,
}

/// How finely the workers are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// One number for all of them.
    Sums,
    /// A number for each, with the label `core`. What is counted by API and backend stays summed.
    Cores,
}

/// Reads the counters that the workers write.
#[derive(Debug)]
pub struct Registry {
    sources: Sources,
    workers: Vec<Worker>,
}

impl Registry {
    pub fn new(sources: Sources) -> Self {
        Self {
            sources,
            workers: Vec::new(),
        }
    }

    /// Adds what the worker on this core counts.
    pub fn add_worker(&mut self, core: usize, edge: Arc<EdgeMetrics>, relay: Arc<RelayMetrics>) {
        self.workers.push(Worker {
            core: core.to_string(),
            edge,
            relay,
        });
    }

    /// What is counted by API and by backend.
    pub fn book(&self) -> &Book {
        &self.sources.book
    }

    /// Appends everything in Prometheus' text format 0.0.4.
    pub fn render(&self, detail: Detail, out: &mut String) {
        let mut page = Page::new(out, &self.workers, detail);
        process::render(&self.sources, self.workers.len(), &mut page);
        edge::render(&mut page);
        process::render_dns(&self.sources.dns, &mut page);
        relay::render(&mut page);
        series::render(&self.sources.book, &mut page);
    }
}
