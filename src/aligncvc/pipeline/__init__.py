"""From a picture to 3D Gaussians in Python: `Pipeline`, and pairs as folders that can be passed on."""
