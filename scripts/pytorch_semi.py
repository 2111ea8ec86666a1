#!/usr/bin/env python3
"""Semi-supervised VAEs (Kingma et al. 2014, arXiv 1406.5298) in PyTorch: the recipes of elbo's presets, for comparison.

    python3 scripts/pytorch_semi.py MODEL DATA_DIR [--labels N] [--epochs N] [--seed N] [--features FILE]

MODEL is ss-z (a VAE with a classifier on z), m1 (the same, the classifier's gradient ends at z), m2, m1m2 (m2 on the
latent means of an m1: the file of --features, a model.safetensors of `elbo train mnist-m1`), or supervised (m2's
classifier on the labelled pictures alone). DATA_DIR holds the four MNIST files in IDX form, gzip-compressed or not.
Losses are in nats, summed over dimensions and averaged over pictures; error is of the test pictures.
Exit code 2: something is missing or wrong, and the message says what.
"""

import argparse
import math
import time

import torch
import torch.nn.functional as F
from torch import nn

from pytorch_vae import fail, positive, read_labelled

CLASSES = 10
PIXELS = 784

# As in src/models/presets.
LR = 1e-3
RECIPES = {
    "ss-z": {"hidden": [400], "latent": 20, "classifier": [], "activation": nn.ReLU, "alpha": 0.1},
    "m1": {"hidden": [600, 600], "latent": 50, "classifier": [100], "activation": nn.Softplus, "alpha": 0.1},
    "m2": {"hidden": [500], "latent": 50, "classifier": [500], "activation": nn.ReLU, "alpha": 10.0},
}
RECIPES["m1m2"] = {**RECIPES["m2"], "alpha": 1.0, "sigma": 0.5}
RECIPES["supervised"] = RECIPES["m2"]


def perceptron(sizes, activation):
    layers = []
    for fan_in, fan_out in zip(sizes, sizes[1:]):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*layers[:-1])


class Gaussian(nn.Module):
    """Mean and logvar from one network of hidden layers."""

    def __init__(self, inputs, recipe):
        super().__init__()
        activation = recipe["activation"]
        self.encoder = nn.Sequential(*perceptron([inputs, *recipe["hidden"]], activation), activation())
        self.fc21, self.fc22 = (nn.Linear(recipe["hidden"][-1], recipe["latent"]) for _ in range(2))

    def forward(self, x):
        h = self.encoder(x)
        return self.fc21(h), self.fc22(h)


def sample(mean, logvar):
    return mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)


def kl_rows(mean, logvar):
    """KL(q || N(0,1)) of each row: (B,Z) to (B)."""
    return 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).sum(1)


class LatentClassifier(nn.Module):
    """A VAE with a classifier on z."""

    def __init__(self, recipe, detach):
        super().__init__()
        latent, activation = recipe["latent"], recipe["activation"]
        self.gaussian = Gaussian(PIXELS, recipe)
        self.decoder = perceptron([latent, *reversed(recipe["hidden"]), PIXELS], activation)
        self.head = perceptron([latent, *recipe["classifier"], CLASSES], activation)
        self.detach = detach

    def classify(self, x):
        return self.head(self.gaussian(x)[0])

    def loss(self, x, y, weight):
        """Sum over the batch; rows of y (B,K) are zeros where there is no label."""
        mean, logvar = self.gaussian(x)
        z = sample(mean, logvar)
        recon = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        logits = self.head(z.detach() if self.detach else z)
        return recon + kl_rows(mean, logvar).sum() + weight * F.cross_entropy(logits, y, reduction="sum")


