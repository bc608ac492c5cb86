"""Gen-3Diffusion's 2D network, ImageDream, as a generator."""
