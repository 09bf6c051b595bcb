//! What was found, how bad it is, and how it is told.
#![forbid(unsafe_code)]

use std::fmt::Write;

use serde_json::{Value, json};

use crate::document::plural;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Ok,
    /// The host does not say.
    Unknown,
    /// It works, and will hurt.
    Warn,
    /// It will break.
    Fail,
}

impl Level {
    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    /// The colour of the label on a terminal (ECMA-48 SGR).
    fn colour(self) -> &'static str {
        match self {
            Self::Ok => "32",
            Self::Unknown => "2",
            Self::Warn => "33",
            Self::Fail => "31",
        }
    }
}

/// What a finding is about, in the order in which findings are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Area {
    Configuration,
    Descriptors,
    Ports,
    Memory,
    IoUring,
    Cpu,
    Network,
    Certificates,
    Backends,
}

impl Area {
    fn label(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Descriptors => "descriptors",
            Self::Ports => "ports",
            Self::Memory => "memory",
            Self::IoUring => "io_uring",
            Self::Cpu => "cpu",
            Self::Network => "network",
            Self::Certificates => "certificates",
            Self::Backends => "backends",
        }
    }

    pub(crate) fn ok(self, subject: impl Into<String>, says: impl Into<String>) -> Finding {
        self.finding(Level::Ok, subject.into(), says.into(), None)
    }

    pub(crate) fn unknown(self, subject: impl Into<String>, says: impl Into<String>) -> Finding {
        self.finding(Level::Unknown, subject.into(), says.into(), None)
    }

    pub(crate) fn warn(
        self,
        subject: impl Into<String>,
        says: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        self.finding(
            Level::Warn,
            subject.into(),
            says.into(),
            Some(remedy.into()),
        )
    }

    pub(crate) fn fail(
        self,
        subject: impl Into<String>,
        says: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        self.finding(
            Level::Fail,
            subject.into(),
            says.into(),
            Some(remedy.into()),
        )
    }

    fn finding(
        self,
        level: Level,
        subject: String,
        says: String,
        remedy: Option<String>,
    ) -> Finding {
        Finding {
            area: self,
            level,
            subject,
            says,
            remedy,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) area: Area,
    pub(crate) level: Level,
    /// The setting, limit, file or address.
    pub(crate) subject: String,
    pub(crate) says: String,
    pub(crate) remedy: Option<String>,
}

/// Everything that was found.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) kernel: Option<String>,
    pub(crate) connections: u64,
    pub(crate) workers: usize,
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|f| f.level == level).count()
    }

    pub(crate) fn worst(&self) -> Level {
        let levels = self.findings.iter().map(|finding| finding.level);
        levels.max().unwrap_or(Level::Ok)
    }

    /// For a person: by area, and how to mend it below what is wrong.
    pub(crate) fn text(&self, colour: bool) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        self.write(&mut text, colour).ok();
        text
    }

    fn write(&self, out: &mut String, colour: bool) -> std::fmt::Result {
        let kernel = self.kernel.as_deref().unwrap_or("unknown");
        writeln!(
            out,
            "ringgate {}: {} on {}, Linux {kernel}",
            env!("CARGO_PKG_VERSION"),
            plural(count(self.connections), "connection"),
            plural(self.workers, "worker"),
        )?;
        let mut area = None;
        for finding in &self.findings {
            if area != Some(finding.area) {
                area = Some(finding.area);
                writeln!(out, "\n{}", finding.area.label())?;
            }
            let label = format!("{:<8}", finding.level.label());
            let label = if colour {
                format!("\x1b[{}m{label}\x1b[0m", finding.level.colour())
            } else {
                label
            };
            writeln!(out, "  {label}{}: {}", finding.subject, finding.says)?;
            if let Some(remedy) = &finding.remedy {
                writeln!(out, "          mend: {remedy}")?;
            }
        }
        writeln!(
            out,
            "\n{}, {}, {} unknown, {} ok",
            plural(self.count(Level::Fail), "failure"),
            plural(self.count(Level::Warn), "warning"),
            self.count(Level::Unknown),
            self.count(Level::Ok),
        )
    }

    /// For a program. Keys are only ever added.
    pub(crate) fn json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "area": finding.area.label(),
                "level": finding.level.label(),
                "subject": finding.subject,
                "says": finding.says,
                "remedy": finding.remedy,
            })
        });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "kernel": self.kernel,
            "connections": self.connections,
            "workers": self.workers,
            "verdict": self.worst().label(),
            "findings": findings.collect::<Vec<_>>(),
        })
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            kernel: Some("6.18.1".into()),
            connections: 1000,
            workers: 1,
            findings: vec![
                Area::Descriptors.ok("fs.nr_open", "1048576"),
                Area::Ports.fail("range", "too few", "more"),
            ],
        }
    }

    #[test]
    fn text_is_by_area_with_the_remedy_below() {
        assert_eq!(
            report().text(false).split_once('\n').unwrap().1,
            "\ndescriptors\n  ok      fs.nr_open: 1048576\n\nports\n  fail    range: too few\n          mend: more\n\n\
             1 failure, 0 warnings, 0 unknown, 1 ok\n"
        );
        assert!(report().text(true).contains("\x1b[31mfail"));
    }

    #[test]
    fn json_has_the_verdict() {
        let json = report().json();
        assert_eq!(json["verdict"], "fail");
        assert_eq!(json["findings"][1]["remedy"], "more");
        assert_eq!(json["findings"][0]["remedy"], Value::Null);
    }
}
