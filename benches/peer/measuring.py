"""What the peers in Python share: arguments, windows of time, and rows to the schema of `elbo bench`."""

import argparse
import csv
import datetime
import platform
import statistics
import sys
import time
from pathlib import Path

COLUMNS = (
    "date,peer,version,device,driver,threads,case,batch,metric,unit,median,low,high,windows,note".split(",")
)
UNITS = {
    "step": "s", "loss": "nat", "time_to_loss": "s", "operation": "s", "start_warm": "s", "peak_rss": "B",
}
# Steps whose mean loss is reported.
JUDGED = 100


def fail(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


# ---- Time and memory


def measure(take, windows, seconds):
    """Seconds of one run: median and quartiles of windows, after a warm-up that finds how many runs make one."""

    def timed(runs):
        start = time.perf_counter()
        take(runs)
        return max(time.perf_counter() - start, 1e-9)

    timed(1)
    runs, took = 1, timed(1)
    while took < seconds / 2:
        wanted = -int(-1.2 * seconds / took * runs // 1)
        runs = min(max(wanted, runs + 1), 16 * runs)
        took = timed(runs)
    runs = max(1, -int(-seconds / took * runs // 1))
    return spread([timed(runs) / runs for _ in range(windows)])


def spread(values):
    if len(values) == 1:
        return values[0], values[0], values[0], 1
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return median, low, high, len(values)


def processor():
    """The processor's name, as /proc/cpuinfo has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def peak_memory():
    """Most bytes of this process, where the system tells."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


class Results:
    """Rows so far; the file is written anew with each."""

    def __init__(self, path, data, version, device, driver, threads):
        self.path, self.data, self.rows = path, data, []
        self.version, self.machine = version, [device, driver, threads]
        # What cannot be written is said before anything is measured.
        self.write()

    def add(self, peer, case, batch, metric, values, note=""):
        median, low, high, windows = values
        row = [
            datetime.datetime.now(datetime.timezone.utc).date().isoformat(), peer, self.version, *self.machine,
            case, batch, metric, UNITS[metric],
            repr(median), repr(low), repr(high), windows, "; ".join(filter(None, [self.data, note])),
        ]
        self.rows.append(row)
        print(f"{peer}, {case} {batch}: {metric} {median:.6g} {UNITS[metric]} ({low:.6g} to {high:.6g})", flush=True)
        self.write()

    def write(self):
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "w", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(COLUMNS)
                writer.writerows(self.rows)
        except OSError as error:
            fail(f"cannot write {self.path} ({error.strerror}): give another file to --out")


# ---- Arguments


def choices(known):
    def parse(text):
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no `{name}`: there are {', '.join(known)}")
        return names

    return parse


def number(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def numbers(text):
    return [number(part) for part in text.split(",")]


def parser(description, models):
    """With the arguments that every peer has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    inputs = Path("inputs.safetensors")
    parser.add_argument("--inputs", type=Path, default=inputs, help="what `elbo bench inputs` wrote")
    parser.add_argument("--out", type=Path, required=True, help="the result file to write (CSV)")
    parser.add_argument("--threads", type=number, help="threads of the CPU")
    parser.add_argument("--model", type=choices(models), default=list(models), help=f"models [{','.join(models)}]")
    parser.add_argument("--batch", type=numbers, default=[64, 128, 512, 4096], help="pictures a step [64,128,512,4096]")
    parser.add_argument("--windows", type=number, default=5, help="windows of each measurement [5]")
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds of a window [1]")
    return parser
