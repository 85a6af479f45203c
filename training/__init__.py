"""Experiments on real data. Run as ``python -m training``.

This package is not installed: it is used from a checkout. Importing it imports no Keras, so that
the command line can choose the backend and the devices first.

Public modules:

- `cli`: the command line. `config`: the options of a run. `tasks`: data and recipes, one file each.
- `runner`: one run of ``python -m training``. `fit`: the training loop, optimizer and loss.
- `images`: networks of still images. `bisnn`: networks that learn by local rules.
- `models`, `schedule`, `data`, `scores`: networks, annealing, batches, scores.
- `runfolder`, `summary`, `environment`: what a run writes. `events`: files of event cameras.
- `startup`, `distribution`, `progress`, `errors`: the process around a run.
"""
