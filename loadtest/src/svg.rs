//! Small charts as SVG text: axes, lines, bars. Colours hold for readers who cannot tell red from green (Okabe and Ito),
//! and everything is legible on light and dark pages.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 54.0;
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666",
];
/// Marks on an axis, about.
const TICKS: f64 = 5.0;

pub(crate) fn colour(index: usize) -> &'static str {
    COLOURS
        .get(index % COLOURS.len())
        .copied()
        .unwrap_or("#666666")
}

/// How values are spread over an axis, and written beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scale {
    /// From zero.
    Linear,
    /// Marks at powers of ten.
    Log,
    /// The number of nines of a percentile: 2 is 99 %.
    Nines,
}

#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

#[derive(Debug)]
pub(crate) struct LineChart {
    pub(crate) title: String,
    pub(crate) x: (&'static str, Scale),
    pub(crate) y: (&'static str, Scale),
    pub(crate) series: Vec<Series>,
}

impl LineChart {
    /// `None` if there is no point to draw.
    pub(crate) fn draw(&self) -> Option<String> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        points().next()?;
        let x = Axis::over(self.x.1, points().map(|point| point.0));
        let y = Axis::over(self.y.1, points().map(|point| point.1));
        let mut out = open(WIDTH, HEIGHT, &self.title);
        let place_x = |value| LEFT + x.place(value) * (WIDTH - LEFT - RIGHT);
        let place_y = |value| HEIGHT - BOTTOM - y.place(value) * (HEIGHT - TOP - BOTTOM);
        for (value, label) in y.ticks() {
            let at = place_y(value);
            line(&mut out, (LEFT, at), (WIDTH - RIGHT, at), "grid");
            text(&mut out, (LEFT - 8.0, at + 4.0), "end", "tick", &label);
        }
        for (value, label) in x.ticks() {
            let at = place_x(value);
            line(
                &mut out,
                (at, HEIGHT - BOTTOM),
                (at, HEIGHT - BOTTOM + 5.0),
                "axis",
            );
            text(
                &mut out,
                (at, HEIGHT - BOTTOM + 19.0),
                "middle",
                "tick",
                &label,
            );
        }
        line(
            &mut out,
            (LEFT, HEIGHT - BOTTOM),
            (WIDTH - RIGHT, HEIGHT - BOTTOM),
            "axis",
        );
        text(
            &mut out,
            ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 12.0),
            "middle",
            "label",
            self.x.0,
        );
        text(&mut out, (12.0, TOP - 12.0), "start", "label", self.y.0);
        let mut legend_at = WIDTH - RIGHT;
        for (index, series) in self.series.iter().enumerate() {
            let path: Vec<_> = series
                .points
                .iter()
                .map(|(x, y)| format!("{:.1},{:.1}", place_x(*x), place_y(*y)))
                .collect();
            write_line(
                &mut out,
                &format!(
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" stroke-linejoin=\"round\"/>",
                    path.join(" "),
                    colour(index)
                ),
            );
            legend_at -= legend(&mut out, (legend_at, TOP - 12.0), index, &series.name);
        }
        Some(out + "</svg>\n")
    }
}

/// Rows of bars around 1, the baseline: shorter is better.
#[derive(Debug)]
pub(crate) struct RatioChart {
    pub(crate) title: String,
    pub(crate) baseline: String,
    pub(crate) names: Vec<String>,
    pub(crate) rows: Vec<RatioRow>,
}

#[derive(Debug)]
pub(crate) struct RatioRow {
    pub(crate) label: String,
    /// By name: the ratio of medians, and of the lowest and highest round to the baseline's median.
    pub(crate) bars: Vec<Option<[f64; 3]>>,
}

const ROW_LABEL: f64 = 250.0;
const BAR: f64 = 13.0;
const ROW_GAP: f64 = 12.0;

