"""ECG waves: QT Database, two leads as level-crossing spikes, one label a time step."""

from pathlib import Path

from training.errors import DataNotFound
from training.tasks.base import Split, Task, TaskData

VALIDATION = 93  # 15 % of the 618 training sequences
HELP = (
    "Get QTDB_train.mat and QTDB_test.mat from the folder data/ of\n"
    "  https://github.com/byin-cwi/Efficient-spiking-networks\n"
    "put them in DIR/events/qtdb_ecg and pass --data-dir DIR (or set HYBRID_LMU_DATA=DIR)."
)


def load(data_dir: Path | None = None) -> TaskData:
    """[N, 1300, 4] spikes, labels [N, 1300] in 0..5, weight 0 where a step has no label.

    618 training sequences, of which the last 93 in file order are validation (a block, since
    neighbours may come from one recording), 141 test. The file's last step, an end mark, is
    dropped.
    """
    whole, test = (_read(data_dir, part) for part in ("train", "test"))
    cut = len(whole) - VALIDATION
    return TaskData(
        name="ecg", kind="classes", per_step=True, outputs=6,
        train=whole.take(slice(0, cut)), validation=whole.take(slice(cut, None)), test=test,
    )  # fmt: skip


def _read(data_dir, part):
    if data_dir is None:
        raise DataNotFound(f"the ecg task needs a data folder. {HELP}")
    path = Path(data_dir) / "events" / "qtdb_ecg" / f"QTDB_{part}.mat"
    if not path.is_file():
        raise DataNotFound(f"no such file: {path}. {HELP}")
    import scipy.io

    try:
        content = scipy.io.loadmat(path)
        spikes, one_hot = content["x"], content["y"]
    except Exception as error:  # scipy raises whatever a truncated file leads it to
        raise DataNotFound(f"{path} is not the expected MATLAB file ({error}). {HELP}") from error
    return Split(
        spikes[:, :-1].astype("float32"),
        one_hot[:, :-1].argmax(-1).astype("int32"),
        one_hot[:, :-1].any(-1).astype("float32"),
    )


# The recipe of the hybrid LMU was chosen on five blocks of the training sequences; the hybrid LSTM
# and GRU take its annealing and resolution. The other recipes were chosen on the validation split.
# evaluation/results/README.md lists what was tried.
TASK = Task(
    name="ecg",
    load=load,
    recipes={
        "*": dict(
            epochs=30, batch_size=16, parameters=12_000, learning_rate=1e-2, schedule="cosine",
            clip_norm=1.0, order=12, theta=240.0, hidden="gru", input_to_hidden=True,
            anneal_fraction=0.4, hidden_resolution=6.0,
        ),
        "hybrid-lmu": dict(dropout=0.2, memory_resolution=6.0),
        "lmu": dict(dropout=0.2),
        "lstm": dict(batch_size=32),
        "hybrid-lstm": dict(batch_size=32),
    },
    low_bit=dict(power_of_two=True, temperature=1000.0, weight_anneal_fraction=0.5),
)  # fmt: skip
