//! The memory plan: every buffer a model and its programs use, decided before anything runs.
//!
//! Activations and their gradients get a buffer each. wgpu tracks buffers whole: it puts a barrier between any two
//! dispatches of a pass where one writes a buffer that the other uses, and in one dispatch no buffer may be read
//! through one binding and written through another. Buffers of their own save barriers only in the first replay of a
//! pass. From the second on nearly every dispatch writes what the replay before has read, and that is a barrier
//! (`docs/src/wgpu.md` counts them).
//!
//! All parameters share one flat buffer, their gradients another of the same layout, and so do the optimiser's moments:
//! one Adam dispatch then updates the whole model. The price is a barrier between two dispatches that add to the
//! gradients of different parameters. What a model keeps without training it, such as batch norm's running statistics,
//! shares a third.

use crate::tensor::Tensor;

/// Views start at multiples of this many words: 256 bytes, the largest offset alignment WebGPU lets an adapter ask for.
pub(crate) const ALIGNMENT: usize = 64;
const PARAMETERS: usize = 0;
const GRADIENTS: usize = 1;
const STATISTICS: usize = 2;

/// One allocation on the device.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// What messages and the driver's labels call it.
    pub name: String,
    /// Size in 32-bit words.
    pub words: usize,
}

/// A trainable tensor and the place of its gradient, which backward kernels add to.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// PyTorch's name, e.g. `fc1.weight`.
    pub name: String,
    /// Its place in the flat buffer of parameters, with the shape on the device.
    pub value: Tensor,
    /// The same shape and offset in the flat buffer of gradients.
    pub grad: Tensor,
    /// How `value` and `grad` are ordered, seen from a file.
    pub layout: Layout,
}

/// How the device orders a tensor that files hold in PyTorch's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As the file does.
    Same,
    /// (A,B,H,W) in a file is (A,H,W,B) on the device: kernels find the channels of one place side by side.
    ChannelsLast,
}

/// A tensor that a model keeps but does not train; PyTorch calls it a buffer.
#[derive(Clone, Debug)]
pub struct Statistic {
    /// PyTorch's name, e.g. `encoder.1.running_mean`.
    pub name: String,
    /// Its place in the flat buffer of statistics, with its shape.
    pub value: Tensor,
    /// What every element starts as.
    pub initial: f32,
    /// How it is ordered, seen from a file.
    pub layout: Layout,
    /// One whole number, which files hold as a 64-bit integer without dimensions.
    pub is_count: bool,
}

impl Statistic {
    /// Its shape in a file.
    pub fn file_shape(&self) -> Vec<usize> {
        if self.is_count { Vec::new() } else { self.layout.file_shape(self.value.shape()) }
    }
}

impl Layout {
    /// The shape in a file of a tensor of this shape on the device.
    pub fn file_shape(self, device: &[usize]) -> Vec<usize> {
        match (self, device) {
            (Layout::Same, _) => device.to_vec(),
            (Layout::ChannelsLast, &[a, h, w, b]) => vec![a, b, h, w],
            (Layout::ChannelsLast, _) => panic!("channels last is an order of four dimensions, not of {device:?}"),
        }
    }

    /// The device's values of this shape, in a file's order.
    pub fn to_file(self, values: &[f32], device: &[usize]) -> Vec<f32> {
        self.reorder(values, device, |values, device, file| (file, values[device]))
    }

    /// A file's values in the device's order, where the tensor has this shape.
    pub fn from_file(self, values: &[f32], device: &[usize]) -> Vec<f32> {
        self.reorder(values, device, |values, device, file| (device, values[file]))
    }

