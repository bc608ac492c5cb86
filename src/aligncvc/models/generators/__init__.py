"""Multi-view generators, one folder a kind: `settings.py` (no torch) and `network.py`. See `models.kinds`."""