class M2(nn.Module):
    """q(y|x), q(z|x,y), p(x|z,y) of pictures, or of the latents that `features` gives."""

    def __init__(self, recipe, features=None):
        super().__init__()
        inputs = PIXELS if features is None else features.fc21.out_features
        hidden, latent, activation = recipe["hidden"], recipe["latent"], recipe["activation"]
        self.classifier = perceptron([inputs, *recipe["classifier"], CLASSES], activation)
        self.gaussian = Gaussian(inputs + CLASSES, recipe)
        self.decoder = perceptron([latent + CLASSES, *reversed(hidden), inputs], activation)
        self.features, self.sigma = features, recipe.get("sigma")

    def classify(self, x):
        return self.classifier(x if self.features is None else self.features(x)[0])

    def loss(self, x, y, weight):
        """Sum over the batch: L where y (B,K) has a label, with the classifier's term; U where its row is zeros."""
        if self.features is not None:
            x, _ = self.features(x)
        logits = self.classifier(x)
        pi = torch.where(y.sum(1, keepdim=True) > 0, y, logits.softmax(1))
        xs, ys = x.repeat_interleave(CLASSES, 0), torch.eye(CLASSES).repeat(len(x), 1)
        mean, logvar = self.gaussian(torch.cat([xs, ys], 1))
        out = self.decoder(torch.cat([sample(mean, logvar), ys], 1))
        if self.sigma is None:
            recon = F.binary_cross_entropy_with_logits(out, xs, reduction="none").sum(1)
        else:
            recon = ((out - xs).pow(2) / (2 * self.sigma**2) + math.log(self.sigma * math.sqrt(2 * math.pi))).sum(1)
        rows = (recon + kl_rows(mean, logvar)).view(-1, CLASSES)
        bound = (pi * rows).sum() + len(x) * math.log(CLASSES) + torch.special.xlogy(pi, pi).sum()
        return bound + weight * F.cross_entropy(logits, y, reduction="sum")


def read_features(path):
    """The encoder of a trained mnist-m1."""
    from safetensors.torch import load_file

    features = Gaussian(PIXELS, RECIPES["m1"])
    names = features.state_dict().keys()
    features.load_state_dict({name: value for name, value in load_file(path).items() if name in names})
    return features.requires_grad_(False)


def labelled(labels, count):
    """labels (N) to one-hot rows (N,K), zeros but for `count` of them, as many of each class."""
    y = torch.zeros(len(labels), CLASSES)
    for label in range(CLASSES):
        places = (labels == label).nonzero().flatten()
        chosen = places[torch.randperm(len(places))[: count // CLASSES]]
        y[chosen, label] = 1
    return y


@torch.no_grad()
def error(model, x, labels):
    """Percent of the pictures that are taken for another class."""
    parts = zip(x.split(1000), labels.split(1000))
    return 100 * sum((model.classify(x).argmax(1) != labels).sum().item() for x, labels in parts) / len(x)


def train(model, loss, x, y, test, args):
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=LR)
    for epoch in range(1, args.epochs + 1):
        start, total = time.time(), 0.0
        for index in torch.randperm(len(x)).split(args.batch_size):
            value = loss(x[index], y[index])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            total += value.item()
        if epoch == args.epochs or epoch % args.every == 0:
            print(
                f"{args.model} epoch {epoch} loss {total / len(x):.4f} test error {error(model, *test):.2f} % "
                f"{time.time() - start:.1f} s",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=["ss-z", "m1", "m2", "m1m2", "supervised"])
    parser.add_argument("data", metavar="DATA_DIR")
    parser.add_argument("--features", metavar="FILE", help="the model file of a trained mnist-m1, for m1m2")
    parser.add_argument("--labels", type=positive, default=100, help="labelled pictures (100)")
    parser.add_argument("--alpha", type=float, help="weight of the labels (the preset's)")
    parser.add_argument("--epochs", type=positive, default=10, help="passes over the data (10)")
    parser.add_argument("--batch-size", type=positive, default=128, help="pictures a batch (128)")
    parser.add_argument("--every", type=positive, default=1, help="epochs between two printed lines (1)")
    parser.add_argument("--limit", type=positive, default=60000, help="training pictures (60000)")
    parser.add_argument("--seed", type=int, default=1, help="PyTorch's random seed (1)")
    args = parser.parse_args()
    if args.labels % CLASSES:
        fail(f"--labels is {args.labels}, but must be a multiple of {CLASSES}")
    if (args.model == "m1m2") != (args.features is not None):
        fail("--features FILE, the model file of a trained mnist-m1, belongs to m1m2")
    recipe = RECIPES[args.model]
    images, labels = read_labelled(args.data, "train")
    test = read_labelled(args.data, "t10k")
    torch.manual_seed(args.seed)
    x, y = images[: args.limit], labelled(labels[: args.limit], args.labels)
    alpha = recipe["alpha"] if args.alpha is None else args.alpha
    weight = alpha * args.limit / args.labels
    if args.model in ["ss-z", "m1"]:
        model = LatentClassifier(recipe, detach=args.model == "m1")
    else:
        model = M2(recipe, read_features(args.features) if args.features else None)
    loss = lambda x, y: model.loss(x, y, weight)
    if args.model == "supervised":
        chosen = y.sum(1) > 0
        x, y = x[chosen], y[chosen]
        loss = lambda x, y: F.cross_entropy(model.classify(x), y)
    train(model, loss, x, y, test, args)


if __name__ == "__main__":
    main()