    /// `place` gets the index of an element on the device and in a file, and says what goes where.
    fn reorder(
        self,
        values: &[f32],
        device: &[usize],
        place: impl Fn(&[f32], usize, usize) -> (usize, f32),
    ) -> Vec<f32> {
        if self == Layout::Same {
            return values.to_vec();
        }
        let &[a, h, w, b] = device else { panic!("channels last is an order of four dimensions, not of {device:?}") };
        let mut reordered = vec![0.0; values.len()];
        for i in 0..a {
            for s in 0..h * w {
                for j in 0..b {
                    let (to, value) = place(values, (i * h * w + s) * b + j, (i * b + j) * h * w + s);
                    reordered[to] = value;
                }
            }
        }
        reordered
    }
}

/// The plan of device memory: names, sizes, places. It holds no values;
/// [`Backend::load`](crate::backend::Backend::load) allocates what it says.
#[derive(Clone, Debug)]
pub struct Arena {
    buffers: Vec<Buffer>,
    parameters: Vec<Parameter>,
    statistics: Vec<Statistic>,
    /// What is put before the names of a trained model that is declared within another.
    frozen: Option<String>,
    /// Buffers of programs that share theirs, and how many of them the one that is being recorded has taken.
    shared: Option<(Vec<usize>, usize)>,
}

impl Default for Arena {
    fn default() -> Arena {
        Arena::new()
    }
}

impl Arena {
    /// Three flat buffers without a word in them yet: parameters, gradients, statistics.
    pub fn new() -> Arena {
        let empty = |name: &str| Buffer { name: name.into(), words: 0 };
        let buffers = vec![empty("parameters"), empty("gradients"), empty("statistics")];
        Arena { buffers, parameters: Vec::new(), statistics: Vec::new(), frozen: None, shared: None }
    }

    /// A buffer for a tensor of this shape: one of its own, which holds zeros until written, unless programs
    /// share theirs.
    pub fn tensor(&mut self, name: impl Into<String>, shape: &[usize]) -> Tensor {
        let Some((shared, taken)) = &mut self.shared else { return self.zeros(name, shape) };
        let buffer = shared.get(*taken).copied();
        *taken += 1;
        let Some(buffer) = buffer else {
            let tensor = self.zeros(name, shape);
            self.shared.iter_mut().for_each(|(shared, _)| shared.push(tensor.buffer));
            return tensor;
        };
        let tensor = Tensor::new(buffer, 0, shape);
        self.buffers[buffer].words = self.buffers[buffer].words.max(tensor.len());
        tensor
    }

    /// A buffer of its own for a tensor of this shape, which holds zeros until written.
    pub fn zeros(&mut self, name: impl Into<String>, shape: &[usize]) -> Tensor {
        let tensor = Tensor::new(self.buffers.len(), 0, shape);
        self.buffers.push(Buffer { name: name.into(), words: tensor.len() });
        tensor
    }

    /// From here on until the next call, or [`share_no_more`](Arena::share_no_more), a program is recorded that takes
    /// its tensors from the same buffers as those recorded before between two calls: programs that run one after the
    /// other, of which none reads what it has not written. The names are those of the first.
    pub(crate) fn share(&mut self) {
        self.shared.get_or_insert_default().1 = 0;
    }

    /// Every tensor has a buffer of its own again.
    pub(crate) fn share_no_more(&mut self) {
        self.shared = None;
    }

    /// A trainable tensor in the flat parameter buffer. Declare every parameter before the first program is loaded.
    pub fn parameter(&mut self, name: impl Into<String>, shape: &[usize]) -> Parameter {
        self.parameter_in(Layout::Same, name, shape)
    }

    /// [`parameter`](Arena::parameter) in another order on the device than in files; `shape` is the device's.
    pub fn parameter_in(&mut self, layout: Layout, name: impl Into<String>, shape: &[usize]) -> Parameter {
        let name = name.into();
        if self.frozen.is_some() {
            let value = self.declare(&name, shape, 0.0, layout, false);
            return Parameter { name, value, grad: value, layout };
        }
        assert!(self.parameters.iter().all(|p| p.name != name), "parameter {name} is declared twice");
        let offset = self.buffers[PARAMETERS].words;
        let value = Tensor::new(PARAMETERS, offset, shape);
        let grad = Tensor::new(GRADIENTS, offset, shape);
        // What overflows is refused when memory is asked for, like everything too large.
        let words = offset.saturating_add(value.len()).checked_next_multiple_of(ALIGNMENT).unwrap_or(usize::MAX);
        self.buffers[PARAMETERS].words = words;
        self.buffers[GRADIENTS].words = words;
        let parameter = Parameter { name, value, grad, layout };
        self.parameters.push(parameter.clone());
        parameter
    }

