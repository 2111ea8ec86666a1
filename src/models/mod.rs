//! Models: a file each, the ELBO in its header, forward above, backward below. `mlp` and `network` build what is inside.

#[cfg(test)]
mod drawn;
pub mod likelihood;
mod mlp;
pub mod network;
pub mod vae;
