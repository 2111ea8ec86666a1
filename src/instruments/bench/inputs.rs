//! What the peers start from, in one safetensors file: the same pictures, the same order of the batches, the same
//! initial parameters.
//!
//! | tensor | type, shape |
//! |---|---|
//! | `train`, `test` | U8 (N,784): pictures, to be divided by 255 |
//! | `order` | I64 (E,N): the order of the training pictures in each of the first epochs; then they come again |
//! | `MODEL/PARAMETER` | F32: initial values, by PyTorch's names and in its layout |
//!
//! The metadata have the data set's name under `data`.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use crate::arena::Arena;
use crate::backend::{Device, cpu::Cpu};
use crate::data::Dataset;
use crate::data::table::Columns;
use crate::error::Result;
use crate::files::write_atomic;
use crate::kernels::clock::Clock;
use crate::kernels::shuffle;
use crate::program::Recorder;
use crate::train::programs::initial;
use crate::train::settings::Settings;

/// Epochs whose order is written.
const EPOCHS: usize = 10;

/// A tensor in the file.
struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Writes the file for these models, whose seed decides the order.
pub fn write(path: &Path, models: &[Settings], data: &Dataset) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, split) in [("train", &data.train), ("test", &data.test)] {
        let shape = vec![split.count, split.dims()];
        tensors.push(Tensor { name: name.into(), dtype: Dtype::U8, shape, bytes: split.pixels().to_vec() });
    }
    let seed = models.first().map_or(1, |settings| settings.seed);
    let count = data.train.count;
    let orders: Vec<i64> = order(seed, count)?.into_iter().flatten().collect();
    let bytes = bytemuck::cast_slice(&orders).to_vec();
    tensors.push(Tensor { name: "order".into(), dtype: Dtype::I64, shape: vec![EPOCHS, count], bytes });
    for settings in models {
        tensors.extend(parameters(settings, &data.columns())?);
    }
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (tensor.name.as_str(), view.expect("each shape is its bytes'"))
    });
    let metadata = HashMap::from([("data".to_string(), data.name.clone())]);
    let bytes = safetensors::serialize(views, Some(metadata)).expect("names and shapes are valid");
    write_atomic(path, &bytes)
}

/// The order of each of the first epochs, by the kernel that training runs.
fn order(seed: u64, count: usize) -> Result<Vec<Vec<i64>>> {
    let mut arena = Arena::new();
    let clock = Clock::tensor(&mut arena, "clock", 1);
    let order = arena.tensor("order", &[count]);
    let mut r = Recorder::new(&mut arena);
    shuffle::forward(&mut r, clock, order, true);
    let program = r.finish("order");
    let mut backend = Device::Cpu(Cpu::Accelerated).backend();
    let program = backend.load(&arena, &program)?;
    let epoch = |epoch: usize| {
        backend.write_words(clock, &Clock { seed, epoch: epoch as u32, ..Clock::unit() }.words());
        backend.run(&[(program, 1)])?;
        let places = backend.read_one(order)?;
        Ok(places.into_iter().map(|place| i64::from(place.to_bits())).collect())
    };
    (0..EPOCHS).map(epoch).collect()
}

/// The initial parameters of a model.
fn parameters(settings: &Settings, columns: &Columns) -> Result<Vec<Tensor>> {
    let mut arena = Arena::new();
    let model = (settings.entry()?.open)(&mut arena, &settings.own, columns)?;
    let flat = initial(&arena, &*model, settings.seed);
    let tensor = |p: &crate::arena::Parameter| {
        let values = p.layout.to_file(&flat[p.value.offset..][..p.value.len()], p.value.shape());
        Tensor {
            name: format!("{}/{}", settings.preset, p.name),
            dtype: Dtype::F32,
            shape: p.layout.file_shape(p.value.shape()),
            bytes: bytemuck::cast_slice(&values).to_vec(),
        }
    };
    Ok(arena.parameters().iter().map(tensor).collect())
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;
    use crate::instruments::bench;

    #[test]
    fn the_file_holds_pictures_orders_and_parameters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inputs.safetensors");
        let models = ["mnist-mlp", "mnist-conv"].map(|name| Settings::of_preset(name).unwrap());
        let data = bench::data(None, Some(60), &mut |_| ()).unwrap();
        write(&path, &models, &data).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let train = file.tensor("train").unwrap();
        assert_eq!((train.shape(), train.data()), (&[60, 784][..], data.train.pixels()));
        assert_eq!(file.tensor("test").unwrap().shape(), [10, 784]);
        let order = file.tensor("order").unwrap();
        assert_eq!(order.shape(), [EPOCHS, 60]);
        let order: Vec<i64> = bytemuck::pod_collect_to_vec(order.data());
        let epochs: Vec<&[i64]> = order.chunks(60).collect();
        assert!(epochs.iter().all(|epoch| (0..60).all(|picture| epoch.contains(&picture))) && epochs[0] != epochs[1]);
        for (name, shape) in [
            ("mnist-mlp/fc1.weight", &[400, 784][..]),
            ("mnist-mlp/fc22.bias", &[20]),
            ("mnist-conv/encoder.0.0.weight", &[16, 1, 4, 4]),
            ("mnist-conv/decoder.0.0.weight", &[32, 256, 3, 3]),
            ("mnist-conv/decoder.0.1.weight", &[256]),
        ] {
            let tensor = file.tensor(name).unwrap();
            assert_eq!(tensor.shape(), shape, "{name}");
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(tensor.data());
            assert!(values.iter().any(|&v| v != 0.0) && values.iter().all(|v| v.abs() <= 1.0), "{name}");
        }
    }
}
