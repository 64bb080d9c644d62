//! Axes, legends and panels: from a description of a chart to a drawing.
//!
//! The legend stands above the panels and the labels of vertical marks above the frame, so that no
//! text ever covers data. Panels share both axes; only the outer ones carry numbers.

use crate::PlotError;
use crate::canvas::{Anchor, Drawing, Label, MARKER, Point, Stroke};
use crate::scale::Scale;
use crate::style::{self, BLACK, GREY, GRID, Look, NORMAL, SMALL, capital, shorten, text_width};
use plotters::style::RGBColor;

/// Height of a line of small text.
pub(crate) const LINE: f64 = 9.5;
/// Free space at the edges of a figure.
pub(crate) const EDGE: f64 = 4.0;
/// Between the frame and what stands at its left and right ends inside.
const INSET: f64 = 5.0;
const GAP: f64 = 10.0;
/// Between the entries of a legend.
const APART: f64 = 8.0;
/// Width of a line through points.
pub(crate) const THICK: f64 = 1.1;
/// Width of a line that goes up and down a lot.
pub(crate) const THIN: f64 = 0.8;

const AXIS: Stroke = Stroke {
    color: BLACK,
    width: 0.7,
    dash: &[],
};
const GRID_LINE: Stroke = Stroke {
    color: GRID,
    width: 0.5,
    dash: &[],
};

/// A chart of numbers against numbers, in one or more panels.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) legend: Vec<Entry>,
    pub(crate) x: Scale,
    pub(crate) y: Scale,
    pub(crate) x_title: String,
    pub(crate) y_title: String,
    pub(crate) columns: usize,
    pub(crate) panel_height: f64,
    pub(crate) panels: Vec<Panel>,
}

/// One pair of axes and what is drawn in it, the later marks on top.
#[derive(Clone, Debug, Default)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) marks: Vec<Mark>,
}

/// Something drawn at data coordinates.
#[derive(Clone, Debug)]
pub(crate) enum Mark {
    /// The range between two lines.
    Band {
        opacity: f64,
        lower: Vec<Point>,
        upper: Vec<Point>,
        color: RGBColor,
    },
    Line {
        points: Vec<Point>,
        look: Look,
        width: f64,
    },
    Points {
        points: Vec<Point>,
        look: Look,
    },
    /// A thin line from top to bottom with a text above the frame.
    Vertical {
        x: f64,
        text: String,
        color: RGBColor,
    },
    /// A thin line from side to side.
    Horizontal {
        y: f64,
    },
    /// A grey stretch of the x axis.
    Shade {
        from: f64,
        to: f64,
    },
    /// A marker on the x axis, or across from it on the frame.
    Event {
        x: f64,
        look: Look,
        across: bool,
    },
}

/// One entry of a legend.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) text: String,
    pub(crate) sample: Sample,
}

/// What stands before the text of a legend entry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sample {
    /// Nothing: the entry says what the others are.
    Heading,
    Line(Look),
    /// A line that has no markers.
    BareLine(Look),
    Box(RGBColor),
    Marker(Look),
}

impl Sample {
    fn width(self) -> f64 {
        match self {
            Self::Heading => 0.0,
            Self::Line(_) | Self::BareLine(_) => 24.0,
            Self::Box(_) | Self::Marker(_) => 11.0,
        }
    }
}

/// The inside of a pair of axes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) right: f64,
    pub(crate) bottom: f64,
}

impl Frame {
    pub(crate) fn width(&self) -> f64 {
        self.right - self.left
    }

    fn x(&self, scale: &Scale, value: f64) -> f64 {
        self.left + INSET + scale.share(value) * (self.width() - 2.0 * INSET)
    }

    pub(crate) fn y(&self, scale: &Scale, value: f64) -> f64 {
        self.bottom - scale.share(value) * (self.bottom - self.top)
    }
}

/// A small label.
pub(crate) fn small(text: impl Into<String>, color: RGBColor, anchor: Anchor) -> Label {
    Label {
        text: text.into(),
        size: SMALL,
        color,
        anchor,
        turned: false,
    }
}

/// The title of an axis.
pub(crate) fn axis_title(text: &str, room: f64, turned: bool) -> Label {
    let text = shorten(text, NORMAL, room);
    Label {
        text,
        size: NORMAL,
        color: BLACK,
        anchor: Anchor::Middle,
        turned,
    }
}

