//! Texts with positions: TOML, YAML and JSON as one tree whose nodes know where they stand, and complaints that say so.
//!
//! Both the configuration and the API definitions are read through this module rather than derived with serde, because
//! serde gives up at the first mistake and an operator wants all of them in one run.
#![forbid(unsafe_code)]

pub mod complaint;
mod listing;
mod node;
pub mod quantity;
mod reader;
mod spelling;
mod toml;
mod yaml;

pub use complaint::{Complaint, Place, Severity};
pub use listing::Listing;
pub use node::{At, Entry, Node, Value};
pub(crate) use reader::{Complaints, Item, Table, plural};
pub(crate) use spelling::likely;

/// Reads a TOML document; without a syntax error there is no complaint, with one the tree holds what could be read.
pub fn parse_toml(file: &str, text: &str) -> (Node, Vec<Complaint>) {
    toml::parse(file, text)
}

/// Reads a YAML document, of which JSON is a part.
pub fn parse_yaml(file: &str, text: &str) -> Result<Node, Complaint> {
    yaml::parse(file, text)
}
