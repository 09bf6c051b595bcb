//! What is wrong with a file: where, what, and how to mend it.

use std::fmt;
use std::sync::Arc;

/// Whether a complaint keeps the configuration from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    pub fn label(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Where in which file something stands. Line and column count from 1; a file as a whole is at 0:0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
    /// Path of the key: `limits.connections_max`, `paths["/hello"].get.operationId`.
    pub key: String,
}

impl Place {
    pub fn whole(file: &str) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
            key: String::new(),
        }
    }

    pub fn error(&self, problem: impl Into<String>, remedy: impl Into<String>) -> Complaint {
        self.complain(Severity::Error, problem.into(), remedy.into())
    }

    pub fn warning(&self, problem: impl Into<String>, remedy: impl Into<String>) -> Complaint {
        self.complain(Severity::Warning, problem.into(), remedy.into())
    }

    fn complain(&self, severity: Severity, problem: String, remedy: String) -> Complaint {
        Complaint {
            file: Arc::clone(&self.file),
            line: self.line,
            column: self.column,
            key: self.key.clone(),
            problem,
            remedy,
            code: None,
            severity,
        }
    }
}

/// `file:line:column`, or the file alone where it is meant as a whole.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            f.write_str(&self.file)
        } else {
            write!(f, "{}:{}:{}", self.file, self.line, self.column)
        }
    }
}

/// One thing that is wrong, or looks wrong, with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
    /// Path of the key, empty where the complaint is about the file.
    pub key: String,
    pub problem: String,
    pub remedy: String,
    /// The management API's code for the same mistake (spec 3.5).
    pub code: Option<&'static str>,
    pub severity: Severity,
}

impl Complaint {
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Orders complaints as a reader goes through the files.
    pub fn sort(complaints: &mut [Self]) {
        complaints.sort_by(|a, b| {
            (&a.file, a.line, a.column, a.severity).cmp(&(&b.file, b.line, b.column, b.severity))
        });
    }
}

/// `ringgate.toml:12:1: error: limits.half_bytes_max: 5 is too small; 4096 to 1073741824 is allowed (APIG.2002)`.
impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line != 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}: ", self.severity.label())?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.problem, self.remedy)?;
        match self.code {
            Some(code) => write!(f, " ({code})"),
            None => Ok(()),
        }
    }
}
