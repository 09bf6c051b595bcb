//! The loop that owns every established tunnel of a core.

pub mod handover;
pub mod policy;
