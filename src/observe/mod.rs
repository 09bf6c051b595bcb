//! What can be seen from outside: counters, log lines, request ids.

pub mod metrics;
