"""The recipe of the bundled model: problems, tokenizer, model, training, evaluation, export.

Stands beside the house: nothing in `app/` or `analysis/` imports it.
"""
