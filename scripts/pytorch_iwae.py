#!/usr/bin/env python3
"""The importance-weighted autoencoder (Burda, Grosse & Salakhutdinov 2015) in real PyTorch.

    python3 scripts/pytorch_iwae.py train DATA_DIR OUT.safetensors [--importance K] [--estimator NAME] [--epochs N]
    python3 scripts/pytorch_iwae.py nll MODEL.safetensors DATA_DIR [--samples S] [--count N] [--binarise SEED]

The networks are 784-200-200-50 with tanh (--hidden, --latent, --activation), under elbo's names. `train` takes pixels
drawn black or white anew for each batch, and minimises the bound of K samples a picture; with K = 1 that is -ELBO with
its KL in closed form. `nll` estimates -log p(x) of N test pictures from S samples each and prints the mean with its
standard error: grey pictures as they are, or, with --binarise SEED, the black and white ones that `elbo eval` draws for
a run of that seed. DATA_DIR holds the MNIST files in IDX form, gzip-compressed or not. Losses are in nats a picture.
Exit code 2: something is missing or wrong, and the message says what.
"""

import argparse
import math
import time

from pytorch_vae import PIXELS, load_into, positive, read_images, read_state, save

import numpy
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


class VAE(nn.Module):
    """Encoder with two heads, decoder that returns logits; one hidden layer is called fc1 and fc3, as in elbo."""

    def __init__(self, hidden, latent, activation):
        super().__init__()
        self.is_deep = len(hidden) > 1
        if self.is_deep:
            self.encoder = perceptron([PIXELS, *hidden], activation, ends_with_activation=True)
            self.decoder = perceptron([latent, *reversed(hidden), PIXELS], activation)
        else:
            self.act = activation()
            self.fc1 = nn.Linear(PIXELS, hidden[0])
            self.fc3, self.fc4 = nn.Linear(latent, hidden[0]), nn.Linear(hidden[0], PIXELS)
        self.fc21, self.fc22 = nn.Linear(hidden[-1], latent), nn.Linear(hidden[-1], latent)

    def encode(self, x):
        h = self.encoder(x) if self.is_deep else self.act(self.fc1(x))
        return self.fc21(h), self.fc22(h)

    def decode(self, z):
        return self.decoder(z) if self.is_deep else self.fc4(self.act(self.fc3(z)))


def perceptron(sizes, activation, ends_with_activation=False):
    layers = []
    for fan_in, fan_out in zip(sizes, sizes[1:]):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*(layers if ends_with_activation else layers[:-1]))


def reconstruction(logits, x):
    """-log p(x|z) in nats of each row, (B)."""
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)


def elbo(model, x):
    """-ELBO in nats, summed over the batch x (B, 784): one sample a picture, the KL in closed form."""
    mean, logvar = model.encode(x)
    z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
    kl = -0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())
    return reconstruction(model.decode(z), x).sum() + kl


def bound(model, x, samples, is_dreg):
    """-L_K in nats, summed over the batch x (B, 784). With DReG (Tucker et al. 2018) only gradients differ."""
    mean, logvar = (t.repeat_interleave(samples, 0) for t in model.encode(x))
    deviation = torch.exp(0.5 * logvar)
    z = mean + deviation * torch.randn_like(mean)
    q = Normal(mean.detach(), deviation.detach()) if is_dreg else Normal(mean, deviation)
    prior = Normal(torch.zeros_like(z), torch.ones_like(z))
    recon = reconstruction(model.decode(z), x.repeat_interleave(samples, 0))
    log_w = (prior.log_prob(z).sum(1) - q.log_prob(z).sum(1) - recon).view(-1, samples)
    if is_dreg and z.requires_grad:
        shares = torch.softmax(log_w, 1).detach()
        z.register_hook(lambda dz: shares.view(-1, 1) * dz)
    return (math.log(samples) - torch.logsumexp(log_w, 1)).sum()


def loss(model, x, args):
    return elbo(model, x) if args.importance == 1 else bound(model, x, args.importance, args.estimator == "dreg")


def train(args):
    images = read_images(args.data, "train-images-idx3-ubyte").to(args.device)
    test = drawn(read_images(args.data, "t10k-images-idx3-ubyte"), args.seed).to(args.device)
    torch.manual_seed(args.seed)
    model = new_model(args)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, eps=args.eps)
    for epoch in range(1, args.epochs + 1):
        start, total = time.perf_counter(), 0.0
        for index in torch.randperm(len(images)).split(args.batch_size):
            optimizer.zero_grad()
            minimised = loss(model, torch.bernoulli(images[index]), args)
            minimised.backward()
            optimizer.step()
            total += minimised.item()
        seconds = time.perf_counter() - start
        with torch.no_grad():
            of_test = sum(loss(model, x, args).item() for x in test.split(args.batch_size)) / len(test)
        print(f"epoch {epoch} train {total / len(images):.4f} test {of_test:.4f} seconds {seconds:.1f}", flush=True)
    save(model, args.out)


