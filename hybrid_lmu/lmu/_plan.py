"""How `HybridLMU` computes a call: one function decides, and says why."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Way(enum.Enum):
    """A way to compute the outputs of a `HybridLMU`; its value is ``(when, how)`` in words."""

    LAST_STEP = (
        "only the last output is asked for, the hidden cell is feed-forward, and the diffusion "
        "errors start uniform",
        "Only the last step is computed. One product with the impulse response gives the memory. "
        "A uniform diffusion error stays uniform, so the errors of the last step are those of a "
        "first step.",
    )
    LAST_STEPS = (
        "`return_last=k`, or a recurrent hidden cell with `simulation=s`",
        "Only the last steps are computed, starting from diffusion errors as before a first step. "
        "With `simulation=s` the hidden cell starts from its initial state, which is an "
        "approximation.",
    )
    PARALLEL = (
        "the memory depends on the input alone, and the hidden cell is feed-forward",
        "All steps are computed at once, the memory by products over chunks of the sequence.",
    )
    MEMORY_FIRST = (
        "the memory depends on the input alone, and the hidden cell is recurrent",
        "The memory of all steps is computed at once. Then the hidden cell runs in a loop.",
    )
    COUNTS_FIRST = (
        "the memory gets its own counts back (`memory_feedback` is not 'exact')",
        "The memory runs in a loop, whose gradient is that of the linear memory, in parallel. Then "
        "the hidden cell gets all steps.",
    )
    STEP_BY_STEP = (
        "`hidden_to_memory`, `memory_to_memory`, a quantizer with a limit or a trained theta under "
        "feedback of counts, a mask with `return_state` or `stateful`, an unknown length, or "
        "`unroll=True`",
        "The whole cell runs in a loop, step by step.",
    )

    @property
    def when(self) -> str:
        """When the way is chosen."""
        return self.value[0]

    @property
    def how(self) -> str:
        """What is computed, and how."""
        return self.value[1]


@dataclass(frozen=True)
class Plan:
    """How a call is computed.

    Attributes:
        way: the `Way`.
        reason: why this way was chosen.
        steps: number of last steps that are computed; None for all steps.
    """

    way: Way
    reason: str
    steps: int | None = None

    @property
    def takes_last_steps(self) -> bool:
        """Whether only the last steps are computed."""
        return self.steps is not None

    @property
    def takes_sequences(self) -> bool:
        """Whether the cell gets the whole sequence at once."""
        return self.way is not Way.STEP_BY_STEP

    def __str__(self):
        return f"{self.way.how} Reason: {self.reason}."

    @staticmethod
    def table() -> str:
        """Return the table of all ways, as Markdown."""
        rows = [f"| {_capital(way.when)} | {way.how} |" for way in Way]
        return "\n".join(["| When | What is computed |", "|---|---|", *rows])


def plan(layer, shape, mask: bool = False, initial_state: bool = False) -> Plan:
    """Return how a `HybridLMU` computes a call.

    Args:
        layer: the `HybridLMU`.
        shape: shape of the input, [batch, time, features]; unknown sizes are None.
        mask: whether there is a mask.
        initial_state: whether an initial state is given.
    """
    cell, time = layer.cell, shape[1]
    reason = why_step_by_step(cell) or _why_this_call_steps(layer, time, mask)
    if reason:
        return Plan(Way.STEP_BY_STEP, reason)
    reason = _why_all_steps(layer, mask, initial_state)
    if reason is None:
        reason = "the outputs before the last steps are not asked for"
        if layer.return_last is None and not cell.hidden.recurrent:
            return Plan(Way.LAST_STEP, reason, 1)
        simulated = 1 if layer.simulation == "auto" else layer.simulation
        return Plan(Way.LAST_STEPS, reason, min(max(layer.return_last or 1, simulated), time))
    if cell.feeds_back_counts:
        return Plan(Way.COUNTS_FIRST, reason)
    return Plan(Way.MEMORY_FIRST if cell.hidden.recurrent else Way.PARALLEL, reason)


def why_step_by_step(cell) -> str | None:
    """Return why a `HybridLMUCell` can never get a whole sequence; None if it can."""
    if cell.hidden_to_memory:
        return "`hidden_to_memory` makes the memory depend on the output"
    if cell.memory_to_memory:
        return "`memory_to_memory` makes the input of the memory depend on the memory"
    if cell.feeds_back_counts and not cell.memory_quantizer.linear:
        return "the quantizer of the memory has a limit, a gain or an activation"
    if cell.feeds_back_counts and cell.memory.trainable_theta:
        return "the gradient of a trained theta needs the memory of each step"
    return None


def _why_this_call_steps(layer, time, mask):
    if mask and (layer.return_state or layer.stateful):
        return "the states at the end of sequences with a mask are asked for"
    if layer.unroll:
        return "`unroll` is True"
    return None if time else "the length of the sequences is unknown or 0"


def _why_all_steps(layer, mask, initial_state):
    """Return why the last steps alone would not do; None if they do."""
    if layer.simulation == "full":
        return "`simulation` is 'full'"
    if layer.return_sequences and layer.return_last is None:
        return "`return_sequences` is True"
    if mask and (layer.return_last is not None or layer.cell.hidden.recurrent):
        return "the last steps of sequences with a mask are not the same for all"
    if layer.return_state or layer.stateful or initial_state:
        return "the call takes or returns states"
    if layer.simulation == "auto" and layer.cell.hidden.recurrent:
        return "the hidden cell is recurrent"
    started = [layer.cell.hidden.quantizer]
    if layer.cell.memory_feedback == "exact":
        started.append(layer.cell.memory_quantizer)
    if not all(quantizer.stationary for quantizer in started):
        return "`initial_error` is not uniform"
    return None


def _capital(text):
    return text[0].upper() + text[1:]
