"""Networks as PyTorch modules, from the text that elbo's settings `encoder` and `decoder` take.

`elbo train --help` and tests/golden/README.md list the items. They become the children 0, 1, 2, ...
of an nn.Sequential, every one a layer of torch.nn with PyTorch's own initialisation.
"""

import re

import torch
from torch import nn

ACTIVATIONS = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}

CONVOLUTIONS = {
    "conv": nn.Conv2d,
    "conv_transpose": nn.ConvTranspose2d,
    "conv1d": nn.Conv1d,
    "conv_transpose1d": nn.ConvTranspose1d,
}
SETTINGS = {
    "k": "kernel_size",
    "s": "stride",
    "p": "padding",
    "d": "dilation",
    "g": "groups",
    "op": "output_padding",
}
SETTING = re.compile(r"(k|s|p|d|g|op)(\d+)(?:x(\d+))?")


class Residual(nn.Module):
    """y = x + body(x)."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return x + self.body(x)


def items(layers):
    """The text between the commas that are in no parenthesis."""
    depth, start = 0, 0
    for at, letter in enumerate(layers):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            yield layers[start:at].strip()
            start = at + 1
    assert depth == 0, f"parentheses of '{layers}'"
    yield layers[start:].strip()


def sequential(layers, shape):
    """The nn.Sequential of a text, for one example of this shape, and the shape of its output."""
    modules = []
    for item in items(layers):
        module = layer(item, shape)
        with torch.no_grad():  # eval: batch norm would not take a batch of one, and counts it
            shape = tuple(module.eval()(torch.zeros(1, *shape)).shape[1:])
        modules.append(module.train())
    return nn.Sequential(*modules), shape


def layer(item, shape):
    if item.startswith("residual"):
        return Residual(sequential(inside(item), shape)[0])
    if item.startswith("("):
        return sequential(inside(item), shape)[0]
    kind, *words = item.split()
    sizes = [int(word) for word in words if word.isdigit()]
    # Without s, p, d, g or op these are PyTorch's own defaults.
    settings = {SETTINGS[m[1]]: number(m) for m in map(SETTING.fullmatch, words) if m}
    bias = "nobias" not in words
    if kind in CONVOLUTIONS:
        return CONVOLUTIONS[kind](shape[0], *sizes, **settings, bias=bias)
    if kind == "linear":
        return nn.Linear(shape[0], *sizes)
    if kind == "batchnorm":
        return (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0])
    if kind == "groupnorm":
        return nn.GroupNorm(*sizes, shape[0])
    if kind == "layernorm":
        return nn.LayerNorm(shape)
    if kind == "maxpool":
        return nn.MaxPool2d(**settings)
    if kind == "avgpool":
        return nn.AvgPool2d(**settings)
    if kind == "upsample":
        return nn.Upsample(scale_factor=sizes[0], mode="bilinear" if "bilinear" in words else "nearest")
    if kind == "dropout":
        return nn.Dropout(float(words[0]))
    if kind == "view":
        return nn.Unflatten(1, sizes)
    if kind == "flatten":
        return nn.Flatten()
    return ACTIVATIONS[kind]()


def inside(item):
    """What stands between the outer parentheses."""
    return item[item.index("(") + 1 : item.rindex(")")]


def number(match):
    """k4 as 4, k3x5 as (3, 5)."""
    return int(match[2]) if match[3] is None else (int(match[2]), int(match[3]))
