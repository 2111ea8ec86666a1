//! Pictures and latents: which files are written, of which size, and what comes back from them.

use std::fs;
use std::path::Path;

use elbo::data::npy;

use super::running::{Run, assert_picture, four_dimensions, grid, succeeds};

#[test]
fn every_picture_has_its_size_and_its_place_in_the_run_folder() {
    let run = Run::copy();
    let root = run.root();
    for (command, name, size) in [
        ("sample", "samples.png", grid(8, 8, 2)),
        ("reconstruct", "reconstructions.png", grid(16, 2, 2)),
        ("interpolate", "interpolation.png", grid(10, 2, 2)),
        ("traverse", "traversal.png", grid(9, 2, 2)),
        ("manifold", "manifold.png", grid(15, 15, 2)),
    ] {
        let printed = succeeds(&[command, &root]);
        let line = format!("wrote {}: ", run.file(name).display());
        assert!(printed.starts_with(&line) && printed.contains("digits"), "{printed}");
        assert_picture(&run.file(name), size);
    }
    succeeds(&["sample", &root, "--best"]);
    assert_eq!(fs::read(run.file("samples.png")).unwrap(), fs::read(run.file("best_samples.png")).unwrap());
}

#[test]
fn a_model_file_gets_its_pictures_beside_it() {
    let run = Run::copy();
    succeeds(&["sample", &run.path("model.safetensors"), "--rows", "2", "--columns", "3", "--scale", "1"]);
    assert_picture(&run.file("model_samples.png"), grid(3, 2, 1));
}

#[test]
fn options_shape_the_pictures() {
    let run = Run::copy();
    let root = run.root();
    let out = run.path("out.png");
    let drawn = |args: &[&str], size| {
        let printed = succeeds(&[&[args[0], &root], &args[1..], &["--out", &out]].concat());
        assert_picture(Path::new(&out), size);
        (printed, fs::read(&out).unwrap())
    };
    let plain = drawn(&["sample"], grid(8, 8, 2)).1;
    assert_eq!(drawn(&["sample", "--seed", "1", "--temperature", "1"], grid(8, 8, 2)).1, plain);
    assert_ne!(drawn(&["sample", "--seed", "2"], grid(8, 8, 2)).1, plain);
    // At temperature 0 every sample is the picture of z = 0.
    let frozen = drawn(&["sample", "--temperature", "0"], grid(8, 8, 2)).1;
    assert_eq!(drawn(&["sample", "--temperature", "0", "--seed", "2"], grid(8, 8, 2)).1, frozen);

    drawn(&["reconstruct", "--count", "20", "--scale", "1"], grid(16, 4, 1));
    let (printed, _) = drawn(&["interpolate", "--from", "3", "--to", "9", "--method", "linear"], grid(10, 1, 2));
    assert!(printed.contains("test picture 3 (label") && printed.contains("to 9 (label"), "{printed}");
    drawn(&["interpolate", "--steps", "2", "--method", "spherical"], grid(2, 1, 2));
    let around = drawn(&["traverse", "--index", "5", "--low", "-1", "--steps", "4"], grid(4, 2, 2)).1;
    assert_ne!(drawn(&["traverse", "--prior", "--low", "-1", "--steps", "4"], grid(4, 2, 2)).1, around);
    drawn(&["manifold", "--size", "3", "--low", "0.2", "--high", "0.8"], grid(3, 3, 2));
}

#[test]
fn latents_go_out_and_come_back() {
    let run = Run::copy();
    let root = run.root();
    let printed = succeeds(&["encode", &root, "--limit", "40"]);
    assert_eq!(printed.lines().count(), 3, "{printed}");
    let latents = npy::read(&run.file("latents.npy")).unwrap();
    assert_eq!((latents.rows, latents.columns), (40, 2));

    let mut table = csv::Reader::from_path(run.file("latents.csv")).unwrap();
    let header = table.headers().unwrap().iter().collect::<Vec<_>>().join(",");
    assert_eq!(header, "label,mean_0,mean_1,logvar_0,logvar_1");
    let rows: Vec<Vec<f32>> =
        table.records().map(|row| row.unwrap().iter().map(|cell| cell.parse().unwrap()).collect()).collect();
    let means: Vec<f32> = rows.iter().flat_map(|row| row[1..3].to_vec()).collect();
    assert_eq!(means, latents.values, "the same bits in both");
    assert!(rows.iter().all(|row| (0.0..10.0).contains(&row[0])) && rows.iter().any(|row| row[0] != rows[0][0]));
    assert_eq!(image::image_dimensions(run.file("latents.png")).unwrap().1, 740);

    succeeds(&["decode", &root, &run.path("latents.npy")]);
    assert_picture(&run.file("decoded.png"), grid(16, 3, 2));

    succeeds(&["encode", &root, "--split", "train", "--limit", "3", "--out", &run.path("train.npy")]);
    let train = npy::read(&run.file("train.npy")).unwrap();
    assert!(train.rows == 3 && train.values[..2] != latents.values[..2], "the training pictures are others");
    succeeds(&["decode", &root, &run.path("train.npy"), "--columns", "1", "--scale", "1"]);
    assert_picture(&run.file("decoded.png"), grid(1, 3, 1));
}

#[test]
fn a_model_of_more_dimensions_has_no_scatter() {
    let run = Run::copy();
    let pytorch = four_dimensions(&run);
    succeeds(&["encode", &pytorch, "--dataset", "digits", "--limit", "5"]);
    assert_eq!(npy::read(&run.file("pytorch_latents.npy")).unwrap().columns, 4);
    assert!(run.file("pytorch_latents.csv").exists() && !run.file("pytorch_latents.png").exists());
    run.refused(&["manifold", &pytorch], "4 latent dimensions, a manifold needs 2: take `elbo traverse`");
    run.refused(&["decode", &run.root(), &run.path("pytorch_latents.npy")], "rows have 4 numbers, the model has 2");
}