impl RatioChart {
    pub(crate) fn draw(&self) -> Option<String> {
        let bars = || self.rows.iter().flat_map(|row| row.bars.iter().flatten());
        let highest = bars()
            .map(|bar| bar[0])
            .fold(None, |max: Option<f64>, value| {
                Some(max.map_or(value, |max| max.max(value)))
            })?;
        // One bar of four times the baseline would flatten all others; it is cut, and its number tells.
        let limit = (highest * 1.1).clamp(1.2, 3.0);
        let row_height = self.names.len() as f64 * BAR + ROW_GAP;
        let height = TOP + self.rows.len() as f64 * row_height + 40.0;
        let mut out = open(WIDTH, height, &self.title);
        let place = |ratio: f64| ROW_LABEL + ratio.min(limit) / limit * (WIDTH - ROW_LABEL - 70.0);
        let bottom = height - 34.0;
        let mut mark = 0.0;
        while mark <= limit {
            line(&mut out, (place(mark), TOP), (place(mark), bottom), "grid");
            text(
                &mut out,
                (place(mark), bottom + 16.0),
                "middle",
                "tick",
                &format!("{mark:.1}"),
            );
            mark += 0.5;
        }
        line(
            &mut out,
            (place(1.0), TOP - 4.0),
            (place(1.0), bottom),
            "one",
        );
        text(
            &mut out,
            (WIDTH / 2.0, height - 4.0),
            "middle",
            "label",
            &format!("relative to {} = 1, shorter is better", self.baseline),
        );
        for (index, row) in self.rows.iter().enumerate() {
            let y = TOP + index as f64 * row_height + ROW_GAP / 2.0;
            let middle = y + self.names.len() as f64 * BAR / 2.0 + 4.0;
            text(
                &mut out,
                (ROW_LABEL - 10.0, middle),
                "end",
                "tick",
                &row.label,
            );
            for (place_in_row, bar) in row.bars.iter().enumerate() {
                let Some([ratio, low, high]) = bar else {
                    continue;
                };
                let top = y + place_in_row as f64 * BAR;
                let end = place(*ratio);
                write_line(
                    &mut out,
                    &format!(
                        "<rect x=\"{ROW_LABEL}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\" fill=\"{}\"/>",
                        end - ROW_LABEL,
                        BAR - 3.0,
                        colour(place_in_row)
                    ),
                );
                let centre = top + (BAR - 3.0) / 2.0;
                line(
                    &mut out,
                    (place(*low), centre),
                    (place(*high), centre),
                    "spread",
                );
                text(
                    &mut out,
                    (place(high.max(*ratio)) + 5.0, top + BAR - 4.0),
                    "start",
                    "value",
                    &format!("{ratio:.2}"),
                );
            }
        }
        let mut legend_at = WIDTH - RIGHT;
        for (index, name) in self.names.iter().enumerate().rev() {
            legend_at -= legend(&mut out, (legend_at, TOP - 16.0), index, name);
        }
        Some(out + "</svg>\n")
    }
}

#[derive(Clone, Copy, Debug)]
struct Axis {
    scale: Scale,
    min: f64,
    max: f64,
}

impl Axis {
    fn over(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::MAX, f64::MIN), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        let (min, max) = match scale {
            Scale::Linear => (low.min(0.0), high),
            // Whole powers of ten, and never the logarithm of nothing.
            Scale::Log => (low.max(1e-3).log10().floor(), high.max(1e-3).log10().ceil()),
            Scale::Nines => (0.0, high),
        };
        let max = if max > min { max } else { min + 1.0 };
        Self { scale, min, max }
    }

    /// From 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Log => value.max(1e-3).log10(),
            Scale::Linear | Scale::Nines => value,
        };
        ((value - self.min) / (self.max - self.min)).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let step = match self.scale {
            Scale::Linear => round_step((self.max - self.min) / TICKS),
            Scale::Log | Scale::Nines => 1.0,
        };
        let mut ticks = Vec::new();
        let mut at = (self.min / step).ceil() * step;
        while at <= self.max + step * 1e-9 && ticks.len() < 32 {
            ticks.push(match self.scale {
                Scale::Linear => (at, short(at)),
                Scale::Log => (10_f64.powf(at), short(10_f64.powf(at))),
                Scale::Nines => (at, nines(at)),
            });
            at += step;
        }
        ticks
    }
}

/// 1, 2 or 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let times = match step / power {
        times if times <= 1.0 => 1.0,
        times if times <= 2.0 => 2.0,
        times if times <= 5.0 => 5.0,
        _ => 10.0,
    };
    times * power
}

pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 1e9 => format!("{}G", trim(value / 1e9)),
        size if size >= 1e6 => format!("{}M", trim(value / 1e6)),
        size if size >= 1e3 => format!("{}k", trim(value / 1e3)),
        _ => trim(value),
    }
}

