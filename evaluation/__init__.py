"""Reports and measurements of trained models: `python -m evaluation --help` lists the verbs.

Used from a checkout, not installed. Imports point one way: evaluation, training, hybrid_lmu. The
modules beside this one are shared by the wings, which are the folders; a wing imports shared
modules and its own, `committed` also `conversion`, and `speed` also `peers`.
"""
