#!/usr/bin/env python3
"""The sentence VAE (Bowman et al. 2016, arXiv 1511.06349) in PyTorch, under elbo's settings and names.

    python3 scripts/pytorch_sentence.py DATA_DIR [--epochs N] [--seed S] [--threads N] [--inputless] ...

trains it by the recipe of elbo's preset text-vae on train.txt[.gz] and prints the losses on test.txt[.gz] after each
epoch, with the seconds that its steps took. The vocabulary is made as elbo makes it. Batches are of neighbours in
length, so that next to nothing is padding. Exit code 2: unusable arguments.

B sentences, T steps, V words, E numbers of an embedding, H of a state, Z latents. Steps are time-major, (T, B).
"""

import argparse
import collections
import gzip
import math
import re
import time
from pathlib import Path

import torch
from torch import nn
from torch.distributions import Normal
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

PAD, UNK, BOS, EOS, FIRST_WORD = range(5)


class SentenceVAE(nn.Module):
    """An LSTM reads a sentence, one writes it."""

    def __init__(self, settings, vocabulary):
        super().__init__()
        size, hidden, latent = (settings[key] for key in ("embedding", "hidden", "latent"))
        self.settings = settings
        told = settings["teacher_forcing"] * size + settings["z_every_step"] * latent
        self.embedding = nn.Embedding(vocabulary, size, padding_idx=PAD)
        self.encoder = nn.LSTM(size, hidden)
        self.fc21, self.fc22, self.fc3 = nn.Linear(hidden, latent), nn.Linear(hidden, latent), nn.Linear(latent, hidden)
        self.decoder = nn.LSTM(told, hidden)
        self.output = nn.Linear(hidden, vocabulary)

    def encode(self, ids, lengths):
        """ids (T, B), lengths (B) to mean and logvar (B, Z)."""
        packed = pack_padded_sequence(self.embedding(ids), lengths, enforce_sorted=False)
        last = self.encoder(packed)[1][0][0]
        return self.fc21(last), self.fc22(last)

    def decode(self, z, ids, lengths, noise=None):
        """Logits (T, B, V) of each word, given those before and z (B, Z); noise (T, B) in (0,1) hides words."""
        told = []
        if self.settings["teacher_forcing"]:
            before = torch.cat([torch.full_like(ids[:1], BOS), ids[:-1]])
            if noise is not None:
                is_hidden = (noise < self.settings["word_dropout"]) & (before >= FIRST_WORD)
                before = torch.where(is_hidden, UNK, before)
            told.append(self.embedding(before))
        if self.settings["z_every_step"]:
            told.append(z.expand(len(ids), *z.shape))
        start = self.fc3(z)[None]
        packed = pack_padded_sequence(torch.cat(told, 2), lengths, enforce_sorted=False)
        states, _ = self.decoder(packed, (start, torch.zeros_like(start)))
        return self.output(pad_packed_sequence(states, total_length=len(ids))[0])

    def terms(self, ids, kl_of, noise):
        """The terms, each summed over the batch; noise: of z (B, Z), and of the words (T, B) where some are hidden."""
        lengths = (ids != PAD).sum(0).cpu()
        mean, logvar = self.encode(ids, lengths)
        z = mean + torch.exp(0.5 * logvar) * noise[0]
        hides = noise[1].view_as(ids) if len(noise) > 1 else None
        logits = self.decode(z, ids, lengths, hides)
        recon = F.cross_entropy(logits.flatten(0, 1), ids.flatten(), ignore_index=PAD, reduction="sum")
        return {"recon": recon, "kl": kl_of(mean, logvar), "words": (ids != PAD).sum()}


# ---- Text


def words(line):
    """The tokens of elbo's `--tokens words`: runs of letters a to z and digits, and every other sign by itself."""
    return re.findall(r"[a-z0-9]+|[^\sa-z0-9]", line.lower())


def read(folder, name):
    for path in (Path(folder, f"{name}.txt"), Path(folder, f"{name}.txt.gz")):
        if path.exists():
            text = path.read_bytes()
            text = gzip.decompress(text) if path.suffix == ".gz" else text
            return [line for line in (words(line) for line in text.decode().splitlines()) if line]
    raise SystemExit(f"error: there is no {name}.txt in {folder}")


def vocabulary(lines, min_count):
    counts = collections.Counter(word for line in lines for word in line)
    kept = sorted((word for word in counts if counts[word] >= min_count), key=lambda word: (-counts[word], word))
    return {word: number for number, word in enumerate(kept, FIRST_WORD)}


