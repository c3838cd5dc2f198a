"""Recognises out-of-memory errors on every device."""

import torch

__all__ = ["out_of_memory"]


def out_of_memory(error: Exception) -> bool:
    """Whether a torch error means out of memory.

    The CPU allocator raises a plain `RuntimeError`, recognised by its message.

    >>> out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."))
    True
    >>> out_of_memory(RuntimeError("shapes do not match"))
    False
    """
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
