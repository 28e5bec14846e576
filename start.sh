#!/usr/bin/env bash
# Start the voice server: ./start.sh [options of main.py]
# The first start makes .venv, installs the packages and builds the demo voice.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
. scripts/environment.sh
. scripts/select_gpus.sh

read_env_file
prepare_environment server
build_demo_voice
select_gpus

# requests to ourselves must not go to a proxy
export NO_PROXY="${NO_PROXY:+$NO_PROXY,}localhost,127.0.0.1"
export no_proxy="${no_proxy:+$no_proxy,}localhost,127.0.0.1"

# exec: main.py gets the signals that are meant for this process
exec .venv/bin/python main.py "$@"
