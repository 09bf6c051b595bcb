//! Small charts as SVG text. Colours hold for readers who cannot tell red from green (Okabe and Ito), and everything is legible
//! on light and dark pages.

mod axis;
mod line;
mod ratio;

pub(crate) use axis::{Scale, short};
pub(crate) use line::{LineChart, Series};
pub(crate) use ratio::{RatioChart, RatioRow};

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const MARGIN: f64 = 20.0;
/// Where title and subtitle end, and the legend and what is drawn begin.
const TOP: f64 = 88.0;
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#888888",
];
/// Of 11 px sans-serif: a little more than most fonts take.
const LETTER_WIDTH: f64 = 6.2;

const STYLE: &str = "\
text{font-family:system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#444;font-size:11px}\
.back{fill:#fff}.title{font-size:16px;font-weight:600;fill:#222}.subtitle{font-size:12px;fill:#666}.label{font-size:12px}\
.grid{stroke:#e8e8e8}.axis{stroke:#888}.one{stroke:#222;stroke-dasharray:4 3}.spread{stroke:#222;stroke-width:1.2}\
@media(prefers-color-scheme:dark){text{fill:#bbb}.back{fill:#16181c}.title{fill:#eee}.subtitle{fill:#999}\
.grid{stroke:#2c2f35}.axis{stroke:#777}.one,.spread{stroke:#eee}}";

fn colour(index: usize) -> &'static str {
    COLOURS
        .get(index % COLOURS.len())
        .copied()
        .unwrap_or("#888888")
}

/// A chart that is being drawn. Positions are in pixels from the upper left corner.
struct Drawing(String);

impl Drawing {
    fn new(height: f64, title: &str, subtitle: &str) -> Self {
        let mut drawing = Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
             height=\"{height:.0}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"back\" width=\"100%\" height=\"100%\" rx=\"8\"/>\n",
            escape(title)
        ));
        drawing.text((MARGIN, 30.0), Anchor::Start, "title", title);
        drawing.text((MARGIN, 49.0), Anchor::Start, "subtitle", subtitle);
        drawing
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        self.push(&format!(
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    fn text(&mut self, at: (f64, f64), anchor: Anchor, class: &str, words: &str) {
        self.push(&format!(
            "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{}\">{}</text>",
            at.0,
            at.1,
            anchor.name(),
            escape(words)
        ));
    }

    fn bar(&mut self, at: (f64, f64), size: (f64, f64), index: usize) {
        self.push(&format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\" fill=\"{}\"/>",
            at.0,
            at.1,
            size.0,
            size.1,
            colour(index)
        ));
    }

    fn polyline(&mut self, points: impl Iterator<Item = (f64, f64)>, index: usize) {
        let points: Vec<_> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.push(&format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" stroke-linejoin=\"round\" \
             stroke-linecap=\"round\"/>",
            points.join(" "),
            colour(index)
        ));
    }

    /// Names with their colours, in one line that ends at the right margin.
    fn legend<'a>(&mut self, baseline: f64, names: impl Iterator<Item = &'a str> + Clone) {
        let width = |name: &str| name.chars().count() as f64 * LETTER_WIDTH + 30.0;
        let mut at = WIDTH - MARGIN + 14.0 - names.clone().map(width).sum::<f64>();
        for (index, name) in names.enumerate() {
            self.bar((at, baseline - 9.0), (10.0, 10.0), index);
            self.text((at + 15.0, baseline), Anchor::Start, "name", name);
            at += width(name);
        }
    }

    fn finish(mut self) -> String {
        self.push("</svg>");
        self.0
    }

    fn push(&mut self, element: &str) {
        // Writing to a string cannot fail.
        writeln!(self.0, "{element}").ok();
    }
}

/// Which end of a text is at its place.
#[derive(Clone, Copy, Debug)]
enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

fn escape(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
