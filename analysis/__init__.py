"""The ground floor: what routing is, how it is stored, what is computed from it and how that is drawn.

Knows arrays and arithmetic. Does not know torch, transformers, gradio or the ``app`` package.
"""
