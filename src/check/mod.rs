//! How every claim of equality in this project is decided: one comparison, and the cases it is applied to.

pub mod case;
pub mod close;
pub mod gradient;
pub mod report;
pub mod ulp;
