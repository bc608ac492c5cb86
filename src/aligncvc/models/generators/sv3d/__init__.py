"""SV3D, p and u, as a generator."""
