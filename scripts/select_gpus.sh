# Sourced by start.sh: chooses the least-loaded NVIDIA GPUs and claims them for this process.
# Needs say and fail of environment.sh.

# One GPU a line, "uuid index", most free memory first, then least busy; nothing without a GPU.
list_gpus() {
    command -v nvidia-smi >/dev/null || return 0
    local ask=(nvidia-smi "--query-gpu=index,uuid,memory.free,utilization.gpu"
        "--format=csv,noheader,nounits")
    if command -v timeout >/dev/null; then ask=(timeout 20 "${ask[@]}"); fi
    { "${ask[@]}" 2>/dev/null || true; } |
        awk -F' *, *' '$2 ~ /^GPU-/ { print $3 + 0, $4 + 0, $1, $2 }' |
        sort -k1,1nr -k2,2n -k3,3n |
        awk '{ print $4, $3 }'
}

# claim_gpu UUID: hold a lock until this process, main.py after exec included, has ended.
# A lock beats a look at the memory: two services that start together see the same free GPU.
claim_gpu() {
    local file="${GPU_LOCK_DIR:-/tmp}/voice-server-$1.lock" lock
    command -v flock >/dev/null || return 0
    # noclobber: never write through a file or link that somebody else has put there
    (umask 022 && set -o noclobber && : >"$file") 2>/dev/null || true
    [ -r "$file" ] || return 1
    exec {lock}<"$file"
    if ! flock --nonblock "$lock"; then
        exec {lock}<&-
        return 1
    fi
}

# wanted_gpus AVAILABLE: how many to take, from GPU_COUNT
wanted_gpus() {
    case "${GPU_COUNT:-1}" in
    all) printf '%s\n' "$1" ;;
    *[!0-9]*) fail "GPU_COUNT must be a number or 'all', not '$GPU_COUNT'" ;;
    *) printf '%s\n' "$((10#${GPU_COUNT:-1} < $1 ? 10#${GPU_COUNT:-1} : $1))" ;;
    esac
}

# visible_as_uuids NAMES GPUS: the UUIDs of a list such as "0,2"; fails when one is not known
visible_as_uuids() {
    local name uuid uuids=()
    for name in ${1//,/ }; do
        uuid=$(awk -v name="$name" '$1 == name || $2 == name { print $1; exit }' <<<"$2")
        [ -n "$uuid" ] || return 1
        uuids+=("$uuid")
    done
    local IFS=,
    printf '%s\n' "${uuids[*]}"
}

# Follow NVIDIA_VISIBLE_DEVICES. A container runtime has applied it already and numbers the GPUs
# anew, so names that are not to be found here are left alone.
follow_visible_devices() {
    local uuids
    case "$NVIDIA_VISIBLE_DEVICES" in
    none | void) export CUDA_VISIBLE_DEVICES="" ;;
    all) ;;
    *)
        if uuids=$(visible_as_uuids "$NVIDIA_VISIBLE_DEVICES" "$1"); then
            export CUDA_VISIBLE_DEVICES="$uuids"
        fi
        ;;
    esac
    say "GPUs: as NVIDIA_VISIBLE_DEVICES=$NVIDIA_VISIBLE_DEVICES says"
}

# choose_gpus GPUS WANTED: free ones first; where all are claimed, share the least loaded
choose_gpus() {
    local uuid chosen=() taken=()
    while read -r uuid _; do
        [ "${#chosen[@]}" -lt "$2" ] || break
        if claim_gpu "$uuid"; then chosen+=("$uuid"); else taken+=("$uuid"); fi
    done <<<"$1"
    for uuid in ${taken[@]+"${taken[@]}"}; do
        [ "${#chosen[@]}" -lt "$2" ] || break
        say "warning: GPU $uuid is shared with another voice server"
        chosen+=("$uuid")
    done
    local IFS=,
    export CUDA_VISIBLE_DEVICES="${chosen[*]-}"
}

# Export CUDA_VISIBLE_DEVICES; a setting of the user's own stays as it is.
select_gpus() {
    local gpus wanted
    if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
        say "GPUs: as CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES says"
        return
    fi
    gpus=$(list_gpus)
    if [ -z "$gpus" ]; then
        say "GPUs: none found, running on the CPU"
    elif [ -n "${NVIDIA_VISIBLE_DEVICES:-}" ]; then
        follow_visible_devices "$gpus"
    else
        wanted=$(wanted_gpus "$(wc -l <<<"$gpus")") || exit 1
        choose_gpus "$gpus" "$wanted"
        say "GPUs: ${CUDA_VISIBLE_DEVICES:-none wanted, running on the CPU}"
    fi
}
