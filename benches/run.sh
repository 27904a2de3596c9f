#!/usr/bin/env bash
# Measures how fast odyssey is, against what is found on this machine: see --help. Sets up nothing.
# ODYSSEY_PYTHON names a Python with torch, transformers, peft and scipy (else python3); ODYSSEY_TEST_DATA a folder of
# models and texts. What is absent is said, and its ratio missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec cargo bench --quiet --bench speed ${ODYSSEY_FEATURES:+--features "$ODYSSEY_FEATURES"} -- "$@"
