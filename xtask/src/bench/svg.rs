//! Two kinds of plots as SVG: horizontal bars and steps. On a ground of their own, so that they read on any page.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const INK: &str = "#1f2328";
const FAINT: &str = "#d8dee4";
const GROUND: &str = "#ffffff";
/// Told apart also by those who do not see all colours.
const COLOURS: [&str; 8] = [
    "#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73", "#6e7781", "#cc79a7", "#000000",
];
const BAR: f64 = 20.0;
const LABEL_HEIGHT: f64 = 15.0;

/// How values become lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From 0.
    Linear,
    /// A decade is always as long; for values that differ by more than a few times.
    Logarithmic,
}

/// A bar of a group, with the words beside it.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) text: String,
    /// Bars of the same number have the same colour.
    pub(crate) colour: usize,
}

/// One line of a plot of steps.
#[derive(Debug)]
pub(crate) struct Steps {
    pub(crate) name: String,
    /// One for each place of the axis.
    pub(crate) values: Vec<f64>,
    pub(crate) colour: usize,
}

/// Groups of bars, each under its heading.
pub(crate) fn bars(title: &str, subtitle: &str, scale: Scale, groups: &[(String, Vec<Bar>)]) -> String {
    const LEFT: f64 = 250.0;
    const RIGHT: f64 = 110.0;
    let all = groups.iter().flat_map(|(_, bars)| bars.iter().map(|bar| bar.value));
    let axis = Axis::of(all, scale, LEFT, WIDTH - RIGHT);
    let heights = groups.iter().map(|(_, bars)| bars.len() as f64 * (BAR + 4.0) + 30.0);
    let (top, height) = (70.0, heights.sum::<f64>());
    let mut page = Page::new(title, subtitle, top + height + 30.0);
    for (value, x) in axis.ticks() {
        page.line((x, top), (x, top + height), FAINT);
        page.text((x, top + height + 18.0), "middle", 12, INK, &number(value));
    }
    let mut y = top;
    for (heading, bars) in groups {
        y += 22.0;
        page.text((24.0, y), "start", 13, INK, heading);
        y += 8.0;
        for bar in bars {
            let end = axis.place(bar.value);
            page.text((LEFT - 8.0, y + 15.0), "end", 12, INK, &bar.name);
            page.bar((LEFT, y), end - LEFT, COLOURS[bar.colour % COLOURS.len()]);
            page.text((end + 6.0, y + 15.0), "start", 12, INK, &bar.text);
            y += BAR + 4.0;
        }
    }
    page.line((LEFT, top), (LEFT, top + height), INK);
    page.end()
}

/// Lines that hold each value until the next place, with their names at their ends.
pub(crate) fn steps(title: &str, subtitle: &str, places: &[&str], lines: &[Steps]) -> String {
    const LEFT: f64 = 70.0;
    const RIGHT: f64 = 270.0;
    const TOP: f64 = 76.0;
    const BOTTOM: f64 = 440.0;
    let all = lines.iter().flat_map(|line| line.values.iter().copied());
    let axis = Axis::of(all, Scale::Logarithmic, BOTTOM, TOP);
    let wide = (WIDTH - LEFT - RIGHT) / places.len() as f64;
    let mut page = Page::new(title, subtitle, BOTTOM + 40.0);
    for (value, y) in axis.ticks() {
        page.line((LEFT, y), (WIDTH - RIGHT, y), FAINT);
        page.text((LEFT - 8.0, y + 4.0), "end", 12, INK, &number(value));
    }
    for (index, place) in places.iter().enumerate() {
        page.text(
            (LEFT + (index as f64 + 0.5) * wide, BOTTOM + 20.0),
            "middle",
            12,
            INK,
            place,
        );
    }
    page.line((LEFT, BOTTOM), (WIDTH - RIGHT, BOTTOM), INK);
    let ends: Vec<_> = lines
        .iter()
        .map(|line| axis.place(line.values.last().copied().unwrap_or_default()))
        .collect();
    let labels = apart(&ends, LABEL_HEIGHT);
    for (index, line) in lines.iter().enumerate() {
        let colour = COLOURS[line.colour % COLOURS.len()];
        let mut points = Vec::new();
        for (place, value) in line.values.iter().enumerate() {
            let x = LEFT + place as f64 * wide;
            points.extend([(x, axis.place(*value)), (x + wide, axis.place(*value))]);
        }
        page.path(&points, colour);
        page.line(
            (WIDTH - RIGHT, ends[index]),
            (WIDTH - RIGHT + 14.0, labels[index]),
            colour,
        );
        page.text(
            (WIDTH - RIGHT + 18.0, labels[index] + 4.0),
            "start",
            12,
            colour,
            &line.name,
        );
    }
    page.end()
}

