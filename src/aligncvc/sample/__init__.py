"""From one image to Gaussians: the 3D-aware loop, the two-stage baseline, and their command line."""
