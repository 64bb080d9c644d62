//! A quantity in groups of bars, with error bars and the values above them.

use super::{Quantity, Scene, lines};
use crate::canvas::{Anchor, Drawing, Stroke};
use crate::chart::{self, EDGE, Entry, Frame, Grid, LINE, Sample, small};
use crate::scale::Scale;
use crate::style::{
    self, BLACK, NORMAL, ONE_COLUMN_MM, SMALL, TWO_COLUMNS_MM, capital, text_width, three_digits,
    words,
};
use crate::{Figure, PlotError};
use models::summary::Estimate;
use plotters::style::RGBColor;

/// More bars than this in a panel cannot be told apart.
const BARS: usize = 40;
const WIDEST: f64 = 26.0;
/// Free space between groups, as a share of what a group has.
const BETWEEN: f64 = 0.16;
/// An error bar never makes the axis longer than this times the largest mean.
const ERROR: f64 = 1.6;

/// A group of bars: its label and its bars from left to right, by look.
struct Group<'a> {
    label: String,
    bars: Vec<(usize, &'a Estimate)>,
}

/// What is the same for all panels.
struct Style {
    divisor: f64,
    scale: Scale,
    /// Bars of a full group.
    slots: usize,
    /// Values stand upright because they are wider than bars are apart.
    turned: bool,
    /// One colour a bar of a group, or one for all.
    colors: bool,
    relative: bool,
}

/// The figure, or `None` if there are fewer than two bars.
pub(super) fn draw(scene: &Scene<'_>, quantity: &Quantity) -> Result<Option<Figure>, PlotError> {
    let selection = &scene.selection;
    let first = usize::from(quantity.relative_to.is_some());
    let panels = 0..selection.panels.len();
    let mut panels: Vec<Vec<Group<'_>>> = panels
        .map(|panel| groups(scene, quantity, panel, first))
        .collect();
    let bars = |groups: &Vec<Group<'_>>| groups.iter().map(|group| group.bars.len()).sum::<usize>();
    if panels.iter().map(bars).sum::<usize>() < 2 {
        return Ok(None);
    }
    let cut = panels.iter_mut().map(shorten).max().unwrap_or(0);
    let estimates: Vec<&Estimate> = panels
        .iter()
        .flatten()
        .flat_map(|g| g.bars.iter().map(|(_, e)| *e))
        .collect();
    let (unit, divisor) = quantity
        .scale
        .unit(estimates.iter().map(|e| e.mean).fold(0.0, f64::max));
    let widest = estimates
        .iter()
        .map(|e| text_width(&three_digits(e.mean / divisor), SMALL));
    let widest = widest.fold(0.0, f64::max);
    // One place: the lines stand side by side, each with its name below.
    let names = selection.x.labels.len() == 1;
    let lines = selection.lines.len() - first;
    let slots = if names { 1 } else { lines };
    let columns = if panels.len() == 1 { 1 } else { 2 };
    let most = panels.iter().map(Vec::len).max().unwrap_or(1) as f64;
    let needed = most * slots as f64 * (widest + 1.5) / (1.0 - BETWEEN) * columns as f64;
    let mm = if needed < 209.0 && columns == 1 {
        ONE_COLUMN_MM
    } else {
        TWO_COLUMNS_MM
    };
    let turned = needed > if mm == ONE_COLUMN_MM { 209.0 } else { 465.0 };
    let height = if columns == 1 { 120.0 } else { 95.0 };
    let head = if turned { widest + 4.0 } else { LINE + 2.0 };
    let style = Style {
        divisor,
        scale: y_scale(quantity, &estimates, divisor, head / height),
        slots,
        turned,
        colors: !names && selection.lines.len() > 1,
        relative: quantity.relative_to.is_some(),
    };
    let caption = caption(scene, quantity, &estimates, cut);
    let layout = Layout {
        mm,
        columns,
        height,
        unit,
    };
    let svg = render(scene, quantity, &panels, &style, &layout, &caption)?;
    Ok(Some(scene.figure(quantity.name, caption, svg)))
}

struct Layout {
    mm: f64,
    columns: usize,
    height: f64,
    unit: &'static str,
}

