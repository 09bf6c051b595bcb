//! Lines over an axis.

use super::axis::{Axis, Scale};
use super::{Anchor, Drawing, MARGIN, TOP, WIDTH};

const HEIGHT: f64 = 400.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = WIDTH - MARGIN;
const BOTTOM: f64 = HEIGHT - 54.0;

#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

#[derive(Debug)]
pub(crate) struct LineChart {
    pub(crate) title: String,
    /// What was done to see it.
    pub(crate) subtitle: String,
    pub(crate) x: (&'static str, Scale),
    pub(crate) y: (&'static str, Scale),
    pub(crate) series: Vec<Series>,
}

impl LineChart {
    /// `None` if there is no point to draw.
    pub(crate) fn draw(&self) -> Option<String> {
        let drawn = || {
            self.series
                .iter()
                .filter(|series| !series.points.is_empty())
        };
        let points = || drawn().flat_map(|series| &series.points);
        points().next()?;
        let x = Axis::over(self.x.1, points().map(|point| point.0));
        let y = Axis::over(self.y.1, points().map(|point| point.1)).rounded_up();
        let place_x = |value| LEFT + x.place(value) * (RIGHT - LEFT);
        let place_y = |value| BOTTOM - y.place(value) * (BOTTOM - TOP);
        let mut drawing = Drawing::new(HEIGHT, &self.title, &self.subtitle);
        for (value, label) in y.ticks() {
            let at = place_y(value);
            drawing.line((LEFT, at), (RIGHT, at), "grid");
            drawing.text((LEFT - 8.0, at + 4.0), Anchor::End, "tick", &label);
        }
        for (value, label) in x.ticks() {
            let at = place_x(value);
            drawing.line((at, BOTTOM), (at, BOTTOM + 5.0), "axis");
            drawing.text((at, BOTTOM + 19.0), Anchor::Middle, "tick", &label);
        }
        drawing.line((LEFT, BOTTOM), (RIGHT, BOTTOM), "axis");
        let middle = f64::midpoint(LEFT, RIGHT);
        drawing.text((middle, HEIGHT - 14.0), Anchor::Middle, "label", self.x.0);
        drawing.text((MARGIN, TOP - 14.0), Anchor::Start, "label", self.y.0);
        for (index, series) in drawn().enumerate() {
            let points = series.points.iter();
            drawing.polyline(points.map(|(x, y)| (place_x(*x), place_y(*y))), index);
        }
        drawing.legend(TOP - 14.0, drawn().map(|series| series.name.as_str()));
        Some(drawing.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_without_points_is_none_and_others_are_whole() {
        let chart = |points| LineChart {
            title: "a < b".to_owned(),
            subtitle: "once".to_owned(),
            x: ("x", Scale::Linear),
            y: ("y", Scale::Time),
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
}
