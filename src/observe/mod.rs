//! What can be seen from outside: counters, by API and backend and in all, and their scraping, log lines, events, request ids.

pub mod access_log;
pub mod book;
mod escape;
pub mod events;
pub mod lines;
pub mod metrics;
mod process;
mod prometheus;
pub mod registry;
pub mod request_id;
pub mod series;
pub mod utc;
