#!/usr/bin/env python3
"""Records the golden files beside this script: what PyTorch computes, for the tests to compare with.

    python3 tests/golden/record.py

Every model, loss, gradient and update here is PyTorch's own: torch.nn layers, autograd,
torch.optim, clip_grad_norm_. Nothing is derived by hand, so the files share no code and no algebra
with the explicit backward pass they check. README.md says what each file holds. The script is
deterministic (fixed seeds, float32, one CPU thread) and rewrites every file; with the same PyTorch
on the same kind of CPU the bytes do not change.

For each trajectory it also prints how far a float64 run of the same ten steps ends from the
float32 one: the rounding error that a comparison must allow.
"""

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

FOLDER = Path(__file__).resolve().parent
STEPS, BATCH, INPUT, LATENT = 10, 9, 37, 5


@dataclass(frozen=True)
class Case:
    """The settings of one trajectory. `None` marks a setting that does not apply."""

    name: str
    hidden: tuple = (24,)
    head: str = "split"  # fc21 and fc22, or "fused": fc2 with the mean in its first L outputs
    activation: str = "relu"
    output: str = "bce"  # or "gaussian"
    sigma: float | None = None
    reduction: str = "sum"  # of the optimised loss over the batch
    kl_weight: float = 1.0
    optimizer: str = "adam"
    lr: float = 1e-3
    betas: tuple | None = (0.9, 0.999)
    eps: float | None = 1e-8
    weight_decay: float = 0.0  # "adam": L2 added to the gradient; "adamw": decoupled
    momentum: float | None = None
    clip_norm: float | None = None
    seed: int = 0

    def metadata(self):
        """The settings as safetensors metadata: strings, no entry where none applies."""
        entries = dict(vars(self), latent=LATENT, batch=BATCH, input=INPUT, steps=STEPS)
        del entries["name"]
        return {key: text(value) for key, value in entries.items() if value is not None}


def text(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


CASES = [
    Case("mlp_split_bce_adam", seed=1),
    Case("mlp_fused_bce_adam", head="fused", seed=2),
    Case("mlp_split_adam_l2", kl_weight=0.5, betas=(0.9, 0.99), weight_decay=1e-5, seed=7),
    # The same start and data. The weaker decay shows only where the gradient is zero (ReLU units
    # that no example of the batch activates), this one everywhere.
    Case("mlp_split_adam_l2_strong", kl_weight=0.5, betas=(0.9, 0.99), weight_decay=1e-2, seed=7),
    Case(
        "mlp_deep_gaussian_adamw",
        hidden=(24, 17),
        activation="tanh",
        output="gaussian",
        sigma=0.7,
        reduction="mean",
        optimizer="adamw",
        lr=1e-2,
        weight_decay=0.01,
        seed=4,
    ),
    Case(
        "mlp_sgd_clip",
        optimizer="sgd",
        lr=1e-4,
        betas=None,
        eps=None,
        momentum=0.9,
        clip_norm=30.0,
        seed=5,
    ),
]

ACTIVATION_LAYERS = {"relu": nn.ReLU, "tanh": nn.Tanh}


class VAE(nn.Module):
    """An MLP VAE with pytorch/examples' parameter names.

    One hidden layer: fc1, heads, fc3, fc4. Several: `encoder` and `decoder`, whose linear layers
    are numbered 0, 2, 4, ... because the activations between them count as well.
    """

    def __init__(self, case):
        super().__init__()
        layer = ACTIVATION_LAYERS[case.activation]
        self.activation = layer()
        self.deep = len(case.hidden) > 1
        if self.deep:
            self.encoder = nn.Sequential(*linear_layers((INPUT, *case.hidden), layer))
        else:
            self.fc1 = nn.Linear(INPUT, case.hidden[0])
        self.fused = case.head == "fused"
        if self.fused:
            self.fc2 = nn.Linear(case.hidden[-1], 2 * LATENT)
        else:
            self.fc21 = nn.Linear(case.hidden[-1], LATENT)
            self.fc22 = nn.Linear(case.hidden[-1], LATENT)
        if self.deep:
            sizes = (LATENT, *reversed(case.hidden), INPUT)
            self.decoder = nn.Sequential(*linear_layers(sizes, layer)[:-1])
        else:
            self.fc3 = nn.Linear(LATENT, case.hidden[0])
            self.fc4 = nn.Linear(case.hidden[0], INPUT)

    def encode(self, x):
        h = self.encoder(x) if self.deep else self.activation(self.fc1(x))
        if self.fused:
            mean, logvar = self.fc2(h).chunk(2, dim=1)
            return mean, logvar
        return self.fc21(h), self.fc22(h)

    def decode(self, z):
        return self.decoder(z) if self.deep else self.fc4(self.activation(self.fc3(z)))

    def forward(self, x, eps):
        """x (B, D), eps (B, L) -> decoder output (B, D), no activation applied; mean, logvar (B, L)."""
        mean, logvar = self.encode(x)
        z = mean + torch.exp(0.5 * logvar) * eps
        return self.decode(z), mean, logvar


def linear_layers(sizes, activation):
    """Linear, activation, Linear, activation, ... through `sizes`."""
    layers = []
    for fan_in, fan_out in zip(sizes, sizes[1:]):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return layers


def loss_terms(case, model, x, eps):
    """(optimised loss, reconstruction, KL); the last two summed over dimensions and batch, nats."""
    output, mean, logvar = model(x, eps)
    if case.output == "bce":
        recon = F.binary_cross_entropy_with_logits(output, x, reduction="sum")
    else:
        squares = F.mse_loss(output, x, reduction="sum") / (2 * case.sigma**2)
        recon = squares + x.numel() / 2 * math.log(2 * math.pi * case.sigma**2)
    kl = -0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())
    loss = recon + case.kl_weight * kl
    if case.reduction == "mean":
        loss = loss / len(x)
    return loss, recon, kl


