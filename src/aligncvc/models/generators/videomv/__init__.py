"""VideoMV as a generator."""
