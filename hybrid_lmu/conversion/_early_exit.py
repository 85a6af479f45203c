"""Early exit: each sample leaves at the first step at which the network is sure of its class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hybrid_lmu._internal.checks import check_choice, check_positive, check_positive_integer
from hybrid_lmu.conversion._simulation import Simulation, as_labels

_CONFIDENCES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999,
                0.9995, 0.9999, 0.99999, 0.999999)  # fmt: skip
# From the first step on: the validation data tell whether that is too soon.
EXIT_RULES = tuple(
    {"confidence": c, "norm": n, "first": 1} for n in ("rate", "sum") for c in _CONFIDENCES
)
_NO_EXIT = {"confidence": 1.0, "norm": "rate"}


@dataclass(frozen=True, eq=False)
class Exit:
    """The step at which each sample left, and its class.

    Attributes:
        steps: the step, counted from 1, [samples].
        classes: the class at that step, [samples].
        spikes: number of spikes up to that step, [samples].
    """

    steps: np.ndarray
    classes: np.ndarray
    spikes: np.ndarray

    def accuracy(self, labels) -> float:
        """Return the share of right classes.

        Args:
            labels: the right class of each sample, [samples] or [samples, 1].
        """
        return float((self.classes == as_labels(labels, len(self.classes))).mean())


def early_exit(
    simulation: Simulation,
    confidence: float,
    *,
    kappa: float = 1.0,
    norm: str = "rate",
    first: int | None = None,
) -> Exit:
    """Let each sample leave at the first step at which the network is sure of its class.

    A sample stops at the first ``t >= first`` with::

        max softmax(kappa * S_t / norm_t) >= confidence

    and at the last step if there is no such t. A network with one output uses the sigmoid of the
    output or of its negative, whichever is larger.

    Args:
        simulation: made by `simulate`.
        confidence: in (0, 1]; 1: no sample leaves early.
        kappa: > 0. Default 1: the softmax of the source network.
        norm: ``"rate"`` (default): ``norm_t = t``, so that ``S_t / t`` approaches the outputs of
            the source network. ``"sum"``: ``norm_t = 1``, so that the confidence grows with t. The
            error of a rate is at most of the order of 1/t. The margin of the sums therefore says by
            how many such errors the first class leads, and needs fewer steps for the same accuracy
            on MNIST.
        first: the first step at which a sample may leave; >= 1. Default None: the number of layers
            of neurons that follow one another, `Simulation.depth`. Before that step, few spikes
            have passed all layers, and a network with biases is sure, and wrong (digits, 3 layers,
            confidence 0.9: 93 % of the classes are right with 1, 98 % with the default, as after
            all steps). With ``initial_potential="zeros"`` and ``norm="sum"`` even this is too soon:
            let `search_exit` find the rule on validation data.

    Raises:
        ValueError: for an argument out of range, or a simulation with more than one output for
            each sample, step and class.

    Source: the definition is ours. Lu & Sengupta (2020), arXiv:2002.10064, only say that run-time
    techniques shorten the latency.
    """
    if not 0 < check_positive("confidence", confidence) <= 1:
        raise ValueError(f"`confidence` must be in (0, 1]; received: {confidence!r}")
    check_positive("kappa", kappa)
    check_choice("norm", norm, ("rate", "sum"))
    if simulation.sums.ndim != 3:
        raise ValueError(
            "`simulation` must be of a network with one class for each sample, sums of shape "
            f"[samples, T, outputs]; received {simulation.sums.shape}."
        )
    sums = simulation.sums.astype("float64")
    steps = np.arange(1, sums.shape[1] + 1)
    first = simulation.depth if first is None else check_positive_integer("first", first)
    first = min(first, len(steps))
    z = kappa * (sums / steps[:, None] if norm == "rate" else sums)
    if z.shape[-1] == 1:
        sure = 1.0 / (1.0 + np.exp(-np.abs(z[..., 0])))
    else:
        sure = 1.0 / np.exp(z - z.max(axis=-1, keepdims=True)).sum(axis=-1)
    leaves = (sure >= confidence) & (steps >= first) & (confidence < 1)
    leaves[:, -1] = True
    at = leaves.argmax(axis=1)
    rows = np.arange(len(at))
    return Exit(at + 1, simulation.predictions()[rows, at], simulation.spikes[rows, at])


def search_exit(
    simulation: Simulation, labels, accuracy: float, *, rules: Iterable[dict] = EXIT_RULES
) -> tuple[dict, Exit]:
    """Return the exit rule with the fewest mean steps among those that keep an accuracy.

    An exit rule is a dictionary of arguments of `early_exit`.

    Args:
        simulation: made by `simulate` on validation data.
        labels: the right class of each sample.
        accuracy: the accuracy to be kept, such as that of the source network less 0.001. If all
            steps together reach less, the accuracy of all steps is to be kept.
        rules: the exit rules to try. Default: both norms, with confidences from 0.2 to 0.999999,
            from the first step on.

    Returns:
        ``(rule, exit)``. If no rule keeps the accuracy, the rule has a confidence of 1: no sample
        leaves early.

    Source: ours.
    """
    goal = min(accuracy, simulation.accuracy(labels)[-1])
    tried = [(rule, early_exit(simulation, **rule)) for rule in (*rules, _NO_EXIT)]
    kept = [one for one in tried if one[1].accuracy(labels) >= goal]
    rule, left = min(kept, key=lambda one: one[1].steps.mean())
    return dict(rule), left
