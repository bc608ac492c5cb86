"""AlignCVC, reproduced: one image to a 3D Gaussian model in four aligned denoising steps."""

from aligncvc.privacy import keep_to_ourselves

__version__ = "0.1.0"

keep_to_ourselves()
