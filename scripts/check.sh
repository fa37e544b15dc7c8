#!/usr/bin/env bash
# Everything a commit must pass, in the current environment: scripts/check.sh [pytest options]
set -euo pipefail
cd "$(dirname "$0")/.."
python -m ruff format --check .
python -m ruff check .
python -m mypy
lint-imports
python scripts/check_parameters.py
python -m pytest -q --durations=15 "$@"
