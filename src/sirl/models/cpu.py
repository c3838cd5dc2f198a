"""What this CPU can multiply."""

import torch

__all__ = ["bfloat16_instructions"]

ASKS = {"avx512_bf16": "_is_avx512_bf16_supported", "amx": "_is_amx_tile_supported"}


def bfloat16_instructions() -> dict[str, bool | None]:
    """Availability of bfloat16 matrix instructions; None if this torch cannot tell."""
    found: dict[str, bool | None] = {}
    for name, ask in ASKS.items():
        question = getattr(torch.cpu, ask, None)
        found[name] = None if question is None else bool(question())
    return found