    /// Declares a trained model that nothing trains any more within another: its parameters become constants, which
    /// stand among the statistics and are zero until a model's [constants](crate::models::Model::constants) are
    /// written, and all its names begin with the prefix. A backward of its layers must not be recorded, since there is
    /// no room for their gradients.
    pub fn frozen<T>(&mut self, prefix: &str, declare: impl FnOnce(&mut Arena) -> T) -> T {
        let before = self.frozen.replace(prefix.into());
        let declared = declare(self);
        self.frozen = before;
        declared
    }

    /// A tensor that training updates without a gradient, in the flat buffer of statistics.
    pub fn statistic(&mut self, name: impl Into<String>, shape: &[usize], initial: f32) -> Tensor {
        self.declare(&name.into(), shape, initial, Layout::Same, false)
    }

    /// A [`statistic`](Arena::statistic) of one whole number, from 0; as f32 it is exact to 2^24.
    pub fn count(&mut self, name: impl Into<String>) -> Tensor {
        self.declare(&name.into(), &[1], 0.0, Layout::Same, true)
    }

    fn declare(&mut self, name: &str, shape: &[usize], initial: f32, layout: Layout, is_count: bool) -> Tensor {
        let name = format!("{}{name}", self.frozen.as_deref().unwrap_or_default());
        assert!(self.statistics.iter().all(|s| s.name != name), "statistic {name} is declared twice");
        let value = Tensor::new(STATISTICS, self.buffers[STATISTICS].words, shape);
        self.buffers[STATISTICS].words = (value.offset + value.len()).next_multiple_of(ALIGNMENT);
        self.statistics.push(Statistic { name, value, initial, layout, is_count });
        value
    }

