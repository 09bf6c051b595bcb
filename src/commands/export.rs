//! `ringgate export`: the definitions of one group and environment in the cloud's format.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use super::{print, show_complaints};
use crate::catalog;
use crate::cli::{Export, ExportFormat};
use crate::definition::{self, Definition, OasVersion, Syntax};

pub(crate) fn export(arguments: &Export) -> ExitCode {
    let (loaded, definitions) = match catalog::load_with_definitions(&arguments.file.config) {
        Ok(loaded) => loaded,
        Err(report) => {
            show_complaints(&report.complaints);
            eprintln!("ringgate: {}", report.summary());
            return ExitCode::FAILURE;
        }
    };
    show_complaints(&loaded.warnings);
    match exported(arguments, definitions) {
        Ok(text) => print(&text, ExitCode::SUCCESS),
        Err(problem) => {
            eprintln!("ringgate: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn exported(arguments: &Export, mut definitions: Vec<Definition>) -> Result<String, String> {
    definitions.retain(|definition| definition.environments.contains(&arguments.environment));
    let mut groups: Vec<String> = definitions.iter().map(|d| d.group.clone()).collect();
    groups.sort_unstable();
    groups.dedup();
    let group = match (&arguments.group, groups.as_slice()) {
        (Some(group), _) if groups.contains(group) => group,
        (None, [group]) => group,
        (_, []) => {
            let environment = &arguments.environment;
            return Err(format!("nothing is published in {environment}"));
        }
        _ => {
            let groups = groups.join(", ");
            return Err(format!("--group: give one of {groups}"));
        }
    };
    definitions.retain(|definition| definition.group == *group);
    let version = match arguments.format {
        ExportFormat::Openapi => OasVersion::OpenApi3,
        ExportFormat::Swagger => OasVersion::Swagger2,
    };
    let syntax = if arguments.json {
        Syntax::Json
    } else {
        Syntax::Yaml
    };
    definition::export(&definitions, version, syntax).map_err(|error| error.to_string())
}
