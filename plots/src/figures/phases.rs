//! Where the time of a migration goes: one bar a case, one piece a phase.

use super::Scene;
use crate::canvas::{Anchor, Drawing, Stroke};
use crate::chart::{self, EDGE, Entry, LINE, Sample, small};
use crate::scale::Scale;
use crate::style::{
    self, BLACK, GREY, GRID, Look, Marker, NORMAL, ONE_COLUMN_MM, SMALL, capital, shorten,
    text_width, three_digits, words,
};
use crate::{Figure, PlotError, unit};
use models::record::{MEASURES, Measure};
use models::summary::{CaseSummary, Estimate};

/// More bars than this do not fit a page.
const BARS: usize = 24;
const PITCH: f64 = 11.5;
const BAR: f64 = 7.5;
/// Room for the names of bars.
const NAMES: f64 = 76.0;
/// Phases that add up to the total but for this share are said to add up.
const EQUAL: f64 = 0.01;

struct Phase {
    measure: Measure,
    /// The column's name without `phase_` and the unit.
    name: &'static str,
}

struct Bar<'a> {
    group: String,
    name: String,
    summary: &'a CaseSummary,
}

impl Bar<'_> {
    fn mean(&self, measure: Measure) -> f64 {
        self.summary
            .get(measure)
            .map_or(0.0, |estimate| estimate.mean.max(0.0))
    }

    fn sum(&self, phases: &[Phase]) -> f64 {
        phases.iter().map(|phase| self.mean(phase.measure)).sum()
    }

    /// The measured total, or the sum of the phases without one.
    fn total(&self, phases: &[Phase]) -> f64 {
        let total = self.summary.get(Measure::TotalTime);
        total.map_or_else(|| self.sum(phases), |estimate| estimate.mean)
    }

    fn adds_up(&self, phases: &[Phase]) -> bool {
        (self.sum(phases) - self.total(phases)).abs() <= EQUAL * self.total(phases)
    }
}

/// The figure, or `None` if no case has phases.
pub(super) fn draw(scene: &Scene<'_>) -> Result<Option<Figure>, PlotError> {
    let all = bars(scene);
    let shown = &all[..all.len().min(BARS)];
    let phases: Vec<Phase> = phases()
        .filter(|p| shown.iter().any(|bar| bar.mean(p.measure) > 0.0))
        .collect();
    if phases.is_empty() {
        return Ok(None);
    }
    let caption = caption(scene, shown, all.len(), &phases);
    let svg = render(scene, shown, &phases, &caption)?;
    Ok(Some(scene.figure("phases", caption, svg)))
}

fn phases() -> impl Iterator<Item = Phase> {
    MEASURES.iter().filter_map(|info| {
        let name = info.name.strip_prefix("phase_")?.strip_suffix("_ms")?;
        Some(Phase {
            measure: info.measure,
            name,
        })
    })
}

/// The cases shown, group by group: every line at the lowest, the middle and the highest x, or at
/// every place if x is no axis of numbers.
fn bars<'a>(scene: &'a Scene<'_>) -> Vec<Bar<'a>> {
    let selection = &scene.selection;
    let order = selection.x_order();
    let places: Vec<usize> = match &selection.x.numeric {
        Some(_) => vec![
            order[0],
            order[(order.len() - 1) / 2],
            order[order.len() - 1],
        ],
        None => order,
    };
    let mut bars = Vec::new();
    for (panel, title) in selection.panels.iter().enumerate() {
        for &x in &places {
            let place = match selection.x.name.as_str() {
                "" => String::new(),
                name => format!("{} {}", words(name), style::label(&selection.x.labels[x])),
            };
            let comma = if title.is_empty() || place.is_empty() {
                ""
            } else {
                ", "
            };
            let heading = format!("{place}{comma}{title}");
            for line in 0..selection.lines.len() {
                let case = selection.case(panel, line, x);
                let own = scene
                    .summaries
                    .iter()
                    .find(|summary| Some(summary.case.as_str()) == case);
                let Some(summary) = own else { continue };
                if !phases().any(|phase| summary.get(phase.measure).is_some()) {
                    continue;
                }
                let (group, name) = match selection.lines.len() {
                    1 => (String::new(), heading.clone()),
                    _ => (heading.clone(), style::label(&selection.lines[line])),
                };
                bars.push(Bar {
                    group,
                    name,
                    summary,
                });
            }
        }
    }
    bars
}