/// Moves places that are too close to each other down, as little as that takes; then all up if they hang out.
fn apart(places: &[f64], distance: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|a, b| places[*a].total_cmp(&places[*b]));
    let mut moved = places.to_vec();
    let mut free_from = f64::NEG_INFINITY;
    for index in order {
        moved[index] = moved[index].max(free_from);
        free_from = moved[index] + distance;
    }
    moved
}

struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    begin: f64,
    end: f64,
}

impl Axis {
    /// Around all values; where it is logarithmic, from a tick that leaves some length to the smallest.
    fn of(values: impl Iterator<Item = f64>, scale: Scale, begin: f64, end: f64) -> Self {
        let values: Vec<_> = values.filter(|value| value.is_finite() && *value > 0.0).collect();
        let largest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let smallest = values.iter().copied().fold(largest, f64::min);
        let from = match scale {
            Scale::Linear => 0.0,
            Scale::Logarithmic => decades()
                .take_while(|tick| *tick <= smallest / 2.0)
                .last()
                .unwrap_or(smallest),
        };
        Self {
            scale,
            from,
            to: largest,
            begin,
            end,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => value / self.to,
            Scale::Logarithmic => (value / self.from).log10() / (self.to / self.from).log10(),
        };
        self.begin + (self.end - self.begin) * share.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<(f64, f64)> {
        let values: Vec<f64> = match self.scale {
            Scale::Linear => {
                let step = 10_f64.powf(self.to.log10().floor()) / 2.0;
                (0..=20).map(|count| f64::from(count) * step).collect()
            }
            Scale::Logarithmic => decades().filter(|tick| *tick >= self.from).collect(),
        };
        let within = values.into_iter().filter(|value| *value <= self.to * 1.0001);
        within.map(|value| (value, self.place(value))).collect()
    }
}

/// The ticks of a logarithmic axis, from one that is smaller than any figure.
fn decades() -> impl Iterator<Item = f64> {
    (-6..9).flat_map(|decade| [1.0, 3.0].map(|part| part * 10_f64.powi(decade)))
}

fn number(value: f64) -> String {
    let digits = if value >= 1.0 || value == 0.0 { 0 } else { 2 };
    let text = format!("{value:.digits$}");
    if digits > 0 {
        text.trim_end_matches('0').to_owned()
    } else {
        text
    }
}

struct Page(String);

impl Page {
    fn new(title: &str, subtitle: &str, height: f64) -> Self {
        let mut page = Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             font-family=\"Helvetica, Arial, sans-serif\" role=\"img\">\n<title>{}</title>\n\
             <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{GROUND}\"/>\n",
            escaped(title)
        ));
        page.text((24.0, 30.0), "start", 17, INK, title);
        page.text((24.0, 50.0), "start", 12, INK, subtitle);
        page
    }

    fn text(&mut self, (x, y): (f64, f64), anchor: &str, size: u32, colour: &str, text: &str) {
        let text = escaped(text);
        self.add(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{colour}\">{text}</text>"
        ));
    }

    fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str) {
        self.add(&format!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
        ));
    }

    fn bar(&mut self, (x, y): (f64, f64), width: f64, colour: &str) {
        let width = width.max(1.0);
        self.add(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>"
        ));
    }

    fn path(&mut self, points: &[(f64, f64)], colour: &str) {
        let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.add(&format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        ));
    }

    fn add(&mut self, element: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{element}");
    }

    fn end(mut self) -> String {
        self.0 += "</svg>\n";
        self.0
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_distance_and_their_order() {
        assert_eq!(apart(&[10.0, 40.0, 12.0, 11.0], 15.0), [10.0, 55.0, 40.0, 25.0]);
        assert_eq!(apart(&[], 15.0), [0.0; 0]);
    }

    #[test]
    fn a_decade_is_always_as_long() {
        let axis = Axis::of([0.21, 100.0].into_iter(), Scale::Logarithmic, 0.0, 300.0);
        let places = [0.1, 1.0, 10.0, 100.0].map(|value| axis.place(value).round());
        assert_eq!(places, [0.0, 100.0, 200.0, 300.0]);
        assert_eq!(axis.ticks().len(), 7);
    }

    #[test]
    fn words_cannot_break_the_picture() {
        let bar = Bar {
            name: "a<b & c".to_owned(),
            value: 1.0,
            text: "1".to_owned(),
            colour: 0,
        };
        let plot = bars("t", "s", Scale::Linear, &[("g".to_owned(), vec![bar])]);
        assert!(plot.contains("a&lt;b &amp; c") && plot.ends_with("</svg>\n"), "{plot}");
    }
}
