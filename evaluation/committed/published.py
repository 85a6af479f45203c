"""Published psMNIST marks, to be set beside measured rows and never mixed with them.

Only what its source states is here; None stands for what is not known to us.
"""

import dataclasses

from evaluation.tables import NOTHING, Table

TAGS = {
    "P": "from the paper's abstract or opening lines",
    "C": "from the authors' code and its notebook output",
    "B": "widely quoted for this benchmark; the source table was not re-read",
}


@dataclasses.dataclass(frozen=True)
class Mark:
    """One published result. `accuracy` in percent of the psMNIST test set; bits are per neuron.

    `tag`: how the number reached us (`TAGS`). The activity bits are
    an upper bound on the mean, as stated.
    """

    name: str
    source: str
    tag: str
    accuracy: float | None = None
    parameters: str | None = None
    activity_bits: float | None = None
    significant_bits: float | None = None
    remark: str = ""


_QUOTED = "tables of the NRU and LMU papers"

PSMNIST = (
    Mark("LSTM", _QUOTED, "B", accuracy=89.86),
    Mark("GRU", _QUOTED, "B", accuracy=92.39),
    Mark("NRU", _QUOTED, "B", accuracy=95.38),
    Mark(
        "LMU",
        "nengo/keras-lmu, branch `paper`, psMNIST notebook",
        "C",
        accuracy=97.15,
        parameters="102,027",
    ),
    Mark(
        "feed-forward LMU",
        "arXiv:2102.11417",
        "B",
        accuracy=98.49,
        parameters="165k",
    ),
    Mark(
        "hybrid-spiking LMU",
        "Voelker, Rasmussen & Eliasmith 2020, arXiv:2002.03553",
        "P",
        activity_bits=3.74,
        significant_bits=1.26,
        remark="above NRU by its abstract; the value is not known to us",
    ),
)
MARKS = {"psmnist": PSMNIST}  # task -> marks


def published_table(marks) -> str:
    """Markdown table of the marks, one row each, with the meaning of their tags below it."""
    rows = [
        (
            mark.name,
            mark.parameters or NOTHING,
            mark.remark if mark.accuracy is None else f"{mark.accuracy:.2f}",
            NOTHING if mark.activity_bits is None else f"at most {mark.activity_bits:.2f}",
            NOTHING if mark.significant_bits is None else f"{mark.significant_bits:.2f}",
            f"{mark.source} [{mark.tag}]",
        )
        for mark in marks
    ]
    columns = ("published, not measured here", "trainable parameters", "test accuracy %",
               "activity bits", "significant bits", "source")  # fmt: skip
    tags = "; ".join(f"[{tag}] {text}" for tag, text in TAGS.items())
    return f"{Table(columns, rows).markdown()}\n\n{tags}."
