# Sourced by start.sh, test.sh and .ci/run, in the root of the repository.
# Makes .venv, installs the pinned packages once, and builds the demo voice when it is missing.

SERVER_EXTRAS=demo,crepe,swift,praat # every optional part of the server

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

# Print the first interpreter that is Python 3.10 to 3.13; PYTHON=... chooses another one.
find_python() {
    local candidate candidates=(python3 python3.13 python3.12 python3.11 python3.10 python)
    if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
            2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "Python 3.10 to 3.13 is needed, and none was found" \
        "(set PYTHON=/path/to/python3 if yours has another name)"
}

make_venv() {
    local python
    python=$(find_python) || exit 1
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "this Python cannot make virtual environments: install its venv package" \
            "(Debian and Ubuntu: apt install python3-venv)"
    say "Making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv || fail "the virtual environment could not be made"
}

# pip_install EXTRAS; without a terminal pip only speaks of errors
pip_install() {
    local quiet=()
    [ -t 1 ] || quiet=(--quiet)
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --use-pep517 \
        ${quiet[@]+"${quiet[@]}"} --constraint requirements.lock --editable ".[$1]"
}

# install_packages EXTRAS: all at once, or else the server first and then what else can be had
install_packages() {
    local extra
    pip_install "$1" && return
    say "warning: not everything could be installed; trying the parts one by one"
    pip_install "" || fail "the packages could not be installed; the reason is above"
    for extra in ${1//,/ }; do
        pip_install "$extra" && continue
        [ "$extra" != test ] || fail "the test tools could not be installed; the reason is above"
        say "warning: the optional part '$extra' is missing; the rest works without it" \
            "(remove .venv/.installed-* to try again)"
    done
}

# What the environment was made from; its copy inside .venv tells whether it is up to date.
environment_recipe() {
    printf '%s\n' "$PWD" "$SERVER_EXTRAS"
    cat pyproject.toml requirements.lock
}

# is_prepared GROUP RECIPE
is_prepared() {
    [ -x .venv/bin/python ] && [ -f ".venv/.installed-$1" ] &&
        [ "$(cat ".venv/.installed-$1")" = "$2" ]
}

# prepare_environment server|test
prepare_environment() {
    local recipe lock
    recipe=$(environment_recipe)
    is_prepared "$1" "$recipe" && return
    exec {lock}<pyproject.toml # two starts at once: the second waits and finds the work done
    if command -v flock >/dev/null && ! flock --nonblock "$lock"; then
        say "Waiting for another start that is installing"
        flock "$lock"
    fi
    if ! is_prepared "$1" "$recipe"; then
        .venv/bin/python -m pip --version >/dev/null 2>&1 || make_venv
        say "Installing packages: once, about 6 GB on disk, some minutes"
        if [ "$1" = test ]; then
            install_packages "$SERVER_EXTRAS,recordings,test"
            printf '%s\n' "$recipe" >.venv/.installed-test
        else
            install_packages "$SERVER_EXTRAS"
        fi
        printf '%s\n' "$recipe" >.venv/.installed-server
    fi
    exec {lock}<&-
}

build_demo_voice() {
    local models=${MODELS_DIR:-models}
    [ -f "$models/voices/demo.pth" ] && [ -f "$models/content/whisper-tiny.en.safetensors" ] &&
        return
    say "Building the demo voice (evaluation and testing, not for commercial use)"
    .venv/bin/python -m demo_voice --models "$models" >&2 ||
        say "warning: the demo voice could not be built; add a voice to $models/voices instead"
}

# Set what .env says; what the caller has set already stays.
read_env_file() {
    local line name value
    [ -f .env ] || return 0
    while IFS= read -r line || [ -n "$line" ]; do
        line=${line%$'\r'}
        [[ $line =~ ^([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]] || continue
        name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
        if [[ $value =~ ^\"(.*)\"$ || $value =~ ^\'(.*)\'$ ]]; then value=${BASH_REMATCH[1]}; fi
        [ -n "${!name+set}" ] || export "$name=$value"
    done <.env
}
