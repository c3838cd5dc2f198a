"""sirl hardens chat models against jailbreaks with their own confidence, and proves what changed.

The method is that of "Safety Instincts: LLMs Learn to Trust Their Internal Compass for
Self-Defense" (arXiv 2510.01088).
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