fn groups<'a>(
    scene: &Scene<'_>,
    quantity: &'a Quantity,
    panel: usize,
    first: usize,
) -> Vec<Group<'a>> {
    let selection = &scene.selection;
    let bar = |line: usize, x: usize| {
        let case = selection.case(panel, line, x)?;
        Some((line, quantity.estimates.get(case)?))
    };
    let lines = first..selection.lines.len();
    let order = selection.x_order();
    let groups: Vec<Group<'_>> = match selection.x.labels.len() {
        1 => lines
            .map(|line| Group {
                label: style::label(&selection.lines[line]),
                bars: bar(line, 0).into_iter().collect(),
            })
            .collect(),
        _ => order
            .iter()
            .map(|&x| Group {
                label: style::label(&selection.x.labels[x]),
                bars: lines.clone().filter_map(|line| bar(line, x)).collect(),
            })
            .collect(),
    };
    groups
        .into_iter()
        .filter(|group| !group.bars.is_empty())
        .collect()
}

/// Keeps the groups that fit; returns how many do not.
fn shorten(groups: &mut Vec<Group<'_>>) -> usize {
    let mut bars = 0;
    let fits = |group: &Group<'_>| {
        bars += group.bars.len();
        bars <= BARS
    };
    let kept = groups
        .iter()
        .map(fits)
        .take_while(|fits| *fits)
        .count()
        .max(1);
    let cut = groups.len().saturating_sub(kept);
    groups.truncate(kept);
    cut
}

fn y_scale(quantity: &Quantity, estimates: &[&Estimate], divisor: f64, head: f64) -> Scale {
    let mean = estimates
        .iter()
        .map(|estimate| estimate.mean)
        .fold(0.0, f64::max);
    let high = estimates
        .iter()
        .filter_map(|estimate| Some(estimate.interval?.high));
    let mut top = high.fold(mean, f64::max).min(ERROR * mean);
    if quantity.relative_to.is_some() {
        top = top.max(100.0);
    }
    Scale::linear(0.0, top.max(1e-9) / divisor / (1.0 - head), 7)
}

