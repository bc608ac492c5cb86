"""The alignment stage: post-training of a pair with soft and hard alignment."""