@torch.no_grad()
def nll(args):
    model = load_into(new_model(args), read_state(args.model), args.model, "this network")
    test = read_images(args.data, "t10k-images-idx3-ubyte")[: args.count]
    if args.binarise is not None:
        test = drawn(test, args.binarise)
    test = test.to(args.device)
    torch.manual_seed(args.seed)
    start, nats = time.perf_counter(), []
    for x in test.split(args.pictures):
        mean, logvar = model.encode(x)
        deviation = torch.exp(0.5 * logvar)
        # log sum w so far, of each picture.
        total, left = torch.full((len(x),), -math.inf), args.samples
        while left > 0:
            samples = min(left, args.part)
            noise = torch.randn(len(x), samples, mean.shape[1])
            z = mean[:, None] + deviation[:, None] * noise
            log_w = 0.5 * (noise.pow(2) + logvar[:, None] - z.pow(2)).sum(2)
            x_of = x[:, None].expand(-1, samples, -1).reshape(-1, PIXELS)
            log_w = log_w - reconstruction(model.decode(z.flatten(0, 1)), x_of).view(len(x), samples)
            total = torch.logaddexp(total, torch.logsumexp(log_w, 1))
            left -= samples
        nats.append(math.log(args.samples) - total)
    nats, seconds = torch.cat(nats).double(), time.perf_counter() - start
    error = nats.std().item() / math.sqrt(len(nats)) if len(nats) > 1 else 0.0
    print(f"nll {nats.mean():.4f} standard error {error:.4f} pictures {len(nats)} seconds {seconds:.1f}")


# ---- The black and white pictures of elbo


def drawn(pictures, seed):
    """Test pictures (N, 784) in [0, 1] to those of elbo's runs of this seed: white where u < grey level.

    Pixel 4 i + j of picture n takes word j of the Philox block (i, 0, n, 1); the test pictures' key has the top bit.
    """
    count, key = len(pictures), seed ^ (1 << 63)
    counter = numpy.zeros((4, count, PIXELS // 4), dtype=numpy.uint64)
    counter[0] = numpy.arange(PIXELS // 4)
    counter[2] = numpy.arange(count)[:, None]
    counter[3] = 1
    words = philox(counter, [key & 0xFFFFFFFF, key >> 32])
    u = (numpy.stack(words, axis=2).reshape(count, PIXELS) >> numpy.uint64(9)).astype(numpy.float64)
    u = (u + 0.5) / (1 << 23)
    grey = numpy.rint(pictures.numpy().astype(numpy.float64) * 255) / 255
    return torch.from_numpy((u < grey).astype(numpy.float32))


def philox(counter, key):
    """Philox 4x32-10 (Salmon et al. 2011): counter (4, ...) of 32-bit words in uint64, to as many random ones."""
    mask, half = numpy.uint64(0xFFFFFFFF), numpy.uint64(32)
    c, (low, high) = list(counter), key
    for _ in range(10):
        a, b = numpy.uint64(0xD2511F53) * c[0], numpy.uint64(0xCD9E8D57) * c[2]
        keys = numpy.uint64(low), numpy.uint64(high)
        c = [(b >> half) ^ c[1] ^ keys[0], b & mask, (a >> half) ^ c[3] ^ keys[1], a & mask]
        low, high = (low + 0x9E3779B9) & 0xFFFFFFFF, (high + 0xBB67AE85) & 0xFFFFFFFF
    return c


# ---- Arguments


def new_model(args):
    return VAE(args.hidden, args.latent, ACTIVATIONS[args.activation])


def sizes(text):
    return [positive(part) for part in text.split(",")]


def parse_arguments():
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--hidden", type=sizes, default=[200, 200], help="hidden units, with commas (200,200)")
    common.add_argument("--latent", type=positive, default=50, help="latent size (50)")
    common.add_argument("--activation", choices=ACTIVATIONS, default="tanh", help="(tanh)")
    common.add_argument("--seed", type=int, default=1, help="PyTorch's random seed (1)")
    common.add_argument("--threads", type=positive, help="threads (PyTorch's choice)")
    common.add_argument("--device", default="cpu", help="where PyTorch computes, cuda for example (cpu)")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("train", parents=[common], help="train with Adam")
    command.add_argument("data", metavar="DATA_DIR")
    command.add_argument("out", metavar="OUT.safetensors")
    command.add_argument("--importance", type=positive, default=5, metavar="K", help="samples a picture (5)")
    command.add_argument("--estimator", choices=["iwae", "dreg"], default="iwae", help="(iwae)")
    command.add_argument("--epochs", type=positive, default=10, help="passes over the data (10)")
    command.add_argument("--batch-size", type=positive, default=20, help="images a batch (20)")
    command.add_argument("--lr", type=float, default=1e-3, help="learning rate (1e-3)")
    command.add_argument("--eps", type=float, default=1e-4, help="Adam's (1e-4)")
    command.set_defaults(run=train)

    command = commands.add_parser("nll", parents=[common], help="-log p(x) by importance sampling")
    command.add_argument("model", metavar="MODEL.safetensors")
    command.add_argument("data", metavar="DATA_DIR")
    command.add_argument("--samples", type=positive, default=5000, metavar="S", help="samples a picture (5000)")
    command.add_argument("--count", type=positive, default=10000, metavar="N", help="test pictures (10000)")
    command.add_argument("--binarise", type=int, metavar="SEED", help="draw their pixels as a run of this seed does")
    command.add_argument("--pictures", type=positive, default=8, help="pictures at a time (8)")
    command.add_argument("--part", type=positive, default=128, help="samples of each at a time (128)")
    command.set_defaults(run=nll)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.set_default_device(arguments.device)
    arguments.run(arguments)
