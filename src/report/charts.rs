//! Curves, points and bars as SVG.

use super::html::{details, escape, number, section, table};
use crate::picture::class_color;
use crate::train::drawing::loss_curves;
use crate::train::history::History;

/// A chart in its own units, which the page stretches.
const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 230.0;
/// Around the part with the data: left, top, right, bottom.
const AROUND: [f64; 4] = [52.0, 10.0, 10.0, 26.0];

/// The linear map from a range of values to a range of places.
struct Scale {
    values: [f64; 2],
    places: [f64; 2],
}

impl Scale {
    /// Of all values that are numbers, with a margin where they are few or all alike.
    fn of(values: impl Iterator<Item = f64>, margin: f64, places: [f64; 2]) -> Scale {
        let finite = values.filter(|value| value.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let around = if high > low { (high - low) * margin } else { low.abs().max(1.0) * 0.05 };
        Scale { values: [low - around, high + around], places }
    }

    fn at(&self, value: f64) -> f64 {
        let [low, high] = self.values;
        self.places[0] + (value - low) / (high - low) * (self.places[1] - self.places[0])
    }

    /// Round values within the range, about `count` of them.
    fn marks(&self, count: usize, least_step: f64) -> Vec<f64> {
        let [low, high] = self.values;
        let rough = (high - low) / count as f64;
        let power = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
        let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(10.0 * power).max(least_step);
        let first = (low / step).ceil() as i64;
        (first..first + 20).map(|i| i as f64 * step).take_while(|mark| *mark <= high).collect()
    }
}

/// Text of marks without what f64 adds.
fn mark(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Lines, marks and frame of a chart with these scales.
fn axes(x: &Scale, y: &Scale, whole: bool) -> String {
    let mut svg = String::new();
    let [left, top] = [AROUND[0], AROUND[1]];
    let [right, bottom] = [WIDTH - AROUND[2], HEIGHT - AROUND[3]];
    for value in y.marks(5, 0.0) {
        let at = y.at(value);
        svg += &format!("<path class=\"line\" d=\"M{left:.1} {at:.1}H{right:.1}\"/>");
        svg +=
            &format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", left - 6.0, at + 4.0, mark(value));
    }
    for value in x.marks(6, if whole { 1.0 } else { 0.0 }) {
        let at = x.at(value);
        svg += &format!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", bottom + 17.0, mark(value));
    }
    svg + &format!("<path class=\"frame\" d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\"/>")
}

fn scales(xs: impl Iterator<Item = f64>, ys: impl Iterator<Item = f64>) -> [Scale; 2] {
    [Scale::of(xs, 0.03, [AROUND[0], WIDTH - AROUND[2]]), Scale::of(ys, 0.06, [HEIGHT - AROUND[3], AROUND[1]])]
}

/// The loss and each term over the epochs, training and test, with the numbers under the pointer or the arrow keys, and
/// all of them as a table.
pub fn curves(history: &History) -> String {
    if history.rows.is_empty() {
        return section("Curves", "<p class=\"note\">No epoch has ended yet.</p>");
    }
    let charts = loss_curves(history.terms, &history.rows);
    let about = |name: &str| {
        let term = history.terms.iter().find(|term| term.name == name);
        term.map_or("What is minimised.".to_string(), |term| format!("{}.", term.about))
    };
    let mut body = String::from(
        "<p class=\"legend\"><span class=\"train\">train</span> <span class=\"test\">test</span> \
         in nats a row of the data, unless a term says otherwise. Point at a chart, or focus it and use the arrow \
         keys.</p><div class=\"charts\">",
    );
    for chart in &charts {
        let points = || chart.series.iter().flat_map(|(_, points)| points);
        let [x, y] = scales(points().map(|p| p.0), points().map(|p| p.1));
        let mut svg = axes(&x, &y, true);
        let mut places = Vec::new();
        for ((name, line), class) in chart.series.iter().zip(["train", "test"]) {
            let drawn: Vec<String> = line
                .iter()
                .filter(|(_, value)| value.is_finite())
                .map(|(epoch, value)| format!("{:.1} {:.1}", x.at(*epoch), y.at(*value)))
                .collect();
            svg += &format!("<path class=\"{class} curve\" d=\"M{}\"/>", drawn.join("L"));
            let dots = drawn.iter().filter(|_| drawn.len() <= 30).filter_map(|place| place.split_once(' '));
            svg += &dots
                .map(|(x, y)| format!("<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>"))
                .collect::<String>();
            for (i, (epoch, value)) in line.iter().enumerate() {
                if places.len() <= i {
                    places.push(format!("{:.1}|epoch {epoch}:", x.at(*epoch)));
                }
                let comma = if places[i].ends_with(':') { "" } else { "," };
                places[i] += &format!("{comma} {name} {}", number(*value));
            }
        }
        let guide = format!("<path class=\"guide\" d=\"M-9 {}V{}\"/>", AROUND[1], HEIGHT - AROUND[3]);
        body += &format!(
            "<figure class=\"chart\" tabindex=\"0\" data-values=\"{}\"><figcaption><b>{}</b> {}</figcaption>\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">{svg}{guide}</svg>\
             <output>{}</output></figure>",
            escape(&places.join(";")),
            escape(&chart.title),
            escape(&about(&chart.title)),
            escape(&format!("{} over the epochs; its numbers are in the table below", chart.title)),
            escape(places.last().and_then(|last| last.split_once('|')).map_or("", |(_, told)| told)),
        );
    }
    body += "</div>";
    let names = crate::train::metrics::monitors(history.terms);
    let heads: Vec<&str> =
        std::iter::once("epoch").chain(names.iter().map(String::as_str)).chain(["seconds"]).collect();
    let rows = history.rows.iter().map(|row| {
        let numbers = row.values().into_iter().chain([row.seconds]).map(number);
        std::iter::once(row.epoch.to_string()).chain(numbers).collect()
    });
    body += &details("All numbers", &table(&heads, &rows.collect::<Vec<_>>()));
    section("Curves", &body)
}

/// Points of a plane, a colour a class, with a legend of the classes' names.
pub fn scatter(points: &[[f64; 2]], classes: Option<&[usize]>, names: &[String], labels: [&str; 2]) -> String {
    let [x, y] = scales(points.iter().map(|p| p[0]), points.iter().map(|p| p[1]));
    let class = |i: usize| classes.map_or(0, |classes| classes[i]);
    let count = (0..points.len()).map(class).max().map_or(1, |last| last + 1).max(names.len());
    let mut svg = axes(&x, &y, false);
    let mut legend = String::new();
    for which in 0..count {
        let own: Vec<usize> = (0..points.len()).filter(|&i| class(i) == which).collect();
        if own.is_empty() {
            continue;
        }
        let color = class_color(which, count);
        let color = format!("#{:02x}{:02x}{:02x}", color.0, color.1, color.2);
        let name = names.get(which).cloned().unwrap_or_else(|| which.to_string());
        let dots =
            own.iter().map(|&i| [x.at(points[i][0]), y.at(points[i][1])]).filter(|at| at.iter().all(|v| v.is_finite()));
        let dots: String = dots.map(|[x, y]| format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.6\"/>")).collect();
        let title = if classes.is_some() { format!("<title>{}</title>", escape(&name)) } else { String::new() };
        svg += &format!("<g fill=\"{color}\" fill-opacity=\"0.75\">{title}{dots}</g>");
        if classes.is_some() {
            legend += &format!("<span><i style=\"background:{color}\"></i>{}</span> ", escape(&name));
        }
    }
    format!(
        "<p class=\"legend\">{legend}</p><figure class=\"wide\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"{0} to the right, {1} upwards\">{svg}</svg><figcaption>{0} to the right, {1} upwards</figcaption>\
         </figure>",
        escape(labels[0]),
        escape(labels[1])
    )
}

/// Named values from 0 on, one below the other, each with its number; those that are not `full` are pale.
pub fn bars(values: &[(String, f64, bool)]) -> String {
    let most = values.iter().map(|(_, value, _)| *value).fold(1e-9, f64::max);
    let bar = |(name, value, full): &(String, f64, bool)| {
        format!(
            "<div class=\"bar\"><span>{}</span><span class=\"track\"><i class=\"{}\" style=\"width:{:.2}%\"></i></span>\
             <span>{}</span></div>",
            escape(name),
            if *full { "full" } else { "pale" },
            (value / most * 100.0).clamp(0.0, 100.0),
            number(*value)
        )
    };
    format!("<div class=\"bars\">{}</div>", values.iter().map(bar).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_within_the_range() {
        let scale = Scale { values: [98.3, 131.0], places: [0.0, 1.0] };
        assert_eq!(scale.marks(5, 0.0), [100.0, 110.0, 120.0, 130.0]);
        let epochs = Scale { values: [0.9, 3.1], places: [0.0, 1.0] };
        assert_eq!(epochs.marks(6, 1.0), [1.0, 2.0, 3.0]);
        assert_eq!([0.30000000000000004, 20.0, -0.5].map(mark), ["0.3", "20", "-0.5"]);
    }

    #[test]
    fn what_is_no_number_has_no_place() {
        let points = [[0.0, 0.0], [f64::NAN, 1.0], [1.0, f64::INFINITY], [1.0, 1.0]];
        let svg = scatter(&points, Some(&[0, 0, 0, 1]), &["<zero>".into()], ["z1", "z2"]);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf") && svg.contains("&lt;zero&gt;"), "{svg}");
        assert!(bars(&[("a".into(), f64::NAN, true)]).contains("NaN"));
    }
}
