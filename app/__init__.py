"""ExpertScope: watch a mixture-of-experts language model route every token."""

__version__ = "0.1.0"
