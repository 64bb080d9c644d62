//! A drawing as a list of shapes, and the one place where the drawing library is called.
//!
//! Lengths are in points from the upper left corner. plotters counts in whole pixels, which shows
//! as stairs in curves; so the shapes are drawn on a canvas of ten pixels a point, and only the
//! `width` and `height` of the document say how large it is on paper.

use crate::PlotError;
use crate::style::{FONT, Marker, WHITE, clean};
use plotters::coord::Shift;
use plotters::prelude::{Circle, DrawingArea, IntoDrawingArea, PathElement, Polygon, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontTransform, IntoFont, RGBColor, ShapeStyle, TextStyle};

const PIXELS: f64 = 10.0;
const POINTS_PER_MM: f64 = 72.0 / 25.4;

/// plotters divides the sizes of fonts by this.
const FONT_DIVISOR: f64 = 1.24;

/// Radius of a marker.
pub(crate) const MARKER: f64 = 2.1;

/// A place on the drawing.
pub(crate) type Point = (f64, f64);

/// Which end of a text is at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// Colour, width and dashes of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stroke {
    pub(crate) color: RGBColor,
    pub(crate) width: f64,
    pub(crate) dash: &'static [f64],
}

/// A text and how it is set. Its place is its middle in the vertical.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) text: String,
    pub(crate) size: f64,
    pub(crate) color: RGBColor,
    pub(crate) anchor: Anchor,
    /// Reads from bottom to top.
    pub(crate) turned: bool,
}

#[derive(Clone, Debug)]
enum Shape {
    Line(Vec<Point>, Stroke),
    Area(Vec<Point>, RGBColor, f64),
    Disc(Point, f64, RGBColor),
    Text(Point, Label),
}

/// Shapes, the later ones on top.
#[derive(Clone, Debug)]
pub(crate) struct Drawing {
    width_mm: f64,
    shapes: Vec<Shape>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

impl Drawing {
    pub(crate) fn new(width_mm: f64) -> Self {
        Self {
            width_mm,
            shapes: Vec::new(),
        }
    }

    /// Width in points.
    pub(crate) fn width(&self) -> f64 {
        self.width_mm * POINTS_PER_MM
    }

    pub(crate) fn line(&mut self, points: &[Point], stroke: Stroke) {
        self.shapes.push(Shape::Line(points.to_vec(), stroke));
    }

    pub(crate) fn area(&mut self, points: Vec<Point>, color: RGBColor, opacity: f64) {
        self.shapes.push(Shape::Area(points, color, opacity));
    }

    /// A filled rectangle between two corners.
    pub(crate) fn rect(&mut self, a: Point, b: Point, color: RGBColor, opacity: f64) {
        self.area(vec![a, (b.0, a.1), b, (a.0, b.1)], color, opacity);
    }

    pub(crate) fn text(&mut self, at: Point, label: Label) {
        self.shapes.push(Shape::Text(at, label));
    }

    /// A marker with a thin white edge, so that it stands out from the lines.
    pub(crate) fn marker(&mut self, (x, y): Point, marker: Marker, color: RGBColor) {
        let open = |points: &[Point]| {
            let points: Vec<Point> = points.iter().map(|(a, b)| (x + a, y + b)).collect();
            move |color, width| {
                Shape::Line(
                    points.clone(),
                    Stroke {
                        color,
                        width,
                        dash: &[],
                    },
                )
            }
        };
        let r = MARKER;
        let strokes = match marker {
            Marker::Cross => [open(&[(-r, -r), (r, r)]), open(&[(-r, r), (r, -r)])],
            Marker::Plus => [open(&[(-r, 0.0), (r, 0.0)]), open(&[(0.0, -r), (0.0, r)])],
            Marker::Bar => [open(&[(-r, 0.0), (r, 0.0)]), open(&[(-r, 0.0), (r, 0.0)])],
            solid => {
                self.solid((x, y), solid, r + 0.6, WHITE);
                self.solid((x, y), solid, r, color);
                return;
            }
        };
        self.shapes
            .extend(strokes.iter().map(|stroke| stroke(WHITE, 2.4)));
        self.shapes
            .extend(strokes.iter().map(|stroke| stroke(color, 1.2)));
    }

