"""Speed and memory of the full-size networks (`python -m aligncvc.bench.full_size`)."""
