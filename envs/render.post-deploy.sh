#!/bin/bash
# Written by envs/refresh.py.
set -euo pipefail
python -m pip install --no-deps --no-input blenderproc==2.8.0