fn render(
    scene: &Scene<'_>,
    quantity: &Quantity,
    panels: &[Vec<Group<'_>>],
    style: &Style,
    layout: &Layout,
    caption: &str,
) -> Result<String, PlotError> {
    let selection = &scene.selection;
    let mut drawing = Drawing::new(layout.mm);
    let (left, right) = (
        chart::left_margin(&style.scale),
        drawing.width() - EDGE - 2.0,
    );
    let top = chart::legend(&mut drawing, &legend(scene, style), left, right);
    let space = if panels.len() > 1 { LINE } else { 0.0 };
    // Every row of panels has the labels of its groups below it.
    let labels = match layout.columns {
        1 => 0,
        columns => label_lines(panels, (right - left) / columns as f64 - 2.0 * EDGE),
    };
    let height = layout.height + labels as f64 * LINE;
    let mut grid = Grid::new(
        (left, right),
        top,
        (panels.len(), layout.columns),
        height,
        space,
    );
    let mut lowest: f64 = 0.0;
    for (index, groups) in panels.iter().enumerate() {
        let frame = Frame {
            bottom: grid.frames[index].top + layout.height,
            ..grid.frames[index]
        };
        grid.frames[index] = frame;
        let title = style::shorten(&capital(&selection.panels[index]), SMALL, frame.width());
        let at = (frame.left, frame.top - LINE / 2.0 - 1.0);
        drawing.text(at, small(title, BLACK, Anchor::Start));
        chart::y_axis(&mut drawing, frame, &style.scale, grid.is_left(index));
        lowest = lowest.max(draw_groups(&mut drawing, frame, groups, style));
    }
    let x_name = if selection.x.labels.len() == 1 {
        &selection.line_axis
    } else {
        &selection.x.name
    };
    let below = lowest + NORMAL / 2.0 + 2.0;
    let (across, _) = grid.middle();
    let title = chart::axis_title(&capital(&words(x_name)), drawing.width() - 8.0, false);
    drawing.text((across, below), title);
    let bottom = grid.frames.last().map_or(top, |frame| frame.bottom);
    let down = f64::midpoint(top + space, bottom);
    let title = lines::y_title(quantity, layout.unit);
    let title = chart::axis_title(&title, bottom - EDGE, true);
    drawing.text((EDGE + NORMAL / 2.0, down), title);
    drawing.svg(
        below + NORMAL / 2.0 + EDGE,
        &scene.title(&quantity.words),
        caption,
    )
}

/// Lines of the longest label below a group, in frames of about a width.
fn label_lines(panels: &[Vec<Group<'_>>], width: f64) -> usize {
    let lines = |groups: &Vec<Group<'_>>| {
        let slot = width / groups.len().max(1) as f64;
        let count = |group: &Group<'_>| style::lines(&group.label, SMALL, slot - 2.0).len();
        groups.iter().map(count).max().unwrap_or(0)
    };
    panels.iter().map(lines).max().unwrap_or(0)
}

fn legend(scene: &Scene<'_>, style: &Style) -> Vec<Entry> {
    if !style.colors {
        return Vec::new();
    }
    let heading = format!("{}:", capital(&words(&scene.selection.line_axis)));
    let mut entries = vec![Entry {
        text: heading,
        sample: Sample::Heading,
    }];
    let lines = scene
        .selection
        .lines
        .iter()
        .enumerate()
        .skip(usize::from(style.relative));
    entries.extend(lines.map(|(line, label)| Entry {
        text: style::label(label),
        sample: Sample::Box(style::bar(line)),
    }));
    entries
}

/// Draws the bars and the labels below them; returns the place below the labels.
fn draw_groups(drawing: &mut Drawing, frame: Frame, groups: &[Group<'_>], style: &Style) -> f64 {
    let solid = Stroke {
        color: BLACK,
        width: 0.7,
        dash: &[],
    };
    let slot = frame.width() / groups.len().max(1) as f64;
    let pitch = (slot * (1.0 - BETWEEN) / style.slots as f64).min(WIDEST);
    if style.relative {
        let y = frame.y(&style.scale, 100.0);
        let stroke = Stroke {
            dash: &[2.0, 1.5],
            ..solid
        };
        drawing.line(&[(frame.left, y), (frame.right, y)], stroke);
    }
    let mut lowest = frame.bottom + 3.0 + LINE;
    for (index, group) in groups.iter().enumerate() {
        let middle = frame.left + slot * (index as f64 + 0.5);
        let start = middle - pitch * group.bars.len() as f64 / 2.0;
        for (place, (line, estimate)) in group.bars.iter().enumerate() {
            let color = style::bar(if style.colors { *line } else { 2 });
            let x = start + pitch * (place as f64 + 0.5);
            draw_bar(drawing, frame, (x, 0.45 * pitch), estimate, color, style);
        }
        for (row, text) in style::lines(&group.label, SMALL, slot - 2.0)
            .into_iter()
            .enumerate()
        {
            let y = frame.bottom + 3.0 + LINE * (row as f64 + 0.5);
            drawing.text((middle, y), small(text, BLACK, Anchor::Middle));
            lowest = lowest.max(y + LINE / 2.0);
        }
    }
    drawing.line(
        &[(frame.left, frame.bottom), (frame.right, frame.bottom)],
        solid,
    );
    lowest
}

fn draw_bar(
    drawing: &mut Drawing,
    frame: Frame,
    (x, half): (f64, f64),
    estimate: &Estimate,
    color: RGBColor,
    style: &Style,
) {
    let y = |value: f64| frame.y(&style.scale, value / style.divisor);
    let mut top = y(estimate.mean);
    drawing.rect((x - half, frame.bottom), (x + half, top), color, 1.0);
    if let Some(interval) = estimate.interval {
        let cap = (0.5 * half).min(2.5);
        let (low, high) = (y(interval.low), y(interval.high));
        let stroke = Stroke {
            color: BLACK,
            width: 0.8,
            dash: &[],
        };
        drawing.line(&[(x, low), (x, high)], stroke);
        drawing.line(&[(x - cap, low), (x + cap, low)], stroke);
        drawing.line(&[(x - cap, high), (x + cap, high)], stroke);
        top = high.min(top);
    }
    let mut label = small(
        three_digits(estimate.mean / style.divisor),
        BLACK,
        Anchor::Middle,
    );
    let mut at = (x, (top - LINE / 2.0).max(frame.top + LINE / 2.0));
    if style.turned {
        (label.turned, label.anchor) = (true, Anchor::Start);
        at.1 = top - 3.0;
    }
    drawing.text(at, label);
}

fn caption(scene: &Scene<'_>, quantity: &Quantity, estimates: &[&Estimate], cut: usize) -> String {
    let bars = estimates.iter().any(|estimate| estimate.interval.is_some());
    let pairs = super::averaged(quantity);
    let (x, lines) = (
        words(&scene.selection.x.name),
        words(&scene.selection.line_axis),
    );
    let by = match (x.is_empty(), lines.is_empty()) {
        (false, false) => format!(" by {x} and {lines}"),
        _ => format!(" by {x}{lines}"),
    };
    let mut text = format!("{}{by}. ", capital(&quantity.words));
    text.push_str(&match bars {
        true => format!("Bars and numbers are means over {pairs}, error bars t intervals. "),
        false => format!("Bars and numbers are single {pairs}. "),
    });
    text.push_str(&scene.origin(estimates, true));
    if cut > 0 {
        text.push_str(&format!(
            " {cut} groups of bars that do not fit are left out."
        ));
    }
    text.push_str(&scene.omissions(|row| row.values.get(quantity.measure).is_some()));
    text
}