/// How much room the numbers and the title of a y axis take at its left.
pub(crate) fn left_margin(y: &Scale) -> f64 {
    let widest = y
        .ticks
        .iter()
        .map(|(_, text)| text_width(text, SMALL))
        .fold(0.0, f64::max);
    EDGE + NORMAL + 4.0 + widest + 5.0
}

/// Draws a legend in as many rows as it takes, from the left end of the frame if it fits into one
/// row there and else from the edge of the figure; returns the place below it.
pub(crate) fn legend(drawing: &mut Drawing, entries: &[Entry], from: f64, to: f64) -> f64 {
    let width = |entry: &Entry| entry.sample.width() + text_width(&entry.text, SMALL) + APART;
    let all: f64 = entries.iter().map(width).sum();
    let mut from = if all - APART > to - from { EDGE } else { from };
    let (mut x, mut y) = (from, EDGE + LINE / 2.0);
    for entry in entries {
        let before = entry.sample.width();
        let text = shorten(&entry.text, SMALL, to - from - before);
        let width = before + text_width(&text, SMALL);
        if x > from && x + width > to {
            (x, y) = (from, y + LINE);
        }
        sample(drawing, entry.sample, x, y);
        let color = if matches!(entry.sample, Sample::Heading) {
            GREY
        } else {
            BLACK
        };
        drawing.text((x + before, y), small(text, color, Anchor::Start));
        x += width + APART;
        if matches!(entry.sample, Sample::Heading) && x < to / 3.0 {
            from = x;
        }
    }
    if entries.is_empty() {
        EDGE
    } else {
        y + LINE / 2.0 + 3.0
    }
}

fn sample(drawing: &mut Drawing, sample: Sample, x: f64, y: f64) {
    match sample {
        Sample::Heading => {}
        Sample::Line(look) | Sample::BareLine(look) => {
            let stroke = Stroke {
                color: look.color,
                width: THICK,
                dash: look.dash,
            };
            drawing.line(&[(x, y), (x + 21.0, y)], stroke);
            if matches!(sample, Sample::Line(_)) {
                drawing.marker((x + 10.5, y), look.marker, look.color);
            }
        }
        Sample::Box(color) => drawing.rect((x, y - 3.2), (x + 8.0, y + 3.2), color, 1.0),
        Sample::Marker(look) => drawing.marker((x + 4.0, y), look.marker, look.color),
    }
}

/// Draws the left axis: lines across the frame, ticks, and numbers if wanted.
pub(crate) fn y_axis(drawing: &mut Drawing, frame: Frame, scale: &Scale, numbers: bool) {
    for (value, text) in &scale.ticks {
        let y = frame.y(scale, *value);
        drawing.line(&[(frame.left, y), (frame.right, y)], GRID_LINE);
        drawing.line(&[(frame.left - 2.5, y), (frame.left, y)], AXIS);
        if numbers {
            let label = small(text.as_str(), BLACK, Anchor::End);
            drawing.text((frame.left - 4.5, y), label);
        }
    }
    for &value in &scale.minor {
        let y = frame.y(scale, value);
        drawing.line(&[(frame.left - 1.5, y), (frame.left, y)], AXIS);
    }
    drawing.line(&[(frame.left, frame.top), (frame.left, frame.bottom)], AXIS);
}

/// The frames of panels in rows, all of a size, the last row not always full.
pub(crate) struct Grid {
    pub(crate) frames: Vec<Frame>,
    pub(crate) columns: usize,
    /// Below the lowest frame.
    pub(crate) bottom: f64,
}

impl Grid {
    /// `space` is what each panel needs above its frame.
    pub(crate) fn new(
        (left, right): (f64, f64),
        top: f64,
        (panels, columns): (usize, usize),
        height: f64,
        space: f64,
    ) -> Self {
        let columns = columns.clamp(1, panels.max(1));
        let width = (right - left - GAP * (columns as f64 - 1.0)) / columns as f64;
        let pitch = space + height + if space > 0.0 { 9.0 } else { GAP };
        let frame = |index: usize| {
            let left = left + (index % columns) as f64 * (width + GAP);
            let top = top + (index / columns) as f64 * pitch + space;
            Frame {
                left,
                top,
                right: left + width,
                bottom: top + height,
            }
        };
        let frames: Vec<Frame> = (0..panels).map(frame).collect();
        let bottom = frames.last().map_or(top, |frame| frame.bottom);
        Self {
            frames,
            columns,
            bottom,
        }
    }

