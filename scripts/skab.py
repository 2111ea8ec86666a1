#!/usr/bin/env python3
"""The recurrent VAE of series on SKAB, the Skoltech Anomaly Benchmark, by its own protocol.

    python3 scripts/skab.py ELBO DATA_DIR [--seeds S ...] [--by NAME] [--quantile SHARE] [--every N] [-- TRAIN_ARGUMENTS]

DATA_DIR holds the benchmark's folders valve1, valve2 and other (https://github.com/waico/SKAB, data/). Of each file the
first 400 rows train a model, the others are scored step by step; the threshold is a quantile of the training steps'
scores. Found, missed and falsely flagged steps are summed over all files, as on the benchmark's board: F1, the rate of
false alarms and the rate of missed ones, for each seed. Exit code 1: a run that fails.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The recipe: windows of 32 steps, as a file has 400 rows to learn from.
RECIPE = "--window-length 32 --window-stride 8 --hidden 32 --latent 8 --epochs 40 --lr 2e-3 --batch-size 32".split()
FOLDERS = ["valve1", "valve2", "other"]


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"{' '.join(command)}\n{done.stderr}", file=sys.stderr)
        sys.exit(1)
    return done.stdout


def score(args, file, seed, folder):
    """Counts of one file: found, falsely flagged, rightly left, missed."""
    out = str(Path(folder, "run"))
    run(
        *[args.elbo, "train", "series-rvae", "--data", str(file), "--label-column", "anomaly,changepoint"],
        *["--split", "first:400", "--device", args.device, "--seed", str(seed), "--out", out, *RECIPE, *args.train],
    )
    scored = run(
        *[args.elbo, "score", out, "--device", args.device, "--by", args.by, "--quantile", str(args.quantile), "--json"]
    )
    counts = json.loads(scored)["counts"]
    return [counts[name] for name in ("tp", "fp", "tn", "fn")]


def rates(tp, fp, tn, fn):
    f1, false_alarms, missed = 2 * tp / (2 * tp + fp + fn), 100 * fp / (fp + tn), 100 * fn / (fn + tp)
    return f"F1 {f1:.3f}, false alarms {false_alarms:.2f} %, missed {missed:.2f} %"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("elbo", metavar="ELBO", help="the program")
    parser.add_argument("data", metavar="DATA_DIR", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="(1 2 3)")
    parser.add_argument("--by", default="error", help="error, probability or elbo (error)")
    parser.add_argument("--quantile", type=float, default=0.99, help="(0.99)")
    parser.add_argument("--every", type=int, default=1, help="take every so many files (1)")
    parser.add_argument("--device", default="cpu", help="(cpu)")
    parser.add_argument("train", nargs="*", metavar="TRAIN_ARGUMENTS", help="what elbo train is told over the recipe")
    args = parser.parse_args()
    files = sorted(file for folder in FOLDERS for file in (args.data / folder).glob("*.csv"))[:: args.every]
    if not files:
        parser.error(f"{args.data} holds none of the folders {', '.join(FOLDERS)} with CSV files")
    for seed in args.seeds:
        start, total = time.perf_counter(), [0, 0, 0, 0]
        for file in files:
            with tempfile.TemporaryDirectory() as folder:
                total = [a + b for a, b in zip(total, score(args, file, seed, folder), strict=True)]
        print(f"seed {seed}, {len(files)} files: {rates(*total)}; {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
