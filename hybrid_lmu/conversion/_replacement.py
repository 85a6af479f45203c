"""What takes the place of a layer or a cell in a network with quantized activities."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Replacement:
    """What takes the place of a layer or a cell.

    Attributes:
        parts: the new layers, to be called one after another; or one new cell.
        copy_weights: function of the new layers (or the new cell) that copies the weights of the
            source, once the new ones are built.
        takes_mask: False if the source ignores masks, so that the replacement must not get one.
            Default True.
        states: indices, among the states of the new layer, of those that the source has too; None
            if the new layer takes and returns no states in their place. Default None.
    """

    parts: tuple
    copy_weights: Callable
    takes_mask: bool = True
    states: tuple[int, ...] | None = None