    /// Whether a panel is the first of its row.
    pub(crate) fn is_left(&self, index: usize) -> bool {
        index.is_multiple_of(self.columns)
    }

    /// Whether no panel is below a panel.
    pub(crate) fn is_lowest(&self, index: usize) -> bool {
        index + self.columns >= self.frames.len()
    }

    /// The middle of all frames.
    pub(crate) fn middle(&self) -> Point {
        let top = self.frames.first().map_or(0.0, |frame| frame.top);
        let left = self.frames.first().map_or(0.0, |frame| frame.left);
        let right = self
            .frames
            .iter()
            .map(|frame| frame.right)
            .fold(left, f64::max);
        (f64::midpoint(left, right), f64::midpoint(top, self.bottom))
    }
}

/// Charts of one panel each side by side, each with axes of its own, below one legend. The lines of
/// a panel's title stand above each other.
pub(crate) fn row(
    charts: &[Chart],
    entries: &[Entry],
    mm: f64,
    title: &str,
    text: &str,
) -> Result<String, PlotError> {
    let mut drawing = Drawing::new(mm);
    let margin = |chart: &Chart| match chart.y_title.is_empty() {
        true => left_margin(&chart.y) - NORMAL - 4.0,
        false => left_margin(&chart.y),
    };
    // Half a number may stand beyond the right end of a frame.
    let beyond = 2.0 * EDGE;
    let right = drawing.width();
    let margins: f64 = charts.iter().map(margin).sum();
    let width = (right - margins) / charts.len().max(1) as f64 - beyond;
    let first = charts.first().map_or(EDGE, margin);
    let top = legend(&mut drawing, entries, first, right - EDGE);
    let lines = |chart: &Chart| chart.panels[0].title.lines().count();
    let above = charts.iter().map(lines).max().unwrap_or(0) as f64 * LINE;
    let (mut left, mut height) = (0.0, 0.0);
    for chart in charts {
        left += margin(chart);
        let frame = Frame {
            left,
            top: top + above,
            right: left + width,
            bottom: top + above + chart.panel_height,
        };
        chart.draw_own(&mut drawing, frame, top);
        left = frame.right + beyond;
        let title = 4.5 + LINE + NORMAL + 1.0 + EDGE;
        height = f64::max(height, frame.bottom + title);
    }
    drawing.svg(height, title, text)
}

impl Chart {
    /// The only panel with its title and its axes into a frame.
    fn draw_own(&self, drawing: &mut Drawing, frame: Frame, top: f64) {
        let panel = &self.panels[0];
        for (line, text) in panel.title.lines().enumerate() {
            let at = (frame.left, top + LINE * (line as f64 + 0.5) - 1.5);
            let text = shorten(text, SMALL, frame.width() + EDGE);
            drawing.text(at, small(text, BLACK, Anchor::Start));
        }
        self.draw_panel(drawing, panel, frame, (true, true));
        let across = f64::midpoint(frame.left, frame.right);
        let below = frame.bottom + 4.5 + LINE + NORMAL / 2.0 + 1.0;
        let room = frame.width() + 3.0 * EDGE;
        drawing.text((across, below), axis_title(&self.x_title, room, false));
        let down = f64::midpoint(frame.top, frame.bottom);
        let left = frame.left - left_margin(&self.y) + EDGE + NORMAL / 2.0;
        let room = frame.bottom - top;
        drawing.text((left, down), axis_title(&self.y_title, room, true));
    }

