"""Ouroboros3D as a generator."""
