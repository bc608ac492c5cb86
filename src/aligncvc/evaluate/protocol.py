"""Which protocols this code can measure by (what a protocol is: `aligncvc.config.protocols`)."""

from __future__ import annotations

from aligncvc.config.protocols import Protocol
from aligncvc.errors import UserError

METRIC_VERSION = 2
"""Raise it, here and in config/protocols, when a metric gives another number for the same input."""


def require_supported(protocol: Protocol) -> None:
    """Raises UserError if the protocol was written for other versions of the metrics than these."""
    if protocol.versions.metrics != METRIC_VERSION:
        raise UserError(
            f"protocol {protocol.name} asks for version {protocol.versions.metrics} of the metrics and this "
            f"code has version {METRIC_VERSION}; set versions.metrics to {METRIC_VERSION} in its file to "
            "measure anew, or use the code of that version"
        )
