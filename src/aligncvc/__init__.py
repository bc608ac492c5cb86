"""AlignCVC, reproduced: one image to a 3D Gaussian model in four aligned denoising steps."""

__version__ = "0.1.0"