    /// The chart as an SVG document of a width.
    pub(crate) fn svg(&self, mm: f64, title: &str, text: &str) -> Result<String, PlotError> {
        let mut drawing = Drawing::new(mm);
        let left = left_margin(&self.y);
        let last = self
            .x
            .ticks
            .last()
            .map_or(0.0, |(_, text)| text_width(text, SMALL) / 2.0);
        let right = drawing.width() - EDGE - (last - INSET).max(1.0);
        let top = legend(&mut drawing, &self.legend, left, right);
        let columns = self.columns.clamp(1, self.panels.len().max(1)) as f64;
        let width = (right - left - GAP * (columns - 1.0)) / columns;
        let titled = self.panels.iter().any(|panel| !panel.title.is_empty());
        let title_space = if titled { LINE } else { 0.0 };
        let rows = self
            .panels
            .iter()
            .map(|panel| self.vertical_labels(panel, width).rows);
        let space = title_space + rows.max().unwrap_or(0) as f64 * LINE;
        let shape = (self.panels.len(), self.columns);
        let grid = Grid::new((left, right), top, shape, self.panel_height, space);
        for (index, (panel, &frame)) in self.panels.iter().zip(&grid.frames).enumerate() {
            if titled {
                let text = shorten(&capital(&panel.title), SMALL, frame.width());
                let at = (frame.left, frame.top - space + LINE / 2.0 - 1.5);
                drawing.text(at, small(text, BLACK, Anchor::Start));
            }
            self.draw_panel(
                &mut drawing,
                panel,
                frame,
                (grid.is_left(index), grid.is_lowest(index)),
            );
        }
        let (across, down) = grid.middle();
        let below = grid.bottom + 4.5 + LINE + NORMAL / 2.0 + 1.0;
        drawing.text(
            (across, below),
            axis_title(&self.x_title, drawing.width() - 8.0, false),
        );
        let room = grid.bottom - top + 12.0;
        drawing.text(
            (EDGE + NORMAL / 2.0, down),
            axis_title(&self.y_title, room, true),
        );
        drawing.svg(below + NORMAL / 2.0 + EDGE, title, text)
    }

    fn draw_panel(
        &self,
        drawing: &mut Drawing,
        panel: &Panel,
        frame: Frame,
        numbers: (bool, bool),
    ) {
        for mark in &panel.marks {
            if let Mark::Shade { from, to } = *mark {
                let (from, to) = (frame.x(&self.x, from), frame.x(&self.x, to));
                drawing.rect((from, frame.top), (to, frame.bottom), style::SHADE, 1.0);
            }
        }
        y_axis(drawing, frame, &self.y, numbers.0);
        self.x_axis(drawing, frame, numbers.1);
        for mark in &panel.marks {
            self.draw_mark(drawing, frame, mark);
        }
        self.draw_verticals(drawing, panel, frame);
        self.draw_events(drawing, panel, frame);
    }

    fn x_axis(&self, drawing: &mut Drawing, frame: Frame, numbers: bool) {
        let mut free = f64::NEG_INFINITY;
        for (value, text) in &self.x.ticks {
            let x = frame.x(&self.x, *value);
            drawing.line(&[(x, frame.bottom), (x, frame.bottom + 2.5)], AXIS);
            let half = text_width(text, SMALL) / 2.0;
            if numbers && x - half > free {
                let label = small(text.as_str(), BLACK, Anchor::Middle);
                drawing.text((x, frame.bottom + 4.0 + LINE / 2.0), label);
                free = x + half + 3.0;
            }
        }
        for &value in &self.x.minor {
            let x = frame.x(&self.x, value);
            drawing.line(&[(x, frame.bottom), (x, frame.bottom + 1.5)], AXIS);
        }
        drawing.line(
            &[(frame.left, frame.bottom), (frame.right, frame.bottom)],
            AXIS,
        );
    }

    fn draw_mark(&self, drawing: &mut Drawing, frame: Frame, mark: &Mark) {
        let place = |&(x, y): &Point| (frame.x(&self.x, x), frame.y(&self.y, y));
        match mark {
            Mark::Band {
                opacity,
                lower,
                upper,
                color,
            } => {
                let around = upper.iter().chain(lower.iter().rev()).map(place).collect();
                drawing.area(around, *color, *opacity);
            }
            Mark::Line {
                points,
                look,
                width,
            } => {
                let points: Vec<Point> = points.iter().map(place).collect();
                let stroke = Stroke {
                    color: look.color,
                    width: *width,
                    dash: look.dash,
                };
                drawing.line(&points, stroke);
            }
            Mark::Points { points, look } => {
                for point in points {
                    drawing.marker(place(point), look.marker, look.color);
                }
            }
            Mark::Horizontal { y } => {
                let y = frame.y(&self.y, *y);
                let stroke = Stroke {
                    color: BLACK,
                    width: 0.7,
                    dash: &[2.0, 1.5],
                };
                drawing.line(&[(frame.left, y), (frame.right, y)], stroke);
            }
            Mark::Vertical { .. } | Mark::Shade { .. } | Mark::Event { .. } => {}
        }
    }

