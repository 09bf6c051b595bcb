//! A headless Chromium, driven line by line through `peers/browser.py`.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Receiver;

use serde_json::{Value, json};

use super::DEADLINE;
use super::program::read_lines;
use super::python::{available, require, script};

/// One page in one browser. Dropping it ends the browser.
#[derive(Debug)]
pub(crate) struct Browser {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Browser {
    /// `None` where there is no Chromium, or nothing that could drive it.
    pub(crate) fn start() -> Option<Self> {
        let mut probe = Command::new("sh");
        probe.args([
            "-c",
            "command -v chromium || command -v chromium-browser || command -v google-chrome",
        ]);
        if !require(probe, "there is no chromium") || !available() {
            return None;
        }
        let mut child = Command::new("python3")
            .arg(script("browser.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = read_lines(child.stdout.take().unwrap());
        let browser = Self {
            orders: child.stdin.take(),
            child,
            answers,
        };
        assert_eq!(browser.answer()["ready"], true);
        Some(browser)
    }

    fn answer(&self) -> Value {
        // A browser takes its time to start on a busy machine.
        let line = self.answers.recv_timeout(4 * DEADLINE).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn order(&self, order: &Value) -> Value {
        writeln!(self.orders.as_ref().unwrap(), "{order}").unwrap();
        let answer = self.answer();
        assert!(answer.get("error").is_none(), "{order}: {answer}");
        answer["value"].clone()
    }

    pub(crate) fn open(&self, url: &str) {
        self.order(&json!({ "open": url }));
    }

    /// The value of a JavaScript expression.
    pub(crate) fn value(&self, expression: &str) -> Value {
        self.order(&json!({ "value": expression }))
    }

    /// Waits until the expression is true.
    pub(crate) fn until(&self, expression: &str) {
        self.order(&json!({ "until": expression }));
    }

    /// What the page and the browser have complained about.
    pub(crate) fn problems(&self) -> Vec<String> {
        let problems = self.order(&json!({ "problems": true }));
        serde_json::from_value(problems).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // At the end of its orders the script ends the browser, and itself.
        drop(self.orders.take());
        self.child.wait().ok();
    }
}