def batches(lines, numbers, size, longest):
    """ids (T, B) of neighbours in length."""
    rows = [[numbers.get(word, UNK) for word in line] + [EOS] for line in lines if len(line) < longest]
    order = torch.randperm(len(rows)).tolist()
    order.sort(key=lambda row: len(rows[row]))
    for first in range(0, len(order), size):
        chosen = [torch.tensor(rows[row]) for row in order[first : first + size]]
        yield nn.utils.rnn.pad_sequence(chosen, padding_value=PAD)


# ---- Training


def kl_of(mean, logvar):
    return torch.distributions.kl_divergence(Normal(mean, torch.exp(0.5 * logvar)), Normal(0.0, 1.0)).sum()


def train(args):
    torch.manual_seed(args.seed)
    lines = read(args.data, "train")
    numbers = vocabulary(lines, args.min_count)
    settings = {"embedding": args.embedding, "hidden": args.hidden, "latent": args.latent, "z_every_step": True}
    settings |= {"teacher_forcing": not args.inputless, "word_dropout": 0.0 if args.inputless else args.word_dropout}
    model = SentenceVAE(settings, FIRST_WORD + len(numbers)).to(args.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    test = list(batches(read(args.data, "test"), numbers, args.batch_size, args.longest))
    print(f"{len(lines)} sentences, {FIRST_WORD + len(numbers)} words", flush=True)
    step = 0
    for epoch in range(1, args.epochs + 1):
        start, total = time.perf_counter(), torch.zeros(2)
        # In any order: sentences of a length are shuffled, and so are the batches.
        of_epoch = list(batches(lines, numbers, args.batch_size, args.longest))
        count = sum(ids.shape[1] for ids in of_epoch)
        for index in torch.randperm(len(of_epoch)).tolist():
            ids = of_epoch[index].to(args.device)
            noise = [torch.randn(ids.shape[1], args.latent, device=args.device)]
            if settings["word_dropout"] > 0:
                noise.append(torch.rand(ids.shape, device=args.device))
            terms = model.terms(ids, kl_of, noise)
            weight = min(1.0, step / (args.anneal * len(of_epoch))) if args.anneal else 1.0
            optimizer.zero_grad()
            ((terms["recon"] + weight * terms["kl"]) / ids.shape[1]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            total += torch.stack([terms["recon"], terms["kl"]]).detach().cpu()
            step += 1
        seconds = time.perf_counter() - start
        recon, kl, words_of = evaluate(model, test, args)
        nats = recon + kl
        print(
            f"epoch {epoch} train {total.sum() / count:.3f} test {nats:.3f} recon {recon:.3f} kl {kl:.3f} "
            f"perplexity {math.exp(nats / words_of):.2f} seconds {seconds:.1f}",
            flush=True,
        )


@torch.no_grad()
def evaluate(model, test, args):
    sums, count = torch.zeros(3), 0
    hides, model.settings["word_dropout"] = model.settings["word_dropout"], 0.0
    for ids in test:
        ids = ids.to(args.device)
        noise = [torch.randn(ids.shape[1], args.latent, device=args.device)]
        terms = model.terms(ids, kl_of, noise)
        sums += torch.stack([terms[name].float() for name in ("recon", "kl", "words")]).cpu()
        count += ids.shape[1]
    model.settings["word_dropout"] = hides
    return (sums / count).tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA_DIR", type=Path)
    parser.add_argument("--inputless", action="store_true", help="tell the decoder no words, as preset text-inputless")
    parser.add_argument("--embedding", type=int, default=128, help="(128)")
    parser.add_argument("--hidden", type=int, default=256, help="(256)")
    parser.add_argument("--latent", type=int, default=32, help="(32)")
    parser.add_argument("--word-dropout", type=float, default=0.25, help="(0.25)")
    parser.add_argument("--anneal", type=float, default=5.0, help="epochs until the weight of the KL is 1 (5)")
    parser.add_argument("--min-count", type=int, default=5, help="words seen less often are unknown (5)")
    parser.add_argument("--longest", type=int, default=60, help="tokens of a sentence at most, its end counted (60)")
    parser.add_argument("--epochs", type=int, default=12, help="(12)")
    parser.add_argument("--batch-size", type=int, default=128, help="(128)")
    parser.add_argument("--lr", type=float, default=1e-3, help="(1e-3)")
    parser.add_argument("--seed", type=int, default=1, help="(1)")
    parser.add_argument("--threads", type=int, help="threads (PyTorch's choice)")
    parser.add_argument("--device", default="cpu", help="where PyTorch computes, cuda for example (cpu)")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    train(args)


if __name__ == "__main__":
    main()
