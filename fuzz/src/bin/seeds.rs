//! Writes the seeds of every target to `corpus/TARGET/N`, where cargo-fuzz looks for them.

fn main() -> std::io::Result<()> {
    for target in elbo_fuzz::TARGETS {
        let folder = std::path::Path::new("corpus").join(target);
        std::fs::create_dir_all(&folder)?;
        for (n, seed) in elbo_fuzz::seeds(target).iter().enumerate() {
            std::fs::write(folder.join(n.to_string()), seed)?;
        }
    }
    Ok(())
}
