"""Speed and memory of what the project promises (`python -m aligncvc.bench`)."""
