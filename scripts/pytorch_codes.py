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

from pytorch_network import ACTIVATIONS, Residual, sequential


def perceptron(sizes, activation):
    layers = []
    for fan_in, fan_out in zip(sizes, sizes[1:]):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return layers


class Networks(nn.Module):
    """A network from a picture to `numbers` numbers, and one from as many, as (C, H, W), to a picture's logits.

    Without a code_shape that is the grid that a listed encoder with a direct head leaves, or one place.
    """

    def __init__(self, settings, shape, numbers, code_shape=None):
        super().__init__()
        hidden, activation = settings["hidden"], ACTIVATIONS[settings["activation"]]
        self.settings, self.code_shape = settings, code_shape or (numbers, 1, 1)
        pixels = math.prod(shape)
        self.is_listed, self.is_deep, self.act = settings.get("encoder") is not None, len(hidden) > 1, activation()
        if self.is_listed:
            self.encoder, coded = sequential(settings["encoder"], shape)
            if code_shape is None and settings["head"] == "direct" and len(coded) == 3:
                self.code_shape = coded  # the grid that the encoder leaves
            self.decoder, _ = sequential(settings["decoder"], self.code_shape)
            coded = math.prod(coded)
        else:
            coded = hidden[-1]
            if self.is_deep:
                self.encoder = nn.Sequential(*perceptron([pixels, *hidden], activation))
                self.decoder = nn.Sequential(*perceptron([numbers, *reversed(hidden), pixels], activation)[:-1])
            else:
                self.fc1 = nn.Linear(pixels, coded)
                self.fc3, self.fc4 = nn.Linear(numbers, coded), nn.Linear(coded, pixels)
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


