# `just` lists the recipes; `just demo` is the one to start with.
set shell := ["bash", "-euo", "pipefail", "-c"]

bin := ".venv/bin"

[private]
default:
    @just --list

# Create .venv with everything to run and to test
setup:
    [ -d .venv ] || python3 -m venv .venv
    {{ bin }}/pip install -q uv
    {{ bin }}/uv sync -q --extra test

# Four validators, a Ray head and contributors train a network; ends by itself
demo *arguments: setup
    {{ bin }}/uv run aios testnet demo {{ arguments }}

# Every test, the slow ones too
test *arguments: setup
    {{ bin }}/uv run --extra test pytest {{ arguments }}

# What runs in seconds
test-fast *arguments: setup
    {{ bin }}/uv run --extra test pytest -m "not slow" {{ arguments }}

# Format, then layers, style and types
lint: setup
    {{ bin }}/ruff format .
    {{ bin }}/ruff check .
    {{ bin }}/lint-imports --no-logo
    {{ bin }}/mypy

# A user-facing benchmark, e.g. `just bench finality --json`
bench name *arguments: setup
    {{ bin }}/uv run aios bench {{ name }} {{ arguments }}

# What CI runs: the README's line in a clean copy of the last commit
ci:
    .ci/run
