//! A trained model's views as ONNX files, which other programs run: `encode` and `decode` of a model of pictures.
//!
//! A view is recorded as it is for a device, and each dispatch of it becomes one or a few nodes of an ONNX graph
//! (`kernels`). So any model can be exported whose views are made of kernels that ONNX has operators for; the first
//! kernel that it has none for is named. `graph` keeps what the nodes leave, `proto` is the file's form.
//!
//! Pictures come and go as (batch,C,H,W) with values from 0 to 1, latent points as (batch,Z), a label as (batch,K), 1
//! at the label and 0 elsewhere. The batch may have any size.

mod graph;
mod kernels;
mod proto;

use prost::Message;

use crate::data::table::Kind;
use crate::error::{Error, Result};
use crate::inference::Trained;
use crate::models::Port;
use graph::Graph;
use proto::ValueInfo;

/// Examples that a view is recorded for. The graph's batch is open: no node has this number.
const ROWS: usize = 2;

/// The bytes of an ONNX file of the view, and what it takes and gives: `x (batch,1,28,28) to mean (batch,20)`.
///
/// Errors: a model without pictures or without this view; a kernel that has no operator in ONNX, by its name.
pub fn export(model: &mut Trained, name: &str) -> Result<(Vec<u8>, String)> {
    model.card.picture()?;
    let view = model.find_view(name)?.clone();
    let (program, inputs, outputs) = model.record(&view, ROWS);
    let (arena, checkpoint) = model.parameters();
    let mut graph = Graph::new(arena, checkpoint);
    for (port, tensor) in view.inputs.iter().zip(inputs) {
        let (info, shape) = info(port)?;
        match port.kind {
            Kind::Picture(_) => graph.takes_picture(info, tensor),
            _ => graph.takes(info, tensor, &shape),
        }
    }
    kernels::translate(&program, &mut graph).map_err(|kernel| {
        Error::Usage(format!(
            "a model of the kind {} cannot be exported: its {name} runs the kernel {kernel}, which has no operator in \
             ONNX",
            model.card.model
        ))
    })?;
    for (port, tensor) in view.outputs.iter().zip(outputs) {
        let (info, shape) = info(port)?;
        graph.gives(info, tensor, &shape);
    }
    let shown = |ports: &[Port]| ports.iter().map(shown).collect::<Vec<_>>().join(", ");
    let text = format!("{} to {}", shown(&view.inputs), shown(&view.outputs));
    let about =
        format!("{name} of a {} ({}), trained on {}: {text}", model.card.model, model.described, model.card.dataset);
    Ok((graph.into_model(name, about).encode_to_vec(), text))
}

/// What the file says of an input or output, and its shape without the batch. Errors: a kind that is no numbers.
fn info(port: &Port) -> Result<(ValueInfo, Vec<usize>)> {
    let shape = match port.kind {
        Kind::Picture(shape) => shape.to_vec(),
        Kind::Vector(n) | Kind::Label(n) => vec![n],
        kind => {
            return Err(Error::Usage(format!(
                "{} is {kind}, and only numbers, pictures and labels are exported",
                port.name
            )));
        }
    };
    Ok((ValueInfo::of_numbers(port.name, &shape), shape))
}

fn shown(port: &Port) -> String {
    let sizes = match port.kind {
        Kind::Picture([c, h, w]) => format!("{c},{h},{w}"),
        kind => kind.width().to_string(),
    };
    format!("{} (batch,{sizes})", port.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::backend::Device;
    use crate::backend::cpu::Cpu;
    use crate::data::table::Columns;
    use crate::train::checkpoint::{MODEL, ModelCard, write_model};
    use crate::train::programs::initial;
    use crate::train::settings::Settings;

    /// The nodes of both views of a model with these settings for pictures of 1 x 8 x 8, and the constants of numbers.
    fn exported(text: &str) -> [(Vec<String>, Vec<String>); 2] {
        let settings = Settings::of_preset("mnist-mlp").unwrap().with(text).unwrap();
        let columns = Columns::of_pictures([1, 8, 8], 0);
        let mut arena = Arena::new();
        let model = (settings.entry().unwrap().open)(&mut arena, &settings.own, &columns).unwrap();
        let parameters = initial(&arena, &*model, 7);
        let statistics = vec![1.0; arena.flat_statistics().map_or(0, |flat| flat.len())];
        let card = ModelCard {
            model: "vae".into(),
            settings: settings.own.clone(),
            columns,
            features: None,
            vocabulary: None,
            spectrogram: None,
            dataset: "drawn".into(),
            epoch: 1,
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let card = serde_json::to_string(&card).unwrap();
        write_model(
            &mut std::fs::File::create(&path).unwrap(),
            &arena,
            [&parameters, &statistics],
            &[],
            (MODEL, &card),
        )
        .unwrap();
        let mut model = Trained::open(&path, &Device::Cpu(Cpu::Accelerated)).unwrap();
        ["encode", "decode"].map(|view| {
            let graph = proto::Model::decode(&export(&mut model, view).unwrap().0[..]).unwrap().graph.unwrap();
            let numbers = graph.initializer.into_iter().filter(|constant| constant.data_type == 1);
            (graph.node.into_iter().map(|node| node.op_type).collect(), numbers.map(|constant| constant.name).collect())
        })
    }

    #[test]
    fn an_mlp_is_products_and_activations() {
        let [encoder, decoder] = exported("hidden = [5]\nlatent = 2");
        assert_eq!(encoder.0, ["Reshape", "Gemm", "Relu", "Gemm", "Gemm", "Reshape", "Reshape"]);
        let parameters = ["fc1.weight", "fc1.bias", "fc21.weight", "fc21.bias", "fc22.weight", "fc22.bias"];
        assert_eq!(encoder.1, parameters);
        assert_eq!(decoder.0, ["Gemm", "Relu", "Gemm", "Sigmoid", "Reshape"]);
    }

    /// No picture is turned around on the way.
    #[test]
    fn a_convolution_takes_what_the_one_before_it_leaves() {
        let [encoder, decoder] = exported(
            "latent = 2\nencoder = 'conv 4 k4 s2 p1, batchnorm, relu, conv 6 k4 s2 p1, flatten'\n\
             decoder = 'conv_transpose 8 k2, batchnorm, relu, conv_transpose 1 k4 s4'",
        );
        let ops = ["Reshape", "Reshape", "Conv", "BatchNormalization", "Relu", "Conv", "Reshape", "Gemm", "Gemm"];
        assert_eq!(encoder.0, [&ops[..], &["Reshape"; 2]].concat());
        let ops = ["Reshape", "ConvTranspose", "BatchNormalization", "Relu", "ConvTranspose"];
        assert_eq!(decoder.0[..5], ops);
        assert!(
            decoder.0[5..].iter().all(|op| ["Transpose", "Reshape", "Sigmoid"].contains(&op.as_str())),
            "{decoder:?}"
        );
    }
}
