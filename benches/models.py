#!/usr/bin/env python3
"""A training step of each model beside PyTorch's, in turns, on the CPU device with as many threads for both.

    python3 benches/models.py DATA [PRESET ...] [--rounds N] [--threads N] [--elbo PROGRAM]

DATA holds MNIST; without names it is every preset of MNIST's pictures that needs no other run's file. A line a preset:
the median milliseconds of a step of elbo (`elbo bench --only steps`, at the preset's batch) and of PyTorch in eager
mode (scripts/pytorch_steps.py, on what `elbo parity` wrote), and the median, least and greatest of the rounds' ratios
PyTorch / elbo. A round runs both, so a change of the machine's speed touches both. Exit code 1: a program failed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def output(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stderr.strip() or done.stdout.strip(), file=sys.stderr)
        sys.exit(1)
    return done.stdout


def of_mnist(elbo):
    """Presets whose data are MNIST's pictures and whose settings name no other run."""
    presets = [preset["name"] for model in json.loads(output(elbo, "models", "--json")) for preset in model["presets"]]
    return [name for name in presets if name.startswith("mnist-") and not {"features", "vq"} & set(settings(elbo, name))]


def settings(elbo, preset):
    return json.loads(output(elbo, "models", "show", preset, "--json"))["settings"]


def ours(elbo, preset, batch, threads, data, folder):
    rows = json.loads(output(elbo, "bench", "--only", "steps", "--model", preset, "--batch", batch, "--device", "cpu",
                             "--threads", threads, "--data", data, "--windows", 3, "--out", folder, "--json"))["rows"]
    return 1e3 * next(row["median"] for row in rows if row["metric"] == "step")


def theirs(folder, threads):
    return float(output(sys.executable, SCRIPTS / "pytorch_steps.py", folder, "--threads", threads).split()[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", type=Path)
    parser.add_argument("presets", metavar="PRESET", nargs="*")
    parser.add_argument("--rounds", type=int, default=3, help="runs of both (3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of both (one a core)")
    parser.add_argument("--elbo", default="target/release/elbo", help="the program (target/release/elbo)")
    arguments = parser.parse_args()
    elbo, threads = arguments.elbo, arguments.threads
    print("| preset | batch | elbo | PyTorch | ratio | least and greatest |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        for preset in arguments.presets or of_mnist(elbo):
            batch, exchange = settings(elbo, preset)["batch_size"], Path(work, preset)
            command = ["parity", preset, "--steps", 4, "--device", "cpu", "--python", sys.executable]
            output(elbo, *command, "--out", exchange)
            pairs = []
            for number in range(arguments.rounds):
                mine = ours(elbo, preset, batch, threads, arguments.data, Path(work, f"{preset}-{number}"))
                pairs.append((mine, theirs(exchange, threads)))
            mine, other = (statistics.median(times) for times in zip(*pairs))
            ratios = [other / mine for mine, other in pairs]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            ratio = statistics.median(ratios)
            print(f"| `{preset}` | {batch} | {mine:.2f} ms | {other:.2f} ms | {ratio:.2f} | {spread} |", flush=True)


if __name__ == "__main__":
    main()
