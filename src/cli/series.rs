//! What the commands have in common that are asked of series: charts with bands, in the units of the data.

use elbo::data::features::Features;
use elbo::error::Result;
use elbo::picture::Panel;

use super::shared::require;

/// The share of numbers that lie within a band, and how many deviations of a normal distribution it reaches.
pub const BAND: f64 = 0.9;
const REACH: f64 = 1.644_853_627;

/// Charts below each other at most.
const MOST_PANELS: usize = 64;

/// Numbers with their deviations, N steps of C channels, on the model's scale.
pub struct Drawn {
    /// (N,C)
    pub mean: Vec<f64>,
    /// (N,C)
    pub deviation: Vec<f64>,
}

impl Drawn {
    /// Of a view's mean and logvar.
    pub fn of([mean, logvar]: [&[f32]; 2]) -> Drawn {
        let deviation = logvar.iter().map(|logvar| (0.5 * f64::from(*logvar)).exp()).collect();
        Drawn { mean: mean.iter().copied().map(f64::from).collect(), deviation }
    }

    /// The mean and the band from and to, at a place of (N,C), in the data's units.
    pub fn band(&self, features: &Features, at: usize) -> [f64; 3] {
        let channel = at % features.len();
        [0.0, -REACH, REACH].map(|reach| {
            let value = self.mean[at] + reach * self.deviation[at];
            value * features.deviation[channel] + features.mean[channel]
        })
    }
}

/// Refuses more charts than a picture can show. `option` sets how many.
pub fn check_panels(panels: usize, option: &str) -> Result<()> {
    require(
        (1..=MOST_PANELS).contains(&panels),
        &format!("these are {panels} charts, a channel of a window each, and must be 1 to {MOST_PANELS}: {option}"),
    )
}

/// A chart a channel: the numbers (N,C) in the data's units that were seen, NaN where one is missing, and what was
/// drawn of the steps from `first` on, as a line with a band. Those steps are `marked` or not. `name` stands before the
/// channel's.
pub fn panels(
    name: &str,
    seen: &[f64],
    drawn: &Drawn,
    features: &Features,
    first: usize,
    is_marked: bool,
) -> Vec<Panel> {
    let channels = features.len();
    let steps = first + drawn.mean.len() / channels;
    let panel = |channel: usize| {
        let at = &|step: usize| drawn.band(features, (step - first) * channels + channel);
        let of = |n: usize| (0..steps).map(move |step| if step < first { f64::NAN } else { at(step)[n] });
        let band = of(1).zip(of(2)).map(|(low, high)| [low, high]).collect();
        let marked = is_marked.then_some(first..steps).into_iter().collect();
        let line: Vec<f64> = seen.iter().skip(channel).step_by(channels).copied().collect();
        Panel {
            label: format!("{name}{}", features.names[channel]),
            lines: vec![(0, line), (1, of(0).collect())],
            band,
            marked,
        }
    };
    (0..channels).map(panel).collect()
}
