#!/usr/bin/env bash
# Convert a recording again and again with curl, and show what each answer says:
#   HOST=http://127.0.0.1:7861 MODEL=demo AUDIO=recording.wav LOOPS=3 bash tests/e2e_convert.sh
# Without MODEL the server's default voice speaks; without AUDIO a sound is made (needs python3).
set -euo pipefail
HOST=${HOST:-http://127.0.0.1:7861}
MODEL=${MODEL:-}
AUDIO=${AUDIO:-}
LOOPS=${LOOPS:-3}
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT

if [ -z "$AUDIO" ]; then
    AUDIO=$scratch/hum.wav
    root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
    (cd -- "$root" && python3 -c 'import sys
from tests.e2e.client import hum
sys.stdout.buffer.write(hum(1.0))') >"$AUDIO"
fi
[ -r "$AUDIO" ] || {
    printf 'AUDIO cannot be read: %s\n' "$AUDIO" >&2
    exit 2
}

key=()
[ -z "${API_KEY:-}" ] || key=(-H "X-API-Key: $API_KEY")
voice=()
[ -z "$MODEL" ] || voice=(-F "model=$MODEL")

curl --silent --show-error --fail-with-body "$HOST/health" >"$scratch/health" || {
    printf 'No voice server answers at %s\n' "$HOST" >&2
    exit 2
}

failed=0
for ((n = 1; n <= LOOPS; n++)); do
    status=$(curl --silent --show-error --output "$scratch/answer" --dump-header "$scratch/head" \
        --write-out '%{http_code} %{time_total}' ${key[@]+"${key[@]}"} ${voice[@]+"${voice[@]}"} \
        -F "audio=@$AUDIO" "$HOST/api/v1/convert") || status="000 0"
    if [ "${status%% *}" = 200 ]; then
        state=$(sed -n 's/^X-Model-State: *//Ip' "$scratch/head" | tr -d '\r')
        printf '%d: %s s, %d bytes, the voice was %s\n' \
            "$n" "${status##* }" "$(wc -c <"$scratch/answer")" "$state"
        cksum <"$scratch/answer" >>"$scratch/sums"
    else
        printf '%d: status %s: %s\n' "$n" "${status%% *}" "$(cat "$scratch/answer" 2>/dev/null)"
        failed=1
    fi
done
if [ "$failed" = 0 ] && [ "$(sort -u "$scratch/sums" | wc -l)" != 1 ]; then
    printf 'The same request gave different bytes.\n'
    failed=1
fi
if [ "$failed" = 0 ]; then printf 'PASS\n'; else printf 'FAIL\n'; fi
exit "$failed"
