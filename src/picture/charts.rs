//! Charts, by plotters.
//!
//! `curves` draws losses over epochs or steps, `curve_panels` several such charts at once, `scatter` 2-D encodings
//! coloured by label, `roofline` what kernels reach of a device, `bars` rates side by side, `powers` times over sizes,
//! `histogram` how many rows have which score, `heat` numbers as coloured cells, `confusion` what a classifier takes
//! for what, `panels` series and what was made of them, `strokes` drawings of a pen; `chart` is what they share.

mod bars;
mod chart;
mod confusion;
mod curves;
mod heat;
mod histogram;
mod panels;
mod powers;
mod roofline;
mod scatter;
mod strokes;

pub use bars::{Bar, Bars, bars};
pub(crate) use chart::class_color;
pub use confusion::confusion;
pub use curves::{Curves, curve_panels, curves};
pub use heat::heat;
pub use histogram::{Heap, histogram};
pub use panels::{Panel, panels};
pub use powers::powers;
pub use roofline::{Mark, roofline};
pub use scatter::scatter;
pub use strokes::strokes;
