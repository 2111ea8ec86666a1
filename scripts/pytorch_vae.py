#!/usr/bin/env python3
"""The VAE of pytorch/examples in real PyTorch: the other side of the checkpoint exchange.

    python3 scripts/pytorch_vae.py export OUT.safetensors [--seed N]
    python3 scripts/pytorch_vae.py check MODEL.safetensors
    python3 scripts/pytorch_vae.py eval MODEL.safetensors DATA_DIR [--seed N]
    python3 scripts/pytorch_vae.py train DATA_DIR OUT.safetensors [--epochs N] [--seed N]

`export` writes a freshly initialised state_dict for elbo to read, `check` and `eval` read a file
that elbo wrote, and `train` measures the loss PyTorch itself reaches. --hidden and --latent
change the layer sizes (default 784-400-20). DATA_DIR holds the four MNIST files in IDX form,
gzip-compressed or not. Losses are in nats, summed over dimensions and averaged over data.
Exit code 2: something is missing or wrong, and the message says what.
"""

import argparse
import gzip
import struct
import sys
import time
import zlib
from pathlib import Path


def fail(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


try:
    import numpy  # safetensors.torch and the scripts that import this one need it
    import torch
    import torch.nn.functional as F
    from safetensors.torch import load_file, save_file
    from torch import nn
except ImportError as error:
    fail(
        f"cannot import the Python package '{error.name}' ({error}).\n"
        "This script needs PyTorch and safetensors: python3 -m pip install torch safetensors numpy"
    )

PIXELS = 28 * 28


class VAE(nn.Module):
    """784-H-L: ReLU encoder with two heads, ReLU decoder that returns logits.

    pytorch/examples applies the sigmoid in the decoder; here it is inside the loss, which is the
    same function of the same parameters. Initialisation is nn.Linear's own.
    """

    def __init__(self, hidden=400, latent=20):
        super().__init__()
        self.fc1 = nn.Linear(PIXELS, hidden)
        self.fc21 = nn.Linear(hidden, latent)
        self.fc22 = nn.Linear(hidden, latent)
        self.fc3 = nn.Linear(latent, hidden)
        self.fc4 = nn.Linear(hidden, PIXELS)

    def forward(self, x):
        """x (B, 784) -> logits (B, 784), mean (B, L), log variance (B, L), with z sampled."""
        h = F.relu(self.fc1(x))
        mean, logvar = self.fc21(h), self.fc22(h)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        return self.fc4(F.relu(self.fc3(z))), mean, logvar


def loss_terms(model, x):
    """Reconstruction (binary cross-entropy) and KL of one batch, each summed over it, in nats."""
    logits, mean, logvar = model(x)
    return loss_sums(logits, x, mean, logvar)


def loss_sums(logits, x, mean, logvar):
    """Cross-entropy of the logits (B, 784) against the pictures x, and KL(N(mean, e^logvar) || N(0, 1)): sums."""
    recon = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    kl = -0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())
    return recon, kl


def read_idx(folder, stem, header):
    """An IDX file's path, the `header` 32-bit words that it begins with, and the bytes after them."""
    for path in (Path(folder) / stem, Path(folder) / f"{stem}.gz"):
        if path.is_file():
            break
    else:
        fail(f"found neither {stem} nor {stem}.gz in {folder}")
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        fail(f"cannot read {path}: {error}")
    if len(data) < 4 * header:
        fail(f"{path} is {len(data)} bytes, shorter than an IDX header ({4 * header})")
    return path, struct.unpack(f">{header}I", data[: 4 * header]), data[4 * header :]


def read_images(folder, stem):
    """An IDX image file as float32 (N, 784) in [0, 1]."""
    path, (magic, count, rows, columns), data = read_idx(folder, stem, 4)
    if (magic, rows * columns) != (0x803, PIXELS) or len(data) != count * PIXELS:
        fail(f"{path} is not an IDX file of 28 x 28 images, or it is cut short")
    pixels = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return pixels.view(count, PIXELS).float() / 255


def read_labels(folder, stem):
    """An IDX label file as int64 (N), each 0 to 9."""
    path, (magic, count), data = read_idx(folder, stem, 2)
    if magic != 0x801 or len(data) != count:
        fail(f"{path} is not an IDX file of labels, or it is cut short")
    labels = torch.frombuffer(bytearray(data), dtype=torch.uint8).long()
    if labels.max() > 9:
        fail(f"{path} holds the label {labels.max()}, expected 0 to 9")
    return labels


def read_labelled(folder, stem):
    """The images (N, 784) and labels (N) of `train` or `t10k`."""
    images = read_images(folder, f"{stem}-images-idx3-ubyte")
    labels = read_labels(folder, f"{stem}-labels-idx1-ubyte")
    if len(images) != len(labels):
        fail(f"{folder} has {len(images)} {stem} images but {len(labels)} labels")
    return images, labels


def load_model(args):
    return load_into(VAE(args.hidden, args.latent), read_state(args.model), args.model, describe(args))


def read_state(path):
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own error type beside OSError
        fail(f"cannot read {path}: {error}")


