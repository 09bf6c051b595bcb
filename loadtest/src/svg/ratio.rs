//! Rows of bars beside a baseline of 1.

use super::{Anchor, Drawing, MARGIN, TOP, WIDTH};

const LEFT: f64 = 290.0;
/// The numbers beside the longest bars have room to its right.
const RIGHT: f64 = WIDTH - MARGIN - 36.0;
const BAR: f64 = 13.0;
const BAR_GAP: f64 = 3.0;
const ROW_GAP: f64 = 14.0;
const FOOT: f64 = 48.0;

/// Shorter is better.
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

impl RatioChart {
    /// `None` if there is no bar to draw.
    pub(crate) fn draw(&self) -> Option<String> {
        let bars = self.rows.iter().flat_map(|row| row.bars.iter().flatten());
        let highest = bars.map(|bar| bar[0]).reduce(f64::max)?;
        // One bar of four times the baseline would flatten all others; it is cut, and its number tells.
        let limit = (highest * 1.1).clamp(1.2, 3.0);
        let place = |ratio: f64| LEFT + ratio.min(limit) / limit * (RIGHT - LEFT);
        let row_height = self.names.len() as f64 * BAR + ROW_GAP;
        let bottom = TOP + self.rows.len() as f64 * row_height;
        let subtitle = format!("relative to {} = 1, shorter is better", self.baseline);
        let mut drawing = Drawing::new(bottom + FOOT, &self.title, &subtitle);
        let mut mark = 0.0;
        while mark <= limit {
            drawing.line((place(mark), TOP), (place(mark), bottom), "grid");
            let label = format!("{mark:.1}");
            drawing.text((place(mark), bottom + 18.0), Anchor::Middle, "tick", &label);
            mark += 0.5;
        }
        for (index, row) in self.rows.iter().enumerate() {
            let top = TOP + index as f64 * row_height + ROW_GAP / 2.0;
            let middle = top + self.names.len() as f64 * BAR / 2.0 + 3.0;
            drawing.text((LEFT - 12.0, middle), Anchor::End, "tick", &row.label);
            for (index, bar) in row.bars.iter().enumerate() {
                if let Some(bar) = bar {
                    draw_bar(&mut drawing, top + index as f64 * BAR, index, *bar, place);
                }
            }
        }
        drawing.line((place(1.0), TOP - 4.0), (place(1.0), bottom), "one");
        drawing.legend(TOP - 14.0, self.names.iter().map(String::as_str));
        Some(drawing.finish())
    }
}

/// With its spread over the rounds, and its number.
fn draw_bar(
    drawing: &mut Drawing,
    top: f64,
    index: usize,
    [ratio, low, high]: [f64; 3],
    place: impl Fn(f64) -> f64,
) {
    let thickness = BAR - BAR_GAP;
    drawing.bar((LEFT, top), (place(ratio) - LEFT, thickness), index);
    let centre = top + thickness / 2.0;
    drawing.line((place(low), centre), (place(high), centre), "spread");
    let number = (place(high.max(ratio)) + 6.0, top + thickness - 1.0);
    drawing.text(number, Anchor::Start, "value", &format!("{ratio:.2}"));
}

#[cfg(test)]
mod tests {
    use super::*;

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
