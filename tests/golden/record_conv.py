#!/usr/bin/env python3
"""Records the golden files of convolutional networks; record.py's docstring holds here as well.

    python3 tests/golden/record_conv.py

Networks are built from the text that elbo's settings `encoder` and `decoder` take (README.md).
"""

import math
import sys
from dataclasses import dataclass, replace

import torch
from record import FOLDER, batches, loss_terms, make_optimizer, rounding, save, text
from torch import nn

sys.path.insert(0, str(FOLDER.parents[1] / "scripts"))
from pytorch_network import layer, sequential  # noqa: E402


class VAE(nn.Module):
    """The encoder's output, flattened, is L means and then L log variances; the decoder takes z as (B, L, 1, 1)."""

    def __init__(self, case):
        super().__init__()
        self.encoder, coded = sequential(case.encoder, case.shape)
        self.decoder, decoded = sequential(case.decoder, (case.latent, 1, 1))
        assert math.prod(coded) == 2 * case.latent and decoded == case.shape, (coded, decoded)

    def forward(self, x, eps):
        """x (B, C, H, W), eps (B, L) -> decoder output (B, C, H, W), no activation applied; mean, logvar (B, L)."""
        mean, logvar = self.encoder(x).flatten(1).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * logvar) * eps
        return self.decoder(z[:, :, None, None]), mean, logvar


# ---- Trajectories

# Nearer to a kink than this, rounding could decide which way a gradient goes.
KINK_MARGIN = 5e-6
# Adam's first step is lr times the sign of the gradient: nearer to zero than this share of its tensor's root mean
# square, rounding could decide which way a weight goes. A gradient of exactly zero moves nothing.
SIGN_MARGIN = 4e-6

@dataclass(frozen=True)
class Case:
    """The settings of one trajectory. `None` marks a setting that does not apply."""

    name: str
    encoder: str
    decoder: str
    shape: tuple  # (C, H, W)
    latent: int
    batch: int
    formula: bool  # initial parameters by formula, and of large tensors only a sample in the file
    output: str = "bce"  # or "gaussian"
    sigma: float | None = None
    reduction: str = "sum"  # of the optimised loss over the batch
    kl_weight: float = 1.0
    optimizer: str = "adam"
    lr: float = 1e-3
    betas: tuple = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    steps: int = 10
    seed: int = 0
    # Biases in front of batch norm: nothing depends on them, and their gradients are rounding alone.
    zero_gradient: tuple = ()

    def metadata(self):
        """The settings as safetensors metadata: strings, no entry where none applies."""
        entries = dict(vars(self), init="formula" if self.formula else "file")
        del entries["name"], entries["formula"]
        return {key: text(value) for key, value in entries.items() if value not in (None, ())}


CASES = [
    Case(
        "conv_article",
        encoder="(conv 16 k4 s2, batchnorm, relu), (conv 32 k4 s2, batchnorm, relu), (conv 64 k4 s2)",
        decoder="(conv_transpose 256 k3 s2, batchnorm, relu), (conv_transpose 128 k4 s1, batchnorm, relu), "
        "(conv_transpose 64 k3 s2, batchnorm, relu), (conv_transpose 1 k4 s2)",
        shape=(1, 28, 28),
        latent=32,
        batch=4,
        formula=True,
        seed=346,
        zero_gradient=(
            "encoder.0.0.bias",
            "encoder.1.0.bias",
            "decoder.0.0.bias",
            "decoder.1.0.bias",
            "decoder.2.0.bias",
        ),
    ),
    # Odd sizes and places that no window covers: 13 x 11 -> 6 x 5 -> 3 x 3 -> 1 x 1, then 3 x 2 -> 6 x 4 -> 3 x 2 ->
    # 6 x 5 -> 13 x 11. No bias in front of batch norm, so every gradient is more than rounding.
    Case(
        "conv_small",
        encoder="(conv 5 k4 s2 p1 nobias, batchnorm, leaky_relu), conv 6 k3 p2 d2, silu, maxpool k3 s2 p1, "
        "residual(conv 6 k3 p1 nobias, batchnorm, relu, conv 6 k3 p1), conv 6 k3",
        decoder="flatten, linear 48, view 8 3 2, groupnorm 2, elu, upsample 2 nearest, "
        "(conv 6 k3 p1 nobias, batchnorm, relu), avgpool k2, conv_transpose 5 k4, tanh, conv_transpose 3 k4 s2 p1 op1",
        shape=(3, 13, 11),
        latent=3,
        batch=5,
        formula=False,
        output="gaussian",
        sigma=0.7,
        reduction="mean",
        kl_weight=0.5,
        optimizer="adamw",
        weight_decay=0.01,
        seed=5,
    ),
]


