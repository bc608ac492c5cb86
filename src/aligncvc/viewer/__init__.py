"""3D Gaussians to look at: web pages with a model to turn, and turntable animations."""