fn render(
    scene: &Scene<'_>,
    bars: &[Bar<'_>],
    phases: &[Phase],
    caption: &str,
) -> Result<String, PlotError> {
    let mut drawing = Drawing::new(ONE_COLUMN_MM);
    let longest = |bar: &Bar<'_>| bar.sum(phases).max(bar.total(phases));
    let largest = bars.iter().map(longest).fold(0.0, f64::max);
    let (unit, divisor) = unit::time(largest);
    let name = |bar: &Bar<'_>| text_width(&bar.name, SMALL).min(NAMES);
    let left = EDGE + bars.iter().map(name).fold(0.0, f64::max) + 4.0;
    let number_width =
        |bar: &Bar<'_>| text_width(&three_digits(bar.total(phases) / divisor), SMALL);
    let room = bars.iter().map(number_width).fold(0.0, f64::max) + 6.0;
    let right = drawing.width() - EDGE - room;
    let end = drawing.width() - EDGE;
    let mut y = chart::legend(&mut drawing, &legend(bars, phases), EDGE, end) + 2.0;
    let scale = Scale::linear(0.0, largest / divisor, 6);
    // On to the next tick if it is near.
    let step = scale.ticks.get(1).map_or(0.0, |(value, _)| *value);
    let next = step * scale.ticks.len() as f64;
    let scale = if next < 1.06 * largest / divisor {
        Scale::linear(0.0, next, 6)
    } else {
        scale
    };
    let place = |value: f64| left + scale.share(value) * (right - left);
    for (index, group) in bars.chunk_by(|a, b| a.group == b.group).enumerate() {
        y += if index == 0 { 0.0 } else { 4.0 };
        let heading = &group[0].group;
        if !heading.is_empty() {
            let text = shorten(&capital(heading), SMALL, end - EDGE);
            drawing.text((EDGE, y + LINE / 2.0), small(text, GREY, Anchor::Start));
            y += LINE + 0.5;
        }
        let bottom = y + PITCH * group.len() as f64;
        for (value, _) in &scale.ticks {
            drawing.line(&[(place(*value), y), (place(*value), bottom)], GRID_LINE);
        }
        for bar in group {
            draw_bar(
                &mut drawing,
                (left, right, y + PITCH / 2.0),
                bar,
                phases,
                (&scale, divisor),
            );
            y += PITCH;
        }
        drawing.line(
            &[(left, bottom - PITCH * group.len() as f64), (left, bottom)],
            AXIS,
        );
    }
    let bottom = y + 1.0;
    for (value, text) in &scale.ticks {
        let x = place(*value);
        drawing.line(&[(x, bottom), (x, bottom + 2.5)], AXIS);
        drawing.text(
            (x, bottom + 4.0 + LINE / 2.0),
            small(text.as_str(), BLACK, Anchor::Middle),
        );
    }
    drawing.line(&[(left, bottom), (right, bottom)], AXIS);
    let below = bottom + 4.5 + LINE + NORMAL / 2.0 + 1.0;
    let title = chart::axis_title(&format!("Mean time ({unit})"), right - left, false);
    drawing.text((f64::midpoint(left, right), below), title);
    drawing.svg(
        below + NORMAL / 2.0 + EDGE,
        &scene.title("phases of the migration"),
        caption,
    )
}

const GRID_LINE: Stroke = Stroke {
    color: GRID,
    width: 0.5,
    dash: &[],
};
const AXIS: Stroke = Stroke {
    color: BLACK,
    width: 0.7,
    dash: &[],
};

fn legend(bars: &[Bar<'_>], phases: &[Phase]) -> Vec<Entry> {
    let entry = |phase: &Phase| Entry {
        text: words(phase.name),
        sample: Sample::Box(style::phase(phase.name)),
    };
    let mut entries: Vec<Entry> = phases.iter().map(entry).collect();
    if !bars.iter().all(|bar| bar.adds_up(phases)) {
        let look = Look {
            color: BLACK,
            dash: &[],
            marker: Marker::Diamond,
        };
        entries.push(Entry {
            text: "total time".to_owned(),
            sample: Sample::Marker(look),
        });
    }
    entries
}

fn draw_bar(
    drawing: &mut Drawing,
    (left, right, y): (f64, f64, f64),
    bar: &Bar<'_>,
    phases: &[Phase],
    (scale, divisor): (&Scale, f64),
) {
    let place = |ms: f64| left + scale.share(ms / divisor) * (right - left);
    let label = shorten(&bar.name, SMALL, NAMES);
    drawing.text((left - 4.0, y), small(label, BLACK, Anchor::End));
    let mut done = 0.0;
    for phase in phases {
        let length = bar.mean(phase.measure);
        if length <= 0.0 {
            continue;
        }
        let (from, to) = (place(done), place(done + length));
        done += length;
        // A hairline of white between the pieces, as long as it leaves something of them.
        let gap = if to - from > 1.5 { 0.4 } else { 0.0 };
        let color = style::phase(phase.name);
        drawing.rect((from, y - BAR / 2.0), (to - gap, y + BAR / 2.0), color, 1.0);
    }
    let total = bar.total(phases);
    if !bar.adds_up(phases) {
        drawing.marker((place(total), y), Marker::Diamond, BLACK);
    }
    let text = three_digits(total / divisor);
    drawing.text(
        (place(done.max(total)) + 4.0, y),
        small(text, BLACK, Anchor::Start),
    );
}

fn caption(scene: &Scene<'_>, bars: &[Bar<'_>], all: usize, phases: &[Phase]) -> String {
    let mut text = String::from("Mean time of each phase; ");
    text.push_str(match bars.iter().all(|bar| bar.adds_up(phases)) {
        true => "the number is the total. ",
        false => {
            "the number is the mean total time, and a diamond stands there where the phases do not \
             add up to it because they overlap or leave gaps. "
        }
    });
    let measures = phases
        .iter()
        .map(|phase| phase.measure)
        .chain([Measure::TotalTime]);
    let estimates: Vec<&Estimate> = measures
        .flat_map(|measure| bars.iter().filter_map(move |bar| bar.summary.get(measure)))
        .collect();
    text.push_str(&scene.origin(&estimates, false));
    if scene.selection.x.numeric.is_some() {
        text.push_str(" Shown are the lowest, the middle and the highest value of the axis.");
    }
    if all > bars.len() {
        text.push_str(&format!(
            " {} cases that do not fit are left out.",
            all - bars.len()
        ));
    }
    let has =
        |row: &models::record::Row| phases.iter().any(|p| row.values.get(p.measure).is_some());
    text.push_str(&scene.omissions(has));
    text
}
