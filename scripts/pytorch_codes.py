"""VAEs of discrete latents as PyTorch modules, under elbo's settings and parameter names.

Pictures x are (B, C, H, W) in [0, 1]. `terms(x, noise, knobs)` gives the loss and its parts, each summed
over the batch: a dict by the names that elbo's `metrics.csv` has. B batch, V variables or codes a
picture, K classes or codes, D numbers of a code. Jang et al. 2016 (arXiv 1611.01144), van den Oord et
al. 2017 (arXiv 1711.00937).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from pytorch_network import ACTIVATIONS, sequential


def perceptron(sizes, activation):
    layers = []
    for fan_in, fan_out in zip(sizes, sizes[1:]):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return layers


class Networks(nn.Module):
    """A network from a picture to `numbers` numbers, and one from (C, H, W) numbers to a picture's logits."""

    def __init__(self, settings, shape, numbers, code_shape):
        super().__init__()
        hidden, activation = settings["hidden"], ACTIVATIONS[settings["activation"]]
        self.settings, self.code_shape = settings, code_shape
        pixels, inputs = math.prod(shape), math.prod(code_shape)
        self.is_listed, self.is_deep, self.act = settings.get("encoder") is not None, len(hidden) > 1, activation()
        if self.is_listed:
            self.encoder, coded = sequential(settings["encoder"], shape)
            self.decoder, _ = sequential(settings["decoder"], code_shape)
            coded = math.prod(coded)
        else:
            coded = hidden[-1]
            if self.is_deep:
                self.encoder = nn.Sequential(*perceptron([pixels, *hidden], activation))
                self.decoder = nn.Sequential(*perceptron([inputs, *reversed(hidden), pixels], activation)[:-1])
            else:
                self.fc1 = nn.Linear(pixels, coded)
                self.fc3, self.fc4 = nn.Linear(inputs, coded), nn.Linear(coded, pixels)
        if settings["head"] != "direct":
            self.fc2 = nn.Linear(coded, numbers)

    def encode(self, x):
        """(B, C, H, W) to (B, numbers); of a picture that a direct head leaves, channels last."""
        if not self.is_listed:
            return self.fc2(self.encoder(x.flatten(1)) if self.is_deep else self.act(self.fc1(x.flatten(1))))
        h = self.encoder(x)
        if self.settings["head"] != "direct":
            return self.fc2(h.flatten(1))
        return (h.permute(0, 2, 3, 1) if h.dim() == 4 else h).flatten(1)

    def decode(self, z):
        """(B, numbers), channels last, to logits (B, C H W)."""
        if self.is_listed:
            channels, height, width = self.code_shape
            return self.decoder(z.view(-1, height, width, channels).permute(0, 3, 1, 2)).flatten(1)
        return self.decoder(z) if self.is_deep else self.fc4(self.act(self.fc3(z)))


class GumbelVAE(Networks):
    """V categorical variables of K classes: y = softmax((logits + g) / temperature)."""

    def __init__(self, settings, shape):
        numbers = settings["latent"] * settings["categories"]
        super().__init__(settings, shape, numbers, (numbers, 1, 1))

    def terms(self, reconstruction, x, noise, knobs):
        classes, estimator = self.settings["categories"], self.settings["estimator"]
        logits = self.encode(x).view(-1, classes)  # (B*V, K)
        log_q = F.log_softmax(logits, dim=1)
        kl = (log_q.exp() * (log_q + math.log(classes))).sum()
        if not self.training:
            # An exact sample of q, by the Gumbel-max trick.
            scores = logits if estimator == "argmax" else logits + gumbel(noise[0].view_as(logits))
            z = one_hot_of_largest(scores)
        elif estimator == "argmax":
            z, kl = one_hot_of_largest(logits) + 0 * logits, 0 * kl + len(logits) * math.log(classes)
        else:
            z = F.softmax((logits + gumbel(noise[0].view_as(logits))) / knobs["temperature"], dim=1)
            if estimator == "straight_through":
                z = one_hot_of_largest(z) - z.detach() + z
        recon = reconstruction(self.decode(z.view(len(x), -1)), x.flatten(1))
        return recon + knobs["kl_weight"] * kl, {"recon": recon, "kl": kl}


def gumbel(u):
    """-log(-log u), with u held off 0 and 1."""
    return -torch.log(-torch.log(u.clamp(2.0**-24, 1 - 2.0**-24)))


def one_hot_of_largest(scores):
    return F.one_hot(scores.argmax(1), scores.shape[1]).to(scores.dtype)
