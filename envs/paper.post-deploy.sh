#!/bin/bash
# Written by envs/refresh.py.
set -euo pipefail
python -m pip install --no-deps --no-input lpips==0.1.4
