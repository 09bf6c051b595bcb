//! From the path of a configuration to a catalog, and every complaint on the way: what starting, checking and reloading
//! have in common.

use std::fmt;
use std::path::Path;

use super::{Carried, Catalog};
use crate::config::{Config, Inputs, Opened};
use crate::definition::{self, Definition};
use crate::document::{Complaint, Severity, plural};

/// A configuration that can be run.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub catalog: Catalog,
    pub warnings: Vec<Complaint>,
    /// What it was read from.
    pub inputs: Inputs,
}

/// Reads and checks everything that the configuration at `path` leads to.
pub fn load(path: &Path) -> Result<Loaded, Report> {
    load_with_definitions(path).map(|(loaded, _)| loaded)
}

/// The same beside a configuration that runs, with what its catalog leaves to the next.
pub fn load_beside(path: &Path, carried: &mut Carried) -> Result<Loaded, Report> {
    load_all(path, carried).map(|(loaded, _)| loaded)
}

/// The same, and the definitions that the catalog was built from.
pub fn load_with_definitions(path: &Path) -> Result<(Loaded, Vec<Definition>), Report> {
    load_all(path, &mut Carried::default())
}

fn load_all(path: &Path, carried: &mut Carried) -> Result<(Loaded, Vec<Definition>), Report> {
    let Gathered {
        config,
        definitions,
        catalog,
        mut complaints,
        inputs,
    } = gather(path, carried);
    Complaint::sort(&mut complaints);
    // What is wrong in every environment is said once.
    complaints.dedup();
    match catalog {
        Some(catalog) if !complaints.iter().any(Complaint::is_error) => {
            let loaded = Loaded {
                config,
                catalog,
                warnings: complaints,
                inputs,
            };
            Ok((loaded, definitions))
        }
        _ => Err(Report {
            apis: None,
            complaints,
            inputs,
        }),
    }
}

/// What `ringgate check` says about the configuration at `path`.
pub fn check(path: &Path) -> Report {
    match load(path) {
        Ok(loaded) => Report {
            apis: Some(loaded.catalog.apis().len()),
            complaints: loaded.warnings,
            inputs: loaded.inputs,
        },
        Err(report) => report,
    }
}

/// As much as there is.
struct Gathered {
    config: Config,
    definitions: Vec<Definition>,
    catalog: Option<Catalog>,
    complaints: Vec<Complaint>,
    inputs: Inputs,
}

/// Goes on after mistakes, so that those in the configuration do not hide those in the definitions.
fn gather(path: &Path, carried: &mut Carried) -> Gathered {
    let Opened {
        config,
        sources,
        inputs,
        mut complaints,
    } = Config::open(path);
    let mut definitions: Vec<Definition> = Vec::new();
    let mut complete = true;
    for source in &sources {
        let (definition, found) =
            definition::parse(&source.file, &source.text, &source.environments, &config);
        complete &= definition.is_some();
        definitions.extend(definition);
        complaints.extend(found);
    }
    complaints.extend(groups_without_apis(&config, &definitions));
    let catalog = match Catalog::build_with(&config, &definitions, carried) {
        Ok(catalog) => Some(catalog),
        Err(found) => {
            // Rules for APIs in a file that could not be read are no mistake of their own.
            let rules_unknown = |c: &Complaint| {
                !complete
                    && config
                        .apis
                        .iter()
                        .any(|rules| rules.place.line == c.line && rules.place.file == c.file)
            };
            complaints.extend(found.into_iter().filter(|c| !rules_unknown(c)));
            None
        }
    };
    Gathered {
        config,
        definitions,
        catalog,
        complaints,
        inputs,
    }
}

/// A domain of a group that no definition has is probably misspelt.
fn groups_without_apis(config: &Config, definitions: &[Definition]) -> Vec<Complaint> {
    let defined = |group: &str| {
        definitions
            .iter()
            .any(|definition| definition.group == group)
    };
    let routing = &config.routing;
    let domains = routing.domains.iter();
    let domains = domains.map(|domain| (&domain.name, &domain.group, &domain.place));
    let debug = routing.debug_domains.iter();
    let debug = debug.map(|domain| (&domain.name, &domain.group, &domain.place));
    domains
        .chain(debug)
        .filter(|(_, group, _)| !defined(group))
        .map(|(name, group, place)| {
            place.warning(
                format!("`{name}` leads to group {group}, which has no definition"),
                "correct `group`, or add a definition with that `info.title`",
            )
        })
        .collect()
}

/// Every complaint about a configuration, by file and line.
#[derive(Debug)]
pub struct Report {
    /// How many APIs would be served; `None` when nothing would be, because of errors.
    pub apis: Option<usize>,
    pub complaints: Vec<Complaint>,
    /// What it was read from.
    pub inputs: Inputs,
}

impl Report {
    /// Whether the configuration can be used.
    pub fn is_ok(&self) -> bool {
        self.apis.is_some()
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.complaints
            .iter()
            .filter(|c| c.severity == severity)
            .count()
    }

    /// `ok: 3 APIs, 1 warning`, or `2 errors, 0 warnings`.
    pub fn summary(&self) -> String {
        let warnings = plural(self.count(Severity::Warning), "warning");
        match self.apis {
            Some(apis) => format!("ok: {}, {warnings}", plural(apis, "API")),
            None => format!(
                "{}, {warnings}",
                plural(self.count(Severity::Error), "error")
            ),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for complaint in &self.complaints {
            writeln!(f, "{complaint}")?;
        }
        f.write_str(&self.summary())
    }
}
