//! The live screen on a terminal: drawn on standard error, so that standard output carries the report alone.

use std::io::{self, IsTerminal, Write};

const BAR_CELLS: usize = 32;

/// What there is to see of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) scenario: &'static str,
    pub(crate) phase: &'static str,
    /// From 0 to 1.
    pub(crate) progress: f64,
    pub(crate) seconds_left: f64,
    pub(crate) open: usize,
    pub(crate) wanted: usize,
    /// Messages and connections a second.
    pub(crate) rate: f64,
    /// p50 and p99 in microseconds.
    pub(crate) latency: Option<(f64, f64)>,
    pub(crate) errors: u64,
    pub(crate) interrupted: bool,
}

#[derive(Debug)]
pub(crate) struct Screen {
    /// A person is watching.
    live: bool,
    drawn: bool,
}

impl Screen {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            live: !json && io::stderr().is_terminal(),
            drawn: false,
        }
    }

    pub(crate) fn draw(&mut self, view: &View) {
        if !self.live {
            return;
        }
        let back = if self.drawn { "\x1b[2A" } else { "" };
        let [head, body] = lines(view);
        self.drawn = true;
        // Who closes the terminal needs no screen.
        write!(
            io::stderr().lock(),
            "{back}\r\x1b[2K{head}\n\x1b[2K{body}\n"
        )
        .ok();
    }

    /// Leaves the lines free for the report.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            write!(io::stderr().lock(), "\x1b[2A\x1b[J").ok();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.clear();
    }
}

fn lines(view: &View) -> [String; 2] {
    let phase = if view.interrupted {
        "ending"
    } else {
        view.phase
    };
    let head = format!(
        "{:8} {:10} {} {:3.0} %  {} left",
        view.scenario,
        phase,
        bar(view.progress),
        view.progress.clamp(0.0, 1.0) * 100.0,
        left(view.seconds_left),
    );
    let latency = match view.latency {
        Some((p50, p99)) => format!("p50 {}  p99 {}", time(p50), time(p99)),
        None => "p50 -  p99 -".to_owned(),
    };
    let errors = match view.errors {
        0 => "no errors".to_owned(),
        count => format!("\x1b[31m{count} errors\x1b[0m"),
    };
    let body = format!(
        "  {} of {} connections   {:.0}/s   {latency}   {errors}",
        view.open, view.wanted, view.rate
    );
    [head, body]
}

fn bar(progress: f64) -> String {
    let full = progress.clamp(0.0, 1.0) * BAR_CELLS as f64;
    (0..BAR_CELLS)
        .map(|cell| if (cell as f64) < full { '█' } else { '░' })
        .collect()
}

fn left(seconds: f64) -> String {
    match seconds.max(0.0) {
        seconds if seconds < 90.0 => format!("{seconds:.0} s"),
        seconds => format!("{:.0} min", seconds / 60.0),
    }
}

/// Microseconds for people.
pub(crate) fn time(microseconds: f64) -> String {
    match microseconds {
        time if time < 1e3 => format!("{time:.0} us"),
        time if time < 1e6 => format!("{:.2} ms", time / 1e3),
        time => format!("{:.2} s", time / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_shows_connections_rate_latency_errors_and_time_left() {
        let view = View {
            scenario: "echo",
            phase: "measuring",
            progress: 0.5,
            seconds_left: 2.4,
            open: 99,
            wanted: 100,
            rate: 12_345.6,
            latency: Some((52.4, 1234.0)),
            errors: 3,
            interrupted: false,
        };
        let [head, body] = lines(&view);
        assert!(
            head.starts_with("echo     measuring  ████████████████░"),
            "{head}"
        );
        assert!(head.ends_with(" 50 %  2 s left"), "{head}");
        assert_eq!(
            body,
            "  99 of 100 connections   12346/s   p50 52 us  p99 1.23 ms   \x1b[31m3 errors\x1b[0m"
        );
    }

    #[test]
    fn times_are_read_by_people() {
        for (micros, expected) in [
            (0.4, "0 us"),
            (999.0, "999 us"),
            (1500.0, "1.50 ms"),
            (2e6, "2.00 s"),
        ] {
            assert_eq!(time(micros), expected);
        }
    }
}