    /// All parameters in the order of their declaration, which is their order in the flat buffers.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Trainable numbers of all parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|p| p.value.len()).sum()
    }

    /// All statistics in the order of their declaration; none in a model without batch norm.
    pub fn statistics(&self) -> &[Statistic] {
        &self.statistics
    }

    /// All statistics as one flat tensor; none where the model has none.
    pub fn flat_statistics(&self) -> Option<Tensor> {
        let words = self.buffers[STATISTICS].words;
        (words > 0).then(|| Tensor::new(STATISTICS, 0, &[words]))
    }

    /// All parameters as one flat tensor, the padding between them included (it stays zero).
    pub fn flat_parameters(&self) -> Tensor {
        Tensor::new(PARAMETERS, 0, &[self.buffers[PARAMETERS].words])
    }

    /// All gradients as one flat tensor, laid out as [`flat_parameters`](Arena::flat_parameters).
    pub fn flat_gradients(&self) -> Tensor {
        Tensor::new(GRADIENTS, 0, &[self.buffers[GRADIENTS].words])
    }

    /// Every allocation; [`Tensor::buffer`] is its index. The flat ones come first: parameters, gradients, statistics,
    /// of 0 words where a model has none.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// What a message calls the tensor: its parameter's name where it is one, else its buffer's.
    pub fn name(&self, tensor: Tensor) -> String {
        let in_flat = |flat: usize, suffix: &str| {
            let p = self.parameters.iter().find(|p| p.value.offset == tensor.offset && tensor.buffer == flat)?;
            (tensor.len() == p.value.len()).then(|| format!("{}{suffix}", p.name))
        };
        let statistic = || self.statistics.iter().find(|s| s.value == tensor).map(|s| s.name.clone());
        in_flat(PARAMETERS, "")
            .or_else(|| in_flat(GRADIENTS, ".grad"))
            .or_else(statistic)
            .unwrap_or_else(|| self.buffers[tensor.buffer].name.clone())
    }

    /// Leaves a buffer that no program uses any more without memory. Its number stays taken.
    pub(crate) fn give_up(&mut self, buffer: usize) {
        self.buffers[buffer].words = 0;
    }

    /// Device memory of all buffers, in bytes. What a program adds to it, its params, is not in it.
    pub fn bytes(&self) -> usize {
        self.buffers.iter().fold(0, |bytes: usize, b| bytes.saturating_add(b.words.saturating_mul(4)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_aligned_and_named() {
        let mut arena = Arena::new();
        let a = arena.parameter("a", &[3, 5]);
        let b = arena.parameter("b", &[65]);
        assert_eq!((a.value.offset, b.value.offset, arena.flat_parameters().len()), (0, 64, 192));
        assert_eq!(arena.name(a.value), "a");
        assert_eq!(arena.name(b.grad), "b.grad");
        assert_eq!(arena.name(arena.flat_gradients()), "gradients");
    }

    #[test]
    fn statistics_have_a_buffer_of_their_own() {
        let mut arena = Arena::new();
        assert_eq!(arena.flat_statistics(), None);
        let (mean, count) = (arena.statistic("m", &[65], 0.0), arena.count("n"));
        assert_eq!((mean.offset, count.offset, arena.flat_statistics().unwrap().len()), (0, 128, 192));
        assert_eq!((arena.name(mean), arena.name(count)), ("m".into(), "n".into()));
        assert!(arena.parameters().is_empty());
    }

    #[test]
    fn what_is_frozen_is_no_parameter_and_has_its_prefix() {
        let mut arena = Arena::new();
        let w = arena.frozen("vq.", |arena| arena.parameter_in(Layout::ChannelsLast, "w", &[2, 1, 1, 3]));
        let own = arena.parameter("w", &[2]);
        assert_eq!(arena.parameters().iter().map(|p| p.value).collect::<Vec<_>>(), [own.value]);
        let [statistic] = arena.statistics() else { panic!("{:?}", arena.statistics()) };
        assert_eq!((statistic.name.as_str(), statistic.value, statistic.layout), ("vq.w", w.value, w.layout));
        assert_eq!(statistic.file_shape(), [2, 3, 1, 1]);
    }

    #[test]
    fn programs_that_share_take_the_same_buffers() {
        let mut arena = Arena::new();
        let own = arena.tensor("own", &[4]);
        arena.share();
        let (a, b) = (arena.tensor("a", &[3]), arena.tensor("b", &[5]));
        let zeros = arena.zeros("zeros", &[2]);
        arena.share();
        let [c, d, e] = [7, 2, 1].map(|n| arena.tensor("again", &[n]));
        assert_eq!((c.buffer, d.buffer, c.len()), (a.buffer, b.buffer, 7));
        assert!([own, zeros, a, b].iter().all(|t| t.buffer != e.buffer));
        assert_eq!([a, b, zeros].map(|t| arena.buffers()[t.buffer].words), [7, 5, 2]);
        arena.share_no_more();
        assert_eq!(arena.tensor("after", &[1]).buffer, arena.buffers().len() - 1);
    }

    #[test]
    fn channels_last_turns_a_weight_around_and_back() {
        // (A,B,H,W) = (1,2,1,3) in a file: b0 = 0 1 2, b1 = 3 4 5.
        let (file, device) = ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let shape = [1, 1, 3, 2];
        assert_eq!(Layout::ChannelsLast.file_shape(&shape), [1, 2, 1, 3]);
        assert_eq!(Layout::ChannelsLast.from_file(&file, &shape), device);
        assert_eq!(Layout::ChannelsLast.to_file(&device, &shape), file);
        assert_eq!(Layout::Same.to_file(&device, &shape), device);
    }
}