class MaskedConv2d(nn.Conv2d):
    """Sees of its window what comes before the middle, in the order of reading; with `middle` the middle, too."""

    def __init__(self, inputs, outputs, window, middle):
        super().__init__(inputs, outputs, window, padding=window // 2)
        mask = torch.zeros(window, window)
        mask[: window // 2] = 1
        mask[window // 2, : window // 2 + middle] = 1
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class PixelCNN(nn.Module):
    """A prior over the codes of a VQ-VAE that nothing trains."""

    def __init__(self, settings, shape):
        super().__init__()
        self.codes, self.dim, c = settings["codes"], settings["code_dim"], settings["width"]
        # Of a codebook that averages moved the codes alone.
        moved = "fsq" if settings["codebook"] == "fsq" else "gradient"
        self.vq = VQVAE(settings | {"codebook": moved}, shape).requires_grad_(False)
        _, *self.places = self.vq.code_shape if self.vq.code_shape[0] == self.dim else (0, 1, settings["latent"])
        body = lambda: nn.Sequential(
            nn.ReLU(), nn.Conv2d(c, c // 2, 1), nn.ReLU(), MaskedConv2d(c // 2, c // 2, 3, True), nn.ReLU(),
            nn.Conv2d(c // 2, c, 1),
        )  # fmt: skip
        blocks = [Residual(body()) for _ in range(settings["blocks"])]
        head = [nn.ReLU(), nn.Conv2d(c, c, 1), nn.ReLU(), nn.Conv2d(c, self.codes, 1)]
        self.network = nn.Sequential(MaskedConv2d(self.dim, c, settings["window"], False), *blocks, *head)

    @torch.no_grad()
    def encode(self, x):
        """(B, C, H, W) to the numbers of its codes, (B, V)."""
        self.vq.eval()
        return self.vq.codebook(self.vq.encode(x).reshape(-1, self.dim), 0)[0].view(len(x), -1)

    def logits(self, ids):
        """(B, V) to the logits of each code given those before it, (B, K, V)."""
        vectors = self.vq.codebook.weight[ids].view(len(ids), *self.places, self.dim)
        return self.network(vectors.permute(0, 3, 1, 2)).flatten(2)

    def terms(self, reconstruction, x, noise, knobs):
        ids = self.encode(x)
        loss = F.cross_entropy(self.logits(ids), ids, reduction="sum")
        return loss, {"codes": loss}


class Codebook(nn.Module):
    """K codes of D numbers: a parameter that the gradient moves, or buffers that averages move, or levels that stay.

    forward(z, step) takes vectors (R, D) and gives the numbers of the nearest codes (R) and the codes (R, D); in
    training with averages it then moves the codes.
    """

    def __init__(self, settings):
        super().__init__()
        shape = (settings["codes"], settings["code_dim"])
        self.settings, self.is_averaged = settings, settings["codebook"] == "ema"
        self.is_fixed = settings["codebook"] == "fsq"
        if self.is_averaged:
            for name, size in [("weight", shape), ("cluster_size", shape[:1]), ("embed_avg", shape)]:
                self.register_buffer(name, torch.zeros(size))
        elif self.is_fixed:
            # All combinations of levels from -1 to 1, the first number changing fastest.
            levels = [torch.linspace(-1, 1, level) for level in settings["levels"]]
            codes = torch.cartesian_prod(*reversed(levels)).view(shape).flip(1)
            self.register_buffer("weight", codes)
        else:
            self.weight = nn.Parameter(torch.empty(shape).uniform_(-1 / shape[0], 1 / shape[0]))

    def forward(self, z, step):
        codes = self.weight
        with torch.no_grad():
            ids = (codes.square().sum(1) - 2 * z @ codes.T).argmin(1)
        chosen = codes[ids]
        if self.training and self.is_averaged:
            self.move(z.detach(), ids, step)
        return ids, chosen

    @torch.no_grad()
    def move(self, z, ids, step):
        count, decay = len(self.weight), self.settings["decay"]
        taken = F.one_hot(ids, count).to(z.dtype)  # (R, K)
        self.cluster_size.mul_(decay).add_(taken.sum(0), alpha=1 - decay)
        self.embed_avg.mul_(decay).add_(taken.T @ z, alpha=1 - decay)
        # Codes that hardly any vector takes start anew on vectors of the batch.
        equal = len(z) / count
        dead = self.cluster_size < self.settings["restart"] * equal
        rows = (torch.arange(count) * 7919 + step * 104729) % 2**32 % len(z)
        self.cluster_size[dead] = equal
        self.embed_avg[dead] = equal * z[rows[dead]]
        total = self.cluster_size.sum()
        smoothed = (self.cluster_size + 1e-5) / (total + count * 1e-5) * total
        self.weight = self.embed_avg / smoothed[:, None]


class VQVAE(Networks):
    """V codes of D numbers a picture: the nearest of the codebook, straight through."""

    def __init__(self, settings, shape):
        super().__init__(settings, shape, settings["latent"] * settings["code_dim"])
        self.codebook, self.step = Codebook(settings), 0

    def encode(self, x):
        """(B, C, H, W) to what is near the codes, (B, V*D): levels lie between -1 and 1."""
        z = super().encode(x)
        return z.tanh() if self.codebook.is_fixed else z

    def terms(self, reconstruction, x, noise, knobs):
        z = self.encode(x)  # (B, V*D)
        vectors = z.view(-1, self.settings["code_dim"])
        ids, q = self.codebook(vectors, self.step)
        self.step += self.training
        codes, commit = (q - vectors.detach()).square().sum(), (vectors - q.detach()).square().sum()
        if self.codebook.is_averaged or self.codebook.is_fixed:
            codes = 0 * codes
        recon = reconstruction(self.decode((vectors + (q - vectors).detach()).view_as(z)), x.flatten(1))
        shares = torch.bincount(ids, minlength=self.settings["codes"]) / len(ids)
        perplexity = len(x) * torch.exp(-torch.special.xlogy(shares, shares).sum())
        terms = {"recon": recon, "codebook": codes, "commit": commit, "perplexity": perplexity}
        terms["used"] = len(x) * (shares > 0).sum()
        return recon + codes + knobs["commitment"] * commit, terms


def gumbel(u):
    """-log(-log u), with u held off 0 and 1."""
    return -torch.log(-torch.log(u.clamp(2.0**-24, 1 - 2.0**-24)))


def one_hot_of_largest(scores):
    return F.one_hot(scores.argmax(1), scores.shape[1]).to(scores.dtype)
