#!/usr/bin/env python3
"""Holds the forecasts of a model of series against what came, and against two rules that need no model.

    python3 scripts/forecasts.py ELBO RUN FILE.csv --steps N --first ROW --last ROW [--every N] [--period N]

Goes on from every so many rows of the file, as if what follows were not known. Errors are in deviations of each channel
over the rows before the first one, squared and averaged over channels, steps and places. Beside the model: the last
number again at each step, and the number one period before. Printed too: the share of numbers within the 90 % band.
"""

import argparse
import csv
import json
import subprocess
from pathlib import Path


def forecast(args, row):
    done = subprocess.run(
        [
            *[args.elbo, "forecast", args.run, str(args.file), "--steps", str(args.steps), "--from", str(row), "--json"],
            *["--device", args.device, "--out", str(Path(args.run, "at.csv"))],
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)["steps"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("elbo", metavar="ELBO")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("file", metavar="FILE.csv", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--last", type=int, required=True)
    parser.add_argument("--every", type=int, default=97, help="rows from one place to the next (97)")
    parser.add_argument("--period", type=int, default=24, help="(24)")
    parser.add_argument("--device", default="cpu", help="(cpu)")
    args = parser.parse_args()
    table = list(csv.DictReader(args.file.open()))
    places = range(args.first, args.last - args.steps + 1, args.every)
    names = [channel["channel"] for channel in forecast(args, args.first)[0]["channels"]]
    series = {name: [float(row[name]) for row in table] for name in names}
    deviation = {}
    for name, values in series.items():
        before = values[: args.first]
        mean = sum(before) / len(before)
        deviation[name] = (sum((value - mean) ** 2 for value in before) / len(before)) ** 0.5
    errors, within, count = {"model": 0.0, "the last number": 0.0, "a period before": 0.0}, 0, 0
    for place in places:
        for step, row in enumerate(forecast(args, place)):
            for channel in row["channels"]:
                name, came = channel["channel"], series[channel["channel"]][place + step]
                rules = {
                    "model": channel["mean"],
                    "the last number": series[name][place - 1],
                    "a period before": series[name][place + step - args.period * (step // args.period + 1)],
                }
                for rule, value in rules.items():
                    errors[rule] += ((value - came) / deviation[name]) ** 2
                within += channel["low"] <= came <= channel["high"]
                count += 1
    for rule, error in errors.items():
        print(f"{rule}: mean squared error {error / count:.3f}")
    print(f"{100 * within / count:.1f} % of {count} numbers are within the band, {len(places)} places")


if __name__ == "__main__":
    main()
