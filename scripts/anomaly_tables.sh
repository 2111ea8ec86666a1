#!/usr/bin/env bash
# The tables of docs/src/anomaly.md: how well -ELBO and the other scores find anomalies.
#
#     bash scripts/anomaly_tables.sh tables DIR [SEEDS]    # DIR/{annthyroid,...}.csv.gz of ADBench, 3 seeds unless said
#     bash scripts/anomaly_tables.sh digits DIR [SEEDS]    # DIR holds MNIST; each digit left out in turn, 1 seed
#
# Prints a line a run: what, seed, AUROC x 100 of error, probability, elbo and bound. The program is $ELBO, or
# target/release/elbo; the device $DEVICE, or cpu. Runs go to a temporary folder.
set -euo pipefail

usage() { sed -n '4,5s/^# *//p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
what=$1 data=$2
elbo=${ELBO:-target/release/elbo} device=${DEVICE:-cpu}
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT

# AUROC x 100 of each score of a run's test rows.
areas() {
    "$elbo" score "$1" --device "$device" --json 2>/dev/null | python3 -c '
import json, sys
ranking = json.load(sys.stdin)["sets"][0]["ranking"]
areas = {name: 100 * ranking[name]["auroc"] for name in ("error", "probability", "elbo", "bound")}
print(*(f"{name} {area:.2f}" for name, area in areas.items()))'
}

case $what in
tables)
    for table in annthyroid fault mammography satimage-2 shuttle thyroid; do
        for seed in $(seq "${3:-3}"); do
            "$elbo" train table-vae --data "$data/$table.csv.gz" --split normal:0.5 --seed "$seed" --device "$device" \
                --out "$runs/$table-$seed" >"$runs/log" 2>&1 || { tail -3 "$runs/log" >&2; exit 1; }
            echo "$table seed $seed: $(areas "$runs/$table-$seed")"
        done
    done
    ;;
digits)
    for digit in 0 1 2 3 4 5 6 7 8 9; do
        others=$(seq 0 9 | grep -v "$digit" | paste -sd,)
        for seed in $(seq "${3:-1}"); do
            "$elbo" train mnist-anomaly --data "$data" --normal "$others" --seed "$seed" --device "$device" \
                --out "$runs/$digit-$seed" >"$runs/log" 2>&1 || { tail -3 "$runs/log" >&2; exit 1; }
            echo "without $digit, seed $seed: $(areas "$runs/$digit-$seed")"
        done
    done
    ;;
*) usage ;;
esac