    fn draw_verticals(&self, drawing: &mut Drawing, panel: &Panel, frame: Frame) {
        let labels = self.vertical_labels(panel, frame.width());
        for label in &labels.labels {
            let x = frame.left + label.at;
            let stroke = Stroke {
                color: label.color,
                width: 0.7,
                dash: &[0.8, 1.2],
            };
            let y = frame.top - label.row as f64 * LINE;
            drawing.line(&[(x, y - 1.0), (x, frame.bottom)], stroke);
            let at = (frame.left + label.middle, y - 1.5 - LINE / 2.0);
            drawing.text(at, small(label.text.as_str(), label.color, Anchor::Middle));
        }
    }

    /// Puts the labels of vertical marks into rows in which they do not touch.
    fn vertical_labels(&self, panel: &Panel, width: f64) -> Verticals {
        let frame = Frame {
            left: 0.0,
            top: 0.0,
            right: width,
            bottom: 0.0,
        };
        let mut marks: Vec<(f64, &str, RGBColor)> = Vec::new();
        for mark in &panel.marks {
            if let Mark::Vertical { x, text, color } = mark {
                marks.push((frame.x(&self.x, *x), text, *color));
            }
        }
        marks.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut ends: Vec<f64> = Vec::new();
        let mut labels = Vec::new();
        for (at, text, color) in marks {
            let half = text_width(text, SMALL) / 2.0;
            let middle = at.clamp(half.min(width / 2.0), (width - half).max(width / 2.0));
            let free = ends.iter().position(|&end| middle - half > end + 4.0);
            let row = free.unwrap_or(ends.len());
            ends.resize(ends.len().max(row + 1), 0.0);
            // The line of a label in a higher row goes through the rows below it.
            for end in &mut ends[..row] {
                *end = end.max(at);
            }
            ends[row] = middle + half;
            labels.push(Vertical {
                at,
                middle,
                row,
                text: text.to_owned(),
                color,
            });
        }
        Verticals {
            labels,
            rows: ends.len(),
        }
    }

    /// Markers on the x axis; one that would cover another stands above it. Their lines go through
    /// the frame, or to its middle where there are markers at both ends.
    fn draw_events(&self, drawing: &mut Drawing, panel: &Panel, frame: Frame) {
        let is_across = |mark: &Mark| matches!(mark, Mark::Event { across: true, .. });
        let both = panel.marks.iter().any(is_across);
        let middle = f64::midpoint(frame.top, frame.bottom);
        let mut placed: Vec<Point> = Vec::new();
        for mark in &panel.marks {
            let Mark::Event { x, look, across } = *mark else {
                continue;
            };
            let x = frame.x(&self.x, x);
            let (mut y, step) = match across {
                true => (frame.top, 3.0 * MARKER),
                false => (frame.bottom, -3.0 * MARKER),
            };
            let near = |y: f64| move |&&(a, b): &&Point| (a - x).abs() < 3.0 * MARKER && b == y;
            while placed.iter().find(near(y)).is_some() {
                y += step;
            }
            placed.push((x, y));
            let stroke = Stroke {
                color: look.color,
                width: 0.6,
                dash: &[0.8, 1.2],
            };
            let (from, to) = match across {
                true => (frame.top, middle),
                false => (middle, frame.bottom),
            };
            let from = if both { from } else { frame.top };
            let to = if both { to } else { frame.bottom };
            drawing.line(&[(x, from), (x, to)], stroke);
            drawing.marker((x, y), look.marker, look.color);
        }
    }
}

struct Vertical {
    at: f64,
    middle: f64,
    row: usize,
    text: String,
    color: RGBColor,
}

struct Verticals {
    labels: Vec<Vertical>,
    rows: usize,
}
