//! Models: a file each, the ELBO in its header, forward above, backward below.

pub mod likelihood;
pub mod mlp_vae;
