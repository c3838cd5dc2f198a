"""Where the embedded model lies inside the package; `sirl world build` makes it."""

from pathlib import Path

__all__ = ["EMBEDDED_PATH"]

EMBEDDED_PATH = Path(__file__).parent / "world-chat"