fn trim(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn nines(nines: f64) -> String {
    match nines {
        nines if nines < 0.5 => "0 %".to_owned(),
        nines if nines < 1.5 => "90 %".to_owned(),
        nines if nines < 2.5 => "99 %".to_owned(),
        nines => format!("99.{} %", "9".repeat(count(nines - 2.0))),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "nines are few, and a float's `as` saturates"
)]
fn count(nines: f64) -> usize {
    nines.round() as usize
}

fn open(width: f64, height: f64, title: &str) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height:.0}\" width=\"{width}\" height=\"{height:.0}\" \
         font-family=\"system-ui, sans-serif\" role=\"img\">\n<title>{0}</title>\n<style>\n\
         .back{{fill:#fff}}.head{{font-size:16px;font-weight:600;fill:#222}}.tick,.value{{font-size:11px;fill:#444}}\
         .label{{font-size:12px;fill:#444}}.grid{{stroke:#e4e4e4}}.axis{{stroke:#888}}.one{{stroke:#222;stroke-dasharray:4 3}}\
         .spread{{stroke:#222;stroke-width:1.2}}\n\
         @media (prefers-color-scheme:dark){{.back{{fill:#16181c}}.head{{fill:#eee}}.tick,.value,.label{{fill:#bbb}}\
         .grid{{stroke:#33363c}}.axis{{stroke:#777}}.one,.spread{{stroke:#eee}}}}\n</style>\n\
         <rect class=\"back\" width=\"100%\" height=\"100%\" rx=\"6\"/>\n",
        escape(title)
    );
    text(&mut out, (12.0, 26.0), "start", "head", title);
    out
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), class: &str) {
    write_line(
        out,
        &format!(
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, from.1, to.0, to.1
        ),
    );
}

fn text(out: &mut String, at: (f64, f64), anchor: &str, class: &str, words: &str) {
    write_line(
        out,
        &format!(
            "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            at.0,
            at.1,
            escape(words)
        ),
    );
}

/// Draws a name with its colour, right-aligned, and gives the width it took.
fn legend(out: &mut String, at: (f64, f64), index: usize, name: &str) -> f64 {
    let width = name.chars().count() as f64 * 6.6 + 26.0;
    text(out, at, "end", "tick", name);
    write_line(
        out,
        &format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\" rx=\"2\" fill=\"{}\"/>",
            at.0 - width + 10.0,
            at.1 - 9.0,
            colour(index)
        ),
    );
    width
}

fn write_line(out: &mut String, element: &str) {
    // Writing to a string cannot fail.
    writeln!(out, "{element}").ok();
}

fn escape(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_marks() {
        let check = |scale, values: &[f64], expected: &[&str]| {
            let axis = Axis::over(scale, values.iter().copied());
            let labels: Vec<_> = axis.ticks().into_iter().map(|(_, label)| label).collect();
            assert_eq!(labels, expected);
        };
        check(Scale::Linear, &[3.0, 97.0], &["0", "20", "40", "60", "80"]);
        check(
            Scale::Linear,
            &[0.0],
            &["0", "0.2", "0.4", "0.6", "0.8", "1"],
        );
        check(Scale::Log, &[30.0, 4000.0], &["10", "100", "1k", "10k"]);
        check(
            Scale::Nines,
            &[4.2],
            &["0 %", "90 %", "99 %", "99.9 %", "99.99 %"],
        );
    }

    #[test]
    fn a_chart_without_points_is_none_and_others_are_whole() {
        let chart = |points| LineChart {
            title: "a < b".to_owned(),
            x: ("x", Scale::Linear),
            y: ("y", Scale::Log),
            series: vec![Series {
                name: "s".to_owned(),
                points,
            }],
        };
        assert_eq!(chart(Vec::new()).draw(), None);
        let drawn = chart(vec![(0.0, 1.0), (1.0, 0.0)]).draw().unwrap();
        assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"));
        assert!(drawn.contains("a &lt; b") && !drawn.contains("NaN"));
    }

    #[test]
    fn bars_show_their_ratio_even_where_they_are_cut() {
        let chart = RatioChart {
            title: "t".to_owned(),
            baseline: "nginx".to_owned(),
            names: vec!["ringgate".to_owned()],
            rows: vec![RatioRow {
                label: "row".to_owned(),
                bars: vec![Some([7.25, 7.0, 7.5])],
            }],
        };
        assert!(chart.draw().unwrap().contains(">7.25<"));
    }
}