def make_optimizer(case, parameters):
    if case.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=case.lr, momentum=case.momentum, weight_decay=case.weight_decay
        )
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[case.optimizer]
    return kind(
        parameters, lr=case.lr, betas=case.betas, eps=case.eps, weight_decay=case.weight_decay
    )


def batches(steps, batch, pixels):
    """x (steps, B, D): multiples of 1/255 in [0, 1], many of them zero as in MNIST, some exactly one.

    The share of zeros (20 to 90 %) changes from step to step, so the size of the gradient does too.
    """
    share = 0.2 + 0.7 * torch.rand(steps, 1, 1)
    level = torch.randint(0, 320, (steps, batch, pixels)).clamp(max=255)
    zero = torch.rand(steps, batch, pixels) < share
    return level.masked_fill(zero, 0).float() / 255


def run(case, dtype):
    """Trains for STEPS steps and returns every tensor of the golden file."""
    torch.manual_seed(case.seed)
    model = VAE(case)
    x, eps = batches(STEPS, BATCH, INPUT), torch.randn(STEPS, BATCH, LATENT)
    # All random numbers are drawn in float32, so a float64 run starts from the same values.
    model, x, eps = model.to(dtype), x.to(dtype), eps.to(dtype)
    optimizer = make_optimizer(case, model.parameters())

    tensors = {"x": x, "eps": eps}
    tensors |= snapshot("init", model)
    margins = []
    model.activation.register_forward_pre_hook(lambda _, inputs: margins.append(inputs[0].abs().min()))
    scalars = {"loss": [], "recon": [], "kl": []}
    if case.clip_norm is not None:
        scalars["grad_norm"] = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss, recon, kl = loss_terms(case, model, x[step], eps[step])
        loss.backward()
        for name, value in [("loss", loss), ("recon", recon), ("kl", kl)]:
            scalars[name].append(value.detach())
        if case.clip_norm is not None:
            norm = nn.utils.clip_grad_norm_(model.parameters(), case.clip_norm)
            scalars["grad_norm"].append(norm)
        for name, parameter in model.named_parameters():
            tensors[f"grad.{step}.{name}"] = parameter.grad.clone()
        optimizer.step()
        tensors |= snapshot(f"param.{step}", model)
    tensors |= snapshot("final", model)
    if case.activation == "relu":
        # Nearer to the kink, rounding would decide which units have a gradient.
        assert min(margins) > 1e-5, f"{case.name}: a ReLU input of {min(margins):.1e}; change the seed"
    return tensors | {name: torch.stack(values) for name, values in scalars.items()}


def snapshot(prefix, model):
    return {f"{prefix}.{name}": p.detach().clone() for name, p in model.named_parameters()}


def check_clipping(case, norms):
    """Clipping must act on some steps and not on others, and no step may be near the border."""
    clipped = norms > case.clip_norm
    assert clipped.any() and not clipped.all(), f"{case.name}: {norms.tolist()}"
    assert ((norms / case.clip_norm - 1).abs() > 0.01).all(), f"{case.name}: {norms.tolist()}"