def load_into(model, state, path, what):
    """The model with the file's parameters: the same names, shapes and dtype, nothing ignored."""
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        fail(f"{path} does not fit {what}: {error}")
    for name, tensor in state.items():
        if tensor.dtype != torch.float32:
            fail(f"{path}: {name} is {tensor.dtype}, expected torch.float32")
        if not torch.isfinite(tensor).all():
            fail(f"{path}: {name} holds a NaN or an infinity")
    return model


def describe(args):
    return f"{PIXELS}-{args.hidden}-{args.latent}"


def test_loss(model, images, batch_size):
    """Mean loss, reconstruction and KL over `images`, one sample of z each."""
    return mean_losses(lambda index: loss_terms(model, images[index]), len(images), batch_size)


@torch.no_grad()
def mean_losses(terms, count, batch_size):
    """Mean loss, reconstruction and KL of `count` pictures; `terms(index)` gives the sums of the batch at `index`."""
    recon = kl = 0.0
    for index in torch.arange(count).split(batch_size):
        batch_recon, batch_kl = terms(index)
        recon += batch_recon.item()
        kl += batch_kl.item()
    return (recon + kl) / count, recon / count, kl / count


def fit(optimizer, terms, count, test, args):
    """Trains for `args.epochs` epochs of shuffled batches, the last one short, and prints the losses of each.

    `terms(index)` gives reconstruction and KL of the training batch at `index`, each summed over it, and `test()` the
    test set's mean loss, reconstruction and KL.
    """
    for epoch in range(1, args.epochs + 1):
        start = time.perf_counter()
        total = 0.0
        for index in torch.randperm(count).split(args.batch_size):
            optimizer.zero_grad()
            recon, kl = terms(index)
            loss = recon + kl
            loss.backward()
            optimizer.step()
            total += loss.item()
        seconds = time.perf_counter() - start
        loss, recon, kl = test()
        print(
            f"epoch {epoch} train_loss {total / count:.4f} test_loss {loss:.4f} "
            f"recon {recon:.4f} kl {kl:.4f} seconds {seconds:.1f}",
            flush=True,
        )


def export(args):
    torch.manual_seed(args.seed)
    save(VAE(args.hidden, args.latent), args.out)
    print(f"wrote {args.out} ({describe(args)}, seed {args.seed})")


def check(args):
    print_shapes(load_model(args), args.model, describe(args))


def print_shapes(model, path, what):
    for name, tensor in model.state_dict().items():
        print(f"{name} {tuple(tensor.shape)}")
    print(f"ok: {path} is a state_dict of {what}")


def evaluate(args):
    model = load_model(args)
    images = read_images(args.data, "t10k-images-idx3-ubyte")
    torch.manual_seed(args.seed)
    loss, recon, kl = test_loss(model, images, args.batch_size)
    print(f"test_loss {loss:.4f} recon {recon:.4f} kl {kl:.4f}")


def train(args):
    train_images = read_images(args.data, "train-images-idx3-ubyte")
    test_images = read_images(args.data, "t10k-images-idx3-ubyte")
    torch.manual_seed(args.seed)
    model = VAE(args.hidden, args.latent)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=args.lr, betas=args.betas, weight_decay=args.weight_decay
    )
    fit(
        optimizer,
        lambda index: loss_terms(model, train_images[index]),
        len(train_images),
        lambda: test_loss(model, test_images, args.batch_size),
        args,
    )
    save(model, args.out)


def save(model, path):
    try:
        save_file(model.state_dict(), path)
    except Exception as error:  # safetensors raises its own error type beside OSError
        fail(f"cannot write {path}: {error}")


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def pair(text):
    first, second = (float(part) for part in text.split(","))
    return first, second


def parse_arguments():
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--hidden", type=positive, default=400, help="hidden units (400)")
    common.add_argument("--latent", type=positive, default=20, help="latent size (20)")
    common.add_argument("--seed", type=int, default=1, help="PyTorch's random seed (1)")
    common.add_argument("--batch-size", type=positive, default=128, help="images a batch (128)")

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("export", parents=[common], help="write a fresh state_dict")
    command.add_argument("out", metavar="OUT.safetensors")
    command.set_defaults(run=export)

    command = commands.add_parser("check", parents=[common], help="load a file strictly")
    command.add_argument("model", metavar="MODEL.safetensors")
    command.set_defaults(run=check)

    command = commands.add_parser("eval", parents=[common], help="test loss, z sampled")
    command.add_argument("model", metavar="MODEL.safetensors")
    command.add_argument("data", metavar="DATA_DIR")
    command.set_defaults(run=evaluate)

    command = commands.add_parser("train", parents=[common], help="train with Adam, sum loss")
    command.add_argument("data", metavar="DATA_DIR")
    command.add_argument("out", metavar="OUT.safetensors")
    command.add_argument("--epochs", type=positive, default=10, help="passes over the data (10)")
    command.add_argument("--lr", type=float, default=1e-3, help="learning rate (1e-3)")
    command.add_argument("--betas", type=pair, default=(0.9, 0.999), metavar="B1,B2")
    command.add_argument("--weight-decay", type=float, default=0.0, help="coupled L2 (0)")
    command.set_defaults(run=train)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    arguments.run(arguments)