def mixed(x):
    """lowbias32, a permutation of the 32-bit integers; x an int64 tensor of them."""
    for shift, factor in [(16, 0x7FEB352D), (15, 0x846CA68B)]:
        x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
    return x ^ (x >> 16)


@torch.no_grad()
def initialise_by_formula(model):
    """Uniform within PyTorch's own bounds; scale 1 and offset 0 of batch norm stay. README.md has the formula."""
    streams = {name: stream for stream, (name, _) in enumerate(model.named_parameters())}
    for prefix, module in model.named_modules():
        if not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            continue
        # PyTorch's fan-in, also where the weight is (I,O,K,K).
        bound = 1 / math.sqrt(module.weight[0].numel())
        for name, parameter in module.named_parameters(prefix):
            assert 0.95 * bound < parameter.abs().max() <= bound or parameter.numel() < 100, "PyTorch's bound"
            unit = units(streams[name], parameter.numel())
            parameter.copy_((bound * (2 * unit - 1)).float().view_as(parameter))


@torch.no_grad()
def initialise(model):
    """Twice PyTorch's initial weights, so that the latents matter; norms with scales not 1 and offsets not 0."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            module.weight.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.5, 0.5)
        elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            module.weight *= 2


def units(stream, count):
    """`count` numbers in [0, 1), float64."""
    return (mixed((stream * 0x9E3779B9 + torch.arange(count)) & 0xFFFFFFFF) >> 8).double() / 2**24


class Margins:
    """Watches how near a run comes to where a derivative jumps: 0 of (leaky) ReLU, equal maxima of a max pool."""

    def __init__(self, model):
        self.smallest = math.inf
        for module in model.modules():
            if isinstance(module, (nn.ReLU, nn.LeakyReLU)):
                module.register_forward_pre_hook(lambda _, inputs: self.note(inputs[0].abs()))
            elif isinstance(module, nn.MaxPool2d):
                module.register_forward_pre_hook(lambda module, inputs: self.note(lead(module, inputs[0])))

    def note(self, distances):
        self.smallest = min(self.smallest, distances.detach().min().item())


def lead(pool, x):
    """How far the largest element of each window of a max pool is above the second."""
    padded = nn.functional.pad(x.detach(), [pool.padding] * 4, value=-math.inf)
    windows = padded.unfold(2, pool.kernel_size, pool.stride).unfold(3, pool.kernel_size, pool.stride)
    best = windows.flatten(4).topk(2).values
    return best[..., 0] - best[..., 1]


def sample(case, tensor):
    """The tensor, or where only a sample is kept of a large one: elements 0, k, 2k, ... of it."""
    tensor = tensor.detach().clone()
    if not case.formula or tensor.numel() <= 512:
        return tensor
    return tensor.flatten()[:: (tensor.numel() // 256) | 1]


def snapshot(case, prefix, model):
    return {f"{prefix}.{name}": sample(case, p) for name, p in model.named_parameters()}


def norms(case, prefix, model):
    """(2): norms of gradient and parameter, for the tensors of which there is but a sample."""
    return {
        f"{prefix}.{name}": torch.stack([t.detach().double().norm().to(t.dtype) for t in (p.grad, p)])
        for name, p in model.named_parameters()
        if sample(case, p).numel() < p.numel()
    }


def doubtful_signs(case, model):
    """Whether a gradient that is not rounding alone is nearly zero."""
    for name, parameter in model.named_parameters():
        if name not in case.zero_gradient:
            sizes = parameter.grad[parameter.grad != 0].abs()
            if sizes.min() < SIGN_MARGIN * parameter.grad.square().mean().sqrt():
                return True
    return False


def run(case, dtype, robust=False, forced=None):
    """Trains and returns every tensor of the golden file.

    `robust`: returns None where rounding could change the course, that is where a margin is too small.

    `forced`: an earlier run, from which the parameters in front of batch norm are taken after each step.
    """
    torch.manual_seed(case.seed)
    model = VAE(case)
    (initialise_by_formula if case.formula else initialise)(model)
    x = batches(case.steps, case.batch, math.prod(case.shape)).view(case.steps, case.batch, *case.shape)
    eps = torch.randn(case.steps, case.batch, case.latent)
    # All random numbers are drawn in float32, so a float64 run starts from the same values.
    model, x, eps = model.to(dtype), x.to(dtype), eps.to(dtype)
    optimizer = make_optimizer(case, model.parameters())
    margins = Margins(model)

    tensors = {"x": x, "eps": eps}
    tensors |= snapshot(case, "init", model)
    scalars = {"loss": [], "recon": [], "kl": []}
    for step in range(case.steps):
        optimizer.zero_grad()
        loss, recon, kl = loss_terms(case, model, x[step], eps[step])
        if robust and margins.smallest < KINK_MARGIN:
            return None
        loss.backward()
        if robust and step == 0 and doubtful_signs(case, model):
            return None
        for name, value in [("loss", loss), ("recon", recon), ("kl", kl)]:
            scalars[name].append(value.detach())
        for name, parameter in model.named_parameters():
            tensors[f"grad.{step}.{name}"] = sample(case, parameter.grad)
        optimizer.step()
        if forced is not None:
            for name in case.zero_gradient:
                model.get_parameter(name).data.copy_(forced[f"param.{step}.{name}"])
        tensors |= snapshot(case, f"param.{step}", model)
        tensors |= norms(case, f"norm.{step}", model)
        for name, statistic in model.named_buffers():
            tensors[f"stat.{step}.{name}"] = statistic.detach().clone().to(dtype)
    tensors |= {name: torch.stack(values) for name, values in scalars.items()}
    return tensors | evaluation(case, model.eval(), x[0], eps[0])


@torch.no_grad()
def evaluation(case, model, x, eps):
    """What the trained model computes with its running statistics."""
    output, mean, logvar = model(x, eps)
    _, recon, kl = loss_terms(case, model, x, eps)
    values = {"output": output, "mean": mean, "logvar": logvar, "recon": recon, "kl": kl}
    return {f"eval.{name}": value for name, value in values.items()}


def record(case):
    tensors = run(case, torch.float32, robust=True)
    assert tensors is not None, f"{case.name}: rounding could change the course; run `record_conv.py seeds 2000`"
    exact = run(case, torch.float64, forced=tensors)
    gradients = {}
    for name, value in exact.items():
        if name.startswith("grad."):
            parameter = name.split(".", 2)[2]
            gradients[parameter] = max(gradients.get(parameter, 0.0), value.abs().max().item())
    zero = tuple(name for name, largest in gradients.items() if largest < 1e-10)
    assert zero == case.zero_gradient, f"{case.name}: gradients that are rounding alone: {zero}"
    size = save(case.name, tensors, case.metadata())
    comparable = {n: v for n, v in exact.items() if not (n.startswith("grad.") and n.split(".", 2)[2] in zero)}
    print(f"{case.name}: {size} bytes; {rounding(tensors, comparable)}")


def find_seeds(count):
    """Prints the seeds below `count` that are robust: of the large network one in hundreds."""
    for case in CASES:
        for seed in range(count):
            if run(replace(case, seed=seed), torch.float32, robust=True) is not None:
                print(case.name, seed, flush=True)


# ---- Single layers

# Name: layer, and the shape of x. Sizes are odd, H and W differ, and with a stride of 2 or 3 some windows of x reach
# its last row and column and some do not.
CONVOLUTION_CASES = {
    "conv_k4_s2": ("conv 5 k4 s2", (3, 3, 9, 6)),
    "conv_k3_p1_nobias": ("conv 3 k3 p1 nobias", (2, 4, 5, 8)),
    "conv_k3_p2_d2": ("conv 3 k3 p2 d2", (3, 2, 7, 5)),
    "conv_k3_s3_p3_d2_g2": ("conv 6 k3 s3 p3 d2 g2", (2, 4, 11, 8)),
    "conv_depthwise": ("conv 10 k3 s2 p1 g5 nobias", (2, 5, 8, 7)),
    "conv_k1_s2": ("conv 7 k1 s2", (3, 3, 5, 4)),
    "conv_k5_p2_small_picture": ("conv 3 k5 p2", (2, 2, 3, 4)),
    "conv_transpose_k3_s2": ("conv_transpose 5 k3 s2", (3, 3, 4, 3)),
    "conv_transpose_k3_s2_one_place": ("conv_transpose 9 k3 s2", (3, 5, 1, 1)),
    "conv_transpose_k4_nobias": ("conv_transpose 3 k4 nobias", (2, 7, 3, 2)),
    "conv_transpose_k4_s2_p1_op1": ("conv_transpose 3 k4 s2 p1 op1", (2, 5, 4, 3)),
    "conv_transpose_k3_s3_p2_d2_g2_op2": ("conv_transpose 6 k3 s3 p2 d2 g2 op2", (2, 4, 3, 5)),
    "conv_transpose_depthwise": ("conv_transpose 3 k2 s2 g3", (3, 3, 5, 3)),
    "conv_transpose_k2_s3_gaps": ("conv_transpose 2 k2 s3 p1", (2, 3, 3, 4)),
    "conv1d_k4_s2_p1": ("conv1d 4 k4 s2 p1", (3, 3, 13)),
    "conv1d_k3_d3_g2_nobias": ("conv1d 6 k3 d3 g2 nobias", (2, 4, 11)),
    "conv_transpose1d_k4_s2_p1": ("conv_transpose1d 4 k4 s2 p1", (3, 3, 7)),
    "conv_transpose1d_k3_s3_d2_op1_nobias": ("conv_transpose1d 3 k3 s3 d2 op1 nobias", (2, 5, 6)),
}
OTHER_CASES = {
    "maxpool_k2": ("maxpool k2", (2, 3, 7, 6)),
    "maxpool_k3_s2_p1": ("maxpool k3 s2 p1", (2, 3, 7, 6)),
    "maxpool_k3_s1": ("maxpool k3 s1", (2, 3, 5, 4)),
    "avgpool_k2": ("avgpool k2", (2, 3, 7, 6)),
    "avgpool_k3_s2_p1": ("avgpool k3 s2 p1", (2, 3, 7, 6)),
    "upsample_2_nearest": ("upsample 2 nearest", (2, 3, 3, 5)),
    "upsample_3_nearest": ("upsample 3 nearest", (2, 3, 2, 3)),
    "upsample_2_bilinear": ("upsample 2 bilinear", (2, 3, 3, 5)),
    "upsample_3_bilinear": ("upsample 3 bilinear", (2, 3, 4, 1)),
    "batchnorm": ("batchnorm", (3, 5, 4, 3)),
    "batchnorm_vector": ("batchnorm", (7, 5)),
    "groupnorm_2": ("groupnorm 2", (3, 6, 4, 3)),
    "groupnorm_6": ("groupnorm 6", (2, 6, 3, 5)),
    "layernorm": ("layernorm", (3, 5, 4, 3)),
    "layernorm_vector": ("layernorm", (4, 17)),
}


def single_layers(cases):
    """Forward and backward of each layer, in training mode: computed in float64, then rounded."""
    torch.manual_seed(3)
    tensors = {}
    for name, (item, shape) in cases.items():
        module = layer(item, shape[1:])
        x = torch.randn(shape)
        for parameter in module.parameters():
            parameter.data = torch.randn(parameter.shape)
        inputs = {"x": x} | {key: value.detach().clone() for key, value in module.named_parameters()}
        if isinstance(module, nn.MaxPool2d):
            assert lead(module, x).min() > 1e-3, f"{name}: two maxima; change the seed"
        module, x = module.double(), x.double().requires_grad_()
        y = module(x)
        dy = torch.randn(y.shape)
        y.backward(dy.double())
        results = {"dy": dy, "y": y.detach().float(), "dx": x.grad.float()}
        results |= {f"d{key}": value.grad.float() for key, value in module.named_parameters()}
        tensors |= {f"{name}.{key}": value for key, value in (inputs | results).items()}
    return tensors, {name: item for name, (item, _) in cases.items()}


# ---- A PyTorch checkpoint


@torch.no_grad()
def evaluated_article():
    """What the network of conv_article computes in evaluation, in float64: README.md says with which parameters."""
    case = CASES[0]
    model = VAE(case)
    initialise_by_formula(model)
    first = len(list(model.named_parameters()))
    for stream, (name, statistic) in enumerate(model.named_buffers(), first):
        unit = units(stream, statistic.numel()).view_as(statistic)
        low, width = {"running_mean": (-0.05, 0.1), "running_var": (0.02, 0.04)}.get(name.split(".")[-1], (7, 0))
        statistic.copy_(low + width * unit)
    model = model.double().eval()
    x = (units(1000, 3 * 784) * 256).floor().float().view(3, *case.shape) / 255
    mean, logvar = model.encoder(x.double()).flatten(1).chunk(2, dim=1)
    logits = model.decoder(mean[:, :, None, None])
    recon = nn.functional.binary_cross_entropy_with_logits(logits, x.double(), reduction="none").flatten(1).sum(1)
    kl = -0.5 * (1 + logvar - mean**2 - logvar.exp()).sum(1)
    decoded = logits.sigmoid().flatten(1)
    assert min(t.std(0).mean() for t in (mean, logvar, logits)) > 0.1, "what differs between pictures can be compared"
    expected = {"mean": mean, "logvar": logvar, "decoded": decoded, "recon": recon, "kl": kl}
    return {"x": x.flatten(1)} | {name: value.float() for name, value in expected.items()}


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if sys.argv[1:2] == ["seeds"]:
        return find_seeds(int(sys.argv[2]))
    print(f"PyTorch {torch.__version__}")
    for case in CASES:
        record(case)
    for name, cases in [("conv_layers", CONVOLUTION_CASES), ("other_layers", OTHER_CASES)]:
        print(f"{name}: {save(name, *single_layers(cases))} bytes")
    size = save("pytorch_conv_vae_expected", evaluated_article(), {"format": "pt"})
    print(f"pytorch_conv_vae_expected: {size} bytes")


if __name__ == "__main__":
    main()