    fn solid(&mut self, (x, y): Point, marker: Marker, r: f64, color: RGBColor) {
        let corners = match marker {
            Marker::Square => [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            Marker::Up => [(0.0, -1.2), (1.15, 0.9), (-1.15, 0.9), (-1.15, 0.9)],
            Marker::Down => [(0.0, 1.2), (1.15, -0.9), (-1.15, -0.9), (-1.15, -0.9)],
            Marker::Diamond => [(0.0, -1.3), (1.2, 0.0), (0.0, 1.3), (-1.2, 0.0)],
            _ => return self.shapes.push(Shape::Disc((x, y), r, color)),
        };
        let corners = corners
            .iter()
            .map(|(a, b)| (x + a * r, y + b * r))
            .collect();
        self.area(corners, color, 1.0);
    }

    /// The drawing as an SVG document of a height in points.
    pub(crate) fn svg(&self, height: f64, title: &str, text: &str) -> Result<String, PlotError> {
        let size = (
            pixels(self.width()).unsigned_abs(),
            pixels(height).unsigned_abs(),
        );
        let mut body = String::new();
        let area = SVGBackend::with_string(&mut body, size).into_drawing_area();
        let drawn = self.draw(&area);
        drop(area);
        drawn.map_err(|error| PlotError::Draw(error.to_string()))?;
        let (_, shapes) = body.split_once('\n').unwrap_or_default();
        let (width_mm, height_mm) = (self.width_mm, height / POINTS_PER_MM);
        Ok(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width_mm}mm\" \
             height=\"{height_mm:.1}mm\" viewBox=\"0 0 {} {}\">\n<title>{}</title>\n\
             <desc>{}</desc>\n{shapes}",
            size.0,
            size.1,
            escape(title),
            escape(text),
        ))
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        area.fill(&WHITE)?;
        for shape in &self.shapes {
            match shape {
                Shape::Line(points, stroke) => draw_line(area, points, *stroke)?,
                Shape::Area(points, color, opacity) => {
                    let points: Vec<_> = points.iter().map(|&point| pixel(point)).collect();
                    area.draw(&Polygon::new(points, color.mix(*opacity)))?;
                }
                &Shape::Disc(at, radius, color) => {
                    area.draw(&Circle::new(pixel(at), pixels(radius), color.filled()))?;
                }
                Shape::Text(at, label) => draw_text(area, *at, label)?,
            }
        }
        area.present()?;
        Ok(())
    }
}

fn draw_line(area: &Area<'_>, points: &[Point], stroke: Stroke) -> Drawn {
    let stroke_width = pixels(stroke.width).unsigned_abs();
    let style = ShapeStyle {
        color: stroke.color.into(),
        filled: false,
        stroke_width,
    };
    for piece in dashes(points, stroke.dash) {
        let piece: Vec<_> = piece.into_iter().map(pixel).collect();
        area.draw(&PathElement::new(piece, style))?;
    }
    Ok(())
}

fn draw_text(area: &Area<'_>, (x, y): Point, label: &Label) -> Drawn {
    let across = match label.anchor {
        Anchor::Start => HPos::Left,
        Anchor::Middle => HPos::Center,
        Anchor::End => HPos::Right,
    };
    // The middle of the lower-case letters would be at the place; digits and capitals are higher.
    let drop = 0.1 * label.size;
    let (at, transform) = match label.turned {
        true => ((x + drop, y), FontTransform::Rotate270),
        false => ((x, y + drop), FontTransform::None),
    };
    let style = TextStyle::from((FONT, label.size * PIXELS * FONT_DIVISOR).into_font())
        .transform(transform)
        .color(&label.color)
        .pos(Pos::new(across, VPos::Center));
    area.draw_text(&clean(&label.text), &style, pixel(at))?;
    Ok(())
}

/// The strokes that a dash pattern leaves of a line.
fn dashes(points: &[Point], pattern: &[f64]) -> Vec<Vec<Point>> {
    if pattern.is_empty() {
        return vec![points.to_vec()];
    }
    let mut strokes = Vec::new();
    let mut stroke = Vec::from_iter(points.first().copied());
    let (mut part, mut left) = (0, pattern[0]);
    for ends in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (ends[0], ends[1]);
        let length = ((x1 - x0) * (x1 - x0) + (y1 - y0) * (y1 - y0)).sqrt();
        let mut done = 0.0;
        while length - done > left {
            done += left;
            let share = done / length;
            let at = (x0 + (x1 - x0) * share, y0 + (y1 - y0) * share);
            if part % 2 == 0 {
                stroke.push(at);
                strokes.push(std::mem::take(&mut stroke));
            } else {
                stroke = vec![at];
            }
            part = (part + 1) % pattern.len();
            left = pattern[part];
        }
        left -= length - done;
        if part % 2 == 0 {
            stroke.push((x1, y1));
        }
    }
    if stroke.len() > 1 {
        strokes.push(stroke);
    }
    strokes
}

fn pixels(length: f64) -> i32 {
    // Casts of floats saturate and turn NaN into 0: nothing here can panic.
    (length * PIXELS).round() as i32
}

fn pixel((x, y): Point) -> (i32, i32) {
    (pixels(x), pixels(y))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in clean(text).chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_go_on_around_corners() {
        // 4 on, 2 off along 5 to the right and 5 down: the gap is 1 before and 1 after the corner.
        let strokes = dashes(&[(0.0, 0.0), (5.0, 0.0), (5.0, 5.0)], &[4.0, 2.0]);
        assert_eq!(
            strokes,
            [vec![(0.0, 0.0), (4.0, 0.0)], vec![(5.0, 1.0), (5.0, 5.0)]]
        );
    }

    #[test]
    fn the_document_is_sized_on_paper_and_drawn_ten_times_finer() {
        let mut drawing = Drawing::new(25.4);
        let stroke = Stroke {
            color: WHITE,
            width: 0.5,
            dash: &[],
        };
        drawing.line(&[(0.0, 0.0), (1.05, 7.2)], stroke);
        let svg = drawing.svg(36.0, "a < b", "\"x\" & y").unwrap();
        assert!(svg.starts_with(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"25.4mm\" \
             height=\"12.7mm\" viewBox=\"0 0 720 360\">\n<title>a &lt; b</title>\n\
             <desc>&quot;x&quot; &amp; y</desc>\n"
        ));
        assert!(svg.contains("points=\"0,0 11,72 \""), "{svg}");
        assert!(svg.trim_end().ends_with("</svg>"));
    }
}
