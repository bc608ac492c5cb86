"""Speed and memory of the full-size networks (`python -m aligncvc.benches.full_size`)."""
