#!/usr/bin/env bash
# Run the whole test suite with coverage, or what is named: ./test.sh [options of pytest]
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
. scripts/environment.sh

# The browser tests drive Debian's Chromium; without it they skip and say so.
install_chromium() {
    command -v chromium >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "Installing Chromium for the browser tests"
        { apt-get -qq update &&
            DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends chromium; } \
            >&2 && return
    fi
    say "warning: no Chromium; the browser tests will be skipped (apt install chromium)"
}

prepare_environment test
build_demo_voice
install_chromium

export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # several small tests gain nothing from threads
export NO_PROXY="${NO_PROXY:+$NO_PROXY,}localhost,127.0.0.1"
export no_proxy="${no_proxy:+$no_proxy,}localhost,127.0.0.1"
if [ "$#" -gt 0 ]; then exec .venv/bin/python -m pytest "$@"; fi

# Coverage is asked of the conversion core, by its own tests; it would slow all others down.
core=(tests/rvc_core tests/parity tests/speech tests/demo_voice)
# They share nothing, so they run side by side; the others start servers and measure times.
.venv/bin/python -m pytest "${core[@]}" --numprocesses 2 --cov || failed=1
.venv/bin/python -m pytest "${core[@]/#/--ignore=}" || failed=1
exit "${failed:-0}"
