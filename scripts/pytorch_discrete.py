#!/usr/bin/env python3
"""The VAEs of discrete latents in real PyTorch, trained on MNIST by elbo's recipes.

    python3 scripts/pytorch_discrete.py gumbel DATA_DIR [--estimator NAME] [--epochs N] [--seed N] [--threads N]
    python3 scripts/pytorch_discrete.py vq DATA_DIR [--preset NAME] [--codebook NAME] [--epochs N] [--seed N]

`gumbel` is the preset mnist-gumbel: 784-400-20x10, Adam 1e-3, batches of 128, temperature
max(0.5, e^(-1e-4 step)); the test loss is that of exact samples. `vq` is the preset mnist-vq-conv,
mnist-vq or mnist-fsq, as its settings file has it; perplexity and used are means over batches. The modules are those of
`elbo parity` (pytorch_codes.py). DATA_DIR holds the four MNIST files in IDX form, gzip-compressed or
not. Losses are in nats, summed over dimensions and averaged over pictures.
Exit code 2: something is missing or wrong, and the message says what.
"""

import argparse
import math
import time
import tomllib
from pathlib import Path

from pytorch_vae import positive, read_images

import torch
import torch.nn.functional as F

from pytorch_codes import VQVAE, GumbelVAE

PRESETS = Path(__file__).parent.parent / "src" / "models" / "presets"
MLP = {"hidden": [400], "activation": "relu", "head": "split"}


def cross_entropy(y, x):
    return F.binary_cross_entropy_with_logits(y, x, reduction="sum")


@torch.no_grad()
def test_terms(model, images, knobs, noise, batch_size):
    """The mean loss and terms over the test pictures."""
    model.eval()
    totals = {}
    for x in images.split(batch_size):
        loss, terms = model.terms(cross_entropy, x, noise(len(x)), knobs)
        for name, value in {"loss": loss, **terms}.items():
            totals[name] = totals.get(name, 0.0) + float(value)
    model.train()
    return {name: total / len(images) for name, total in totals.items()}


def fit(model, args, knobs, noise):
    """`knobs(step)` is what follows a schedule, `noise(rows)` a batch's random numbers."""
    images, test_images = (read_images(args.data, f"{stem}-images-idx3-ubyte") for stem in ("train", "t10k"))
    images, test_images = images.view(-1, 1, 28, 28), test_images.view(-1, 1, 28, 28)
    optimizer, step = torch.optim.Adam(model.parameters(), lr=1e-3), 0
    for epoch in range(1, args.epochs + 1):
        start, total = time.perf_counter(), 0.0
        for index in torch.randperm(len(images)).split(args.batch_size):
            x = images[index]
            optimizer.zero_grad()
            loss, _ = model.terms(cross_entropy, x, noise(len(x)), knobs(step))
            loss.backward()
            optimizer.step()
            total, step = total + loss.item(), step + 1
        seconds = time.perf_counter() - start
        means = test_terms(model, test_images, knobs(step), noise, args.batch_size)
        told = " ".join(f"{name} {value:.4f}" for name, value in means.items())
        print(f"epoch {epoch} train_loss {total / len(images):.4f} test {told} seconds {seconds:.1f}", flush=True)


def gumbel(args):
    settings = MLP | {"latent": 20, "categories": 10, "estimator": args.estimator}
    model = GumbelVAE(settings, (1, 28, 28))
    knobs = lambda step: {"kl_weight": 1.0, "temperature": max(0.5, math.exp(-1e-4 * step))}
    fit(model, args, knobs, lambda rows: [torch.rand(rows, 200)])


def vq(args):
    # Levels have no commitment: the loss is the reconstruction alone.
    settings = MLP | {"decay": 0.99, "restart": 0.01, "commitment": 0.0}
    settings |= tomllib.loads((PRESETS / f"{args.preset}.toml").read_text())
    if args.codebook:
        settings["codebook"] = args.codebook
    fit(VQVAE(settings, (1, 28, 28)), args, lambda step: {"commitment": settings["commitment"]}, lambda rows: [])


def parse_arguments():
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("data", metavar="DATA_DIR")
    common.add_argument("--epochs", type=positive, default=10, help="passes over the data (10)")
    common.add_argument("--batch-size", type=positive, default=128, help="pictures a batch (128)")
    common.add_argument("--seed", type=int, default=1, help="PyTorch's random seed (1)")
    common.add_argument("--threads", type=positive, help="CPU threads (PyTorch's own choice)")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("gumbel", parents=[common], help="categorical variables by Gumbel-softmax")
    names = ["gumbel", "straight_through", "argmax"]
    command.add_argument("--estimator", choices=names, default="gumbel", help="how the gradient passes the sample")
    command.set_defaults(run=gumbel)
    command = commands.add_parser("vq", parents=[common], help="the nearest codes of a codebook, straight through")
    names = ["mnist-vq-conv", "mnist-vq", "mnist-fsq"]
    command.add_argument("--preset", choices=names, default=names[0], help="whose settings (mnist-vq-conv)")
    command.add_argument("--codebook", choices=["ema", "gradient"], help="what moves the codes (the preset's)")
    command.set_defaults(run=vq)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    torch.manual_seed(arguments.seed)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    arguments.run(arguments)
