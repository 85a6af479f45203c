"""Experiments on real data: tasks, models, one runner. Run as ``python -m training``.

Not installed: it is used from a checkout. Importing this package imports no Keras, so that
the command line can choose the backend and the devices first.
"""
