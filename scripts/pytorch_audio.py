#!/usr/bin/env python3
"""The VAE of `elbo train audio-spec` in PyTorch, spectrograms and all, to compare the numbers of `elbo eval`.

    python3 scripts/pytorch_audio.py DATA_DIR [--epochs N] [--seed N]

DATA_DIR has the folders train and test of .wav files: mono, 16 bits, all of one rate, the label before the first `_`
of a name. The spectrograms are made by torch.stft and HTK's mel formula, as bytes of 80 dB below the loudest level of
the training recordings. After the last epoch it prints -ELBO in nats a recording with a sampled z, the level error of
reconstructions from the mean of q(z|x) in dB, and how often the nearest training recording has the label, by that mean
and by the spectrograms themselves. With other work on the machine OMP_NUM_THREADS=1 may be the faster.
Exit code 2: something is missing or wrong, and the message says what.
"""

import argparse
import math
import pathlib
import wave

from pytorch_vae import fail, positive

import torch
from torch import nn
from torch.nn import functional

N_FFT, HOP, MELS, FRAMES, TOP_DB = 256, 96, 64, 64, 80.0
LATENT, BATCH = 32, 32


def read(path):
    """The first (FRAMES - 1) hops of a recording, followed by silence, and its rate."""
    with wave.open(str(path)) as file:
        if (file.getnchannels(), file.getsampwidth()) != (1, 2):
            fail(f"{path} is not mono of 16 bits")
        samples = torch.frombuffer(bytearray(file.readframes(file.getnframes())), dtype=torch.int16) / 32768
        samples = samples[: (FRAMES - 1) * HOP]
        return functional.pad(samples, (0, (FRAMES - 1) * HOP - len(samples))), file.getframerate()


def mel_filters(rate):
    """(MELS, N/2+1): triangles whose corners are as far apart in mel, of height 1."""
    top = 2595 * math.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (torch.linspace(0, top, MELS + 2, dtype=torch.float64) / 2595) - 1)
    hertz = torch.linspace(0, rate / 2, N_FFT // 2 + 1, dtype=torch.float64)
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    return torch.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)).clamp(min=0)


def levels(folder):
    """dB (N, MELS, FRAMES) of a folder's recordings, and their labels (N)."""
    files = sorted(pathlib.Path(folder).glob("*.wav"))
    if not files:
        fail(f"{folder} has no .wav files")
    sounds, rates = zip(*map(read, files))
    if len(set(rates)) > 1:
        fail(f"the recordings of {folder} have several rates: {sorted(set(rates))}")
    window = torch.hann_window(N_FFT, dtype=torch.float64)
    spectra = torch.stft(
        torch.stack(sounds).double(), N_FFT, HOP, window=window, center=True, pad_mode="constant", return_complex=True
    )
    power = mel_filters(rates[0]) @ spectra.abs().square()
    return 10 * power.clamp(min=1e-10).log10(), torch.tensor([int(file.name.split("_")[0]) for file in files])


class VAE(nn.Module):
    """Convolutions 1-16-32-64-128 from 64 x 64 to 4 x 4, and back."""

    def __init__(self):
        super().__init__()
        sizes = [1, 16, 32, 64, 128]
        down = [
            layer
            for a, b in zip(sizes, sizes[1:])
            for layer in (nn.Conv2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.ReLU())
        ]
        up = [
            layer
            for a, b in zip(sizes[:1:-1], sizes[-2:0:-1])
            for layer in (nn.ConvTranspose2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.ReLU())
        ]
        self.encoder = nn.Sequential(*down, nn.Flatten())
        self.mean, self.logvar = nn.Linear(2048, LATENT), nn.Linear(2048, LATENT)
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, 2048), nn.Unflatten(1, (128, 4, 4)), nn.BatchNorm2d(128), nn.ReLU(), *up,
            nn.ConvTranspose2d(16, 1, 4, 2, 1),
        )

    def encode(self, x):
        hidden = self.encoder(x)
        return self.mean(hidden), self.logvar(hidden)


def loss(model, x):
    """Sum over a batch of the Gaussian's -log p(x|z), its variance the batch's mean square error, and of the KL."""
    mean, logvar = model.encode(x)
    decoded = model.decoder(mean + torch.exp(0.5 * logvar) * torch.randn_like(mean))
    variance = (decoded - x).square().mean()
    reconstruction = 0.5 * x.numel() * (math.log(2 * math.pi) + variance.log() + 1)
    return reconstruction + 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum()


def accuracy(train, labels, test, test_labels):
    nearest = torch.cdist(test.double(), train.double()).argmin(1)
    return (labels[nearest] == test_labels).double().mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--epochs", type=positive, default=60)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    (train, labels), (test, test_labels) = (levels(pathlib.Path(args.data, split)) for split in ("train", "test"))
    peak = train.max()
    print(f"white is {peak:.4f} dB")
    as_picture = lambda level: (((level - peak) / TOP_DB + 1).clamp(0, 1) * 255).round().float()[:, None].flip(2) / 255
    train, test = as_picture(train), as_picture(test)

    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps = args.epochs * math.ceil(len(train) / BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(args.epochs):
        model.train()
        for rows in torch.randperm(len(train)).split(BATCH):
            optimizer.zero_grad()
            loss(model, train[rows]).backward()
            optimizer.step()
            schedule.step()
        if epoch % 10 == 9:
            model.eval()
            with torch.no_grad():
                total = sum(loss(model, x).item() for x in test.split(BATCH))
            print(f"epoch {epoch + 1}: test loss {total / len(test):.2f}", flush=True)

    model.eval()
    with torch.no_grad():
        means, test_means = (model.encode(x)[0] for x in (train, test))
        apart = TOP_DB * (model.decoder(test_means).clamp(0, 1) - test)
    rms, mean_absolute = apart.square().mean().sqrt(), apart.abs().mean()
    print(f"level error {rms:.2f} dB (root mean square), {mean_absolute:.2f} dB (mean absolute)")
    print(f"nearest neighbour {100 * accuracy(means, labels, test_means, test_labels):.2f} %")
    by_pixels = accuracy(train.flatten(1), labels, test.flatten(1), test_labels)
    print(f"nearest neighbour by the spectrograms {100 * by_pixels:.2f} %")


if __name__ == "__main__":
    main()
