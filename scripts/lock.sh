#!/usr/bin/env bash
# Write requirements.lock anew: one version of each package that suits Python 3.10 to 3.13.
# Needs the four interpreters; resolves without installing anything.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
: >"$scratch/pins"
python3.13 scripts/dependencies.py demo crepe swift praat recordings test >"$scratch/wanted"

# The oldest Python decides what it can; the others add only what they alone need.
for version in 3.10 3.11 3.12 3.13; do
    "python$version" -m venv "$scratch/$version"
    pip="$scratch/$version/bin/python -m pip --quiet --disable-pip-version-check"
    $pip install --upgrade pip
    $pip install --dry-run --ignore-installed --report "$scratch/report" \
        --constraint "$scratch/pins" --requirement "$scratch/wanted"
    "$scratch/$version/bin/python" scripts/pins.py "$scratch/report" >>"$scratch/pins"
    LC_ALL=C sort --unique --output "$scratch/pins" "$scratch/pins"
done
mv -- "$scratch/pins" requirements.lock
