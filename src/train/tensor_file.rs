//! Writing safetensors files a tensor at a time: a file of any size takes the memory of one block of one tensor. The
//! crate `safetensors` reads such files; its own writer makes another temporary file, for the user alone, and does not
//! flush it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::arena::Layout;

/// A tensor on its way into a file.
pub struct Outgoing<'a> {
    /// What the file calls it.
    pub name: &'a str,
    /// Its values in the device's order.
    pub values: &'a [f32],
    /// Its shape on the device.
    pub shape: &'a [usize],
    /// How that order is to be changed.
    pub layout: Layout,
    /// Its shape in the file.
    pub file_shape: Vec<usize>,
    /// Whether its values are whole numbers: i64 in the file, as PyTorch has them. Else f32.
    pub is_count: bool,
}

impl Outgoing<'_> {
    fn dtype(&self) -> Dtype {
        if self.is_count { Dtype::I64 } else { Dtype::F32 }
    }

    fn bytes(&self) -> usize {
        self.values.len() * if self.is_count { 8 } else { 4 }
    }

    fn write(&self, file: &mut impl Write) -> io::Result<()> {
        if self.is_count {
            return self.values.iter().try_for_each(|&n| file.write_all(&(n as i64).to_ne_bytes()));
        }
        for (values, shape) in self.blocks() {
            let values = match self.layout {
                Layout::Same => Cow::Borrowed(values),
                Layout::ChannelsLast => Cow::Owned(self.layout.to_file(values, &shape)),
            };
            file.write_all(bytemuck::cast_slice(&values))?;
        }
        Ok(())
    }

    /// The values in pieces that a file has one after the other too, with their shapes: every layout leaves the first
    /// dimension where it is.
    fn blocks(&self) -> impl Iterator<Item = (&[f32], Vec<usize>)> {
        let length = match self.layout {
            Layout::Same => self.values.len(),
            Layout::ChannelsLast => self.shape[1..].iter().product(),
        };
        let shape = match self.layout {
            Layout::Same => self.shape.to_vec(),
            Layout::ChannelsLast => [&[1], &self.shape[1..]].concat(),
        };
        self.values.chunks(length.max(1)).map(move |values| (values, shape.clone()))
    }
}

/// Writes the bytes of a file, which depend on the content alone. `metadata` is text under a key: the format keeps it
/// in a hash map, whose order changes from run to run, so there is at most one. Errors: those of the writer. Panics
/// where values do not fill a shape.
pub fn write(out: &mut dyn Write, mut tensors: Vec<Outgoing>, metadata: Option<(&str, &str)>) -> io::Result<()> {
    // The format's order: the widest types first, then by name.
    tensors.sort_by(|a, b| b.dtype().cmp(&a.dtype()).then(a.name.cmp(b.name)));
    let mut end = 0;
    let infos = tensors.iter().map(|tensor| {
        let start = end;
        end += tensor.bytes();
        let shape = tensor.file_shape.clone();
        (tensor.name.to_string(), TensorInfo { dtype: tensor.dtype(), shape, data_offsets: (start, end) })
    });
    let metadata =
        metadata.into_iter().map(|(key, text)| (key.to_string(), text.to_string())).collect::<HashMap<_, _>>();
    let header = Metadata::new(Some(metadata), infos.collect()).expect("values fill their shapes");
    let mut header = serde_json::to_vec(&header).expect("names and shapes are plain data");
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut out = BufWriter::new(out);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    tensors.iter().try_for_each(|tensor| tensor.write(&mut out))?;
    out.flush()
}
