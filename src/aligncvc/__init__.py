"""AlignCVC, reproduced: one image to a 3D Gaussian model in four aligned denoising steps."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aligncvc.privacy import keep_to_ourselves

if TYPE_CHECKING:
    from aligncvc.pipeline.pipeline import Pipeline as Pipeline
    from aligncvc.sample.photo_model import PhotoModel as PhotoModel

__version__ = "0.1.0"
__all__ = ["PhotoModel", "Pipeline", "__version__"]

# Loaded when asked for, as they bring torch; relative, or every stage would seem to depend on them.
_LATER = {"Pipeline": ".pipeline.pipeline", "PhotoModel": ".sample.photo_model"}

keep_to_ourselves()


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
