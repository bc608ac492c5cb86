"""The base of everything that is read from YAML or JSON: configuration, protocols, settings of jobs."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from aligncvc.errors import UserError


class Section(BaseModel):
    """A group of settings: unknown keys and numbers that are not finite are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def parsed(cls, data: Any, where: str) -> Self:
        """A mapping as this type. Raises UserError with what is wrong, key by key, in one line."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise UserError(f"{where} is not valid: {faults(error)}") from None


def faults(error: ValidationError) -> str:
    """What is wrong in a mapping, each fault with its key, in one line."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'top level'}: {e['msg']}" for e in error.errors())
