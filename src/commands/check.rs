//! `ringgate check`: every complaint about a configuration, for people or machines.

use std::io;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{is_coloured, print, source};
use crate::catalog::{self, Report};
use crate::cli::{Check, Format};
use crate::document::{Complaint, Listing, Severity};

pub(crate) fn check(arguments: &Check) -> ExitCode {
    let report = catalog::check(&arguments.file.config);
    let text = match arguments.format {
        Format::Text => {
            let coloured = is_coloured(arguments.color, &io::stdout());
            let complaints = Listing::new(coloured, &source).render(&report.complaints);
            format!("{complaints}{}\n", report.summary())
        }
        Format::Json => format!("{:#}\n", as_json(&report)),
    };
    let code = if report.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    print(&text, code)
}

/// As the command's help documents it: members are added, but never changed.
fn as_json(report: &Report) -> Value {
    json!({
        "ok": report.is_ok(),
        "apis": report.apis,
        "errors": report.count(Severity::Error),
        "warnings": report.count(Severity::Warning),
        "complaints": report.complaints.iter().map(complaint).collect::<Vec<_>>(),
    })
}

fn complaint(complaint: &Complaint) -> Value {
    let counted = |position: u32| (position != 0).then_some(position);
    json!({
        "severity": complaint.severity.label(),
        "file": &*complaint.file,
        "line": counted(complaint.line),
        "column": counted(complaint.column),
        "key": (!complaint.key.is_empty()).then_some(&complaint.key),
        "problem": complaint.problem,
        "remedy": complaint.remedy,
        "code": complaint.code,
    })
}
