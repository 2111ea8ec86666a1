#!/usr/bin/env python3
"""Records tests/golden/inception.safetensors: what pytorch-fid's Inception v3 makes of two pictures.

    pip install torch torchvision pytorch-fid safetensors
    python3 tests/golden/record_inception.py

The weights are numbers by a formula, as trained ones cannot be given away here. The test makes them again, so the file
holds pictures and features alone.
"""

import math
from pathlib import Path
from unittest.mock import patch

import torch
from pytorch_fid import inception
from safetensors.torch import save_file

from record_conv import units


def weights(network):
    """Every tensor of the network by its place in the order of names."""
    state = network.state_dict()
    for stream, name in enumerate(sorted(name for name in state if not name.endswith("num_batches_tracked"))):
        tensor = state[name]
        unit = units(stream, tensor.numel()).view_as(tensor)
        if name.endswith("running_var"):
            value = 0.5 + unit
        elif name.endswith("bn.weight"):
            value = 1.0 + 0.2 * (unit - 0.5)
        elif tensor.dim() > 1:
            # Variance 2 / fan-in, so that the values of a deep network of rectifiers stay in range.
            value = math.sqrt(6.0 / tensor[0].numel()) * (2.0 * unit - 1.0)
        else:
            value = 0.2 * (unit - 0.5)
        state[name] = value.float()
    return state


def main():
    torch.set_num_threads(1)
    network = inception._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    state = weights(network)
    with patch.object(inception, "load_state_dict_from_url", lambda *_, **__: state):
        model = inception.InceptionV3([3]).eval()
    pictures = units(1000, 2 * 3 * 40 * 36).view(2, 3, 40, 36).float()
    with torch.no_grad():
        features = model(pictures)[0].flatten(1)
    print(features.abs().mean(), features[:, :4])
    save_file({"pictures": pictures, "features": features.contiguous()},
              Path(__file__).with_name("inception.safetensors"))


main()