def rounding(single, double):
    """Largest difference of two runs: loss (relative), gradients and running statistics (relative to
    each tensor's largest element), parameters (absolute)."""

    def largest(prefix, relative):
        worst = 0.0
        for name, value in double.items():
            if name.startswith(prefix):
                difference = (single[name] - value).abs().max().item()
                worst = max(worst, difference / value.abs().max().item() if relative else difference)
        return worst

    kinds = {"loss": True, "grad.": True, "param.": False, "stat.": True}
    return ", ".join(f"{kind.rstrip('.')} {largest(kind, relative):.1e}" for kind, relative in kinds.items())


ACTIVATIONS = {
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.01),
    "elu": F.elu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": F.softplus,
    "silu": F.silu,
    "gelu": F.gelu,  # the exact form, with erf
}


def activations():
    """Each activation's output and gradient at the same points: computed in float64, then rounded.

    The points include zero of both signs, tiny and large values of both signs (up to where
    exp(x) overflows float32), and the neighbourhood of 20 where F.softplus turns linear.
    """
    torch.manual_seed(6)
    magnitudes = [1e-30, 1e-12, 1e-8, 1e-4, 0.5, 1.0, 3.0, 6.0, 10.0, 19.9, 20.1, 50.0, 80.0, 1e4]
    special = [0.0, -0.0] + [sign * m for m in magnitudes for sign in (1, -1)]
    x = 2 * torch.randn(7, 13)
    x.view(-1)[: len(special)] = torch.tensor(special)
    dy = torch.randn(7, 13)

    tensors = {"x": x, "dy": dy}
    for name, function in ACTIVATIONS.items():
        x64 = x.double().requires_grad_()
        y = function(x64)
        y.backward(dy.double())
        tensors[f"{name}.y"] = y.detach().float()
        tensors[f"{name}.dx"] = x64.grad.float()
    return tensors


class ExamplesVAE(nn.Module):
    """The VAE of pytorch/examples, basic MNIST example, with smaller layers: 784-16-4."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 16)
        self.fc21 = nn.Linear(16, 4)
        self.fc22 = nn.Linear(16, 4)
        self.fc3 = nn.Linear(4, 16)
        self.fc4 = nn.Linear(16, 784)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def decode(self, z):
        h3 = F.relu(self.fc3(z))
        return torch.sigmoid(self.fc4(h3))


@torch.no_grad()
def pytorch_vae():
    """A state_dict as a user of pytorch/examples saves it, and what that model computes in float64."""
    torch.manual_seed(8)
    model = ExamplesVAE()
    # Four times nn.Linear's initial weights, so that pictures, means and outputs differ clearly.
    for parameter in model.parameters():
        parameter *= 4
    state = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randint(0, 256, (3, 784)).float() / 255
    model = model.double()
    mean, logvar = model.encode(x.double())
    decoded = model.decode(mean)
    recon = F.binary_cross_entropy(decoded, x.double(), reduction="none").sum(1)
    kl = -0.5 * (1 + logvar - mean**2 - logvar.exp()).sum(1)
    expected = {"mean": mean, "logvar": logvar, "decoded": decoded, "recon": recon, "kl": kl}
    return state, {"x": x} | {name: value.float() for name, value in expected.items()}


def save(name, tensors, metadata):
    path = FOLDER / f"{name}.safetensors"
    for key, tensor in tensors.items():
        assert tensor.dtype == torch.float32 and torch.isfinite(tensor).all(), f"{name}: {key}"
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata)
    sort_header(path)
    loaded = load_file(path)
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)
    return path.stat().st_size


def sort_header(path):
    """Rewrites the JSON header with sorted metadata: save_file's order changes from run to run.

    Layout of the format: header length (u64, little-endian), header padded with spaces, data.
    """
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data[8 + length :])


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    print(f"PyTorch {torch.__version__}")
    for case in CASES:
        tensors = run(case, torch.float32)
        if case.clip_norm is not None:
            check_clipping(case, tensors["grad_norm"])
        size = save(case.name, tensors, case.metadata())
        print(f"{case.name}: {size} bytes; {rounding(tensors, run(case, torch.float64))}")
    size = save("activations", activations(), {"leaky_relu_slope": "0.01", "elu_alpha": "1.0"})
    print(f"activations: {size} bytes")
    state, expected = pytorch_vae()
    size = save("pytorch_vae", state, {"format": "pt"})
    print(f"pytorch_vae: {size} bytes")
    size = save("pytorch_vae_expected", expected, {"format": "pt"})
    print(f"pytorch_vae_expected: {size} bytes")


if __name__ == "__main__":
    main()
