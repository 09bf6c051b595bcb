//! Regular expressions of conditions (spec 8.11): compiled once here to tell whether they can be.

use std::cell::RefCell;
use std::collections::HashMap;

use regex::RegexBuilder;

/// Most memory of one compiled pattern; a repetition of a repetition could ask for any amount.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// What is known about the patterns of a file: gateways with many APIs repeat few of them.
#[derive(Debug, Default)]
pub(super) struct Patterns(RefCell<HashMap<String, Result<(), String>>>);

impl Patterns {
    /// The error is the reason in few words.
    pub(super) fn check(&self, pattern: &str) -> Result<(), String> {
        let mut known = self.0.borrow_mut();
        if let Some(result) = known.get(pattern) {
            return result.clone();
        }
        let result = compile(pattern);
        known.insert(pattern.to_owned(), result.clone());
        result
    }
}

fn compile(pattern: &str) -> Result<(), String> {
    let compiled = RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .build();
    let Err(error) = compiled else {
        return Ok(());
    };
    if let regex::Error::CompiledTooBig(_) = error {
        return Err(format!(
            "compiled it takes more than {PATTERN_BYTES_MAX} bytes"
        ));
    }
    // A picture of the pattern, and the reason in the last line.
    let said = error.to_string();
    let reason = said.lines().last().unwrap_or_default();
    Err(reason.trim_start_matches("error: ").to_owned())
}
