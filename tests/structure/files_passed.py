"""Which files of the library a training step, and a Dense kernel in a report, pass through.

    python -m tests.structure.files_passed

Counts the files in `hybrid_lmu` of which a function runs while the first training step of the
README's model is traced, and while a report counts a model of one Dense layer.
"""

import sys
import threading
from pathlib import Path

import keras
import numpy as np

import hybrid_lmu

FOLDER = str(Path(hybrid_lmu.__file__).parent)


def files_of(function) -> list[str]:
    """Return the files of the library whose functions run in `function`, in any thread."""
    found = set()

    def profile(frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(FOLDER):
            found.add(str(Path(frame.f_code.co_filename).relative_to(FOLDER)))

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return sorted(found)


def main():
    x = np.zeros((8, 100, 1), "float32")
    lmu = hybrid_lmu.HybridLMU(
        1, 24, 100, keras.layers.Dense(32, "relu"), memory_resolution=8, hidden_resolution=2
    )
    model = keras.Sequential([keras.Input((100, 1)), lmu, keras.layers.Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    step = files_of(lambda: model.train_on_batch(x, np.zeros(8)))
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    report = files_of(lambda: hybrid_lmu.activity_report(dense, np.ones((4, 3), "float32")))
    print(f"a training step of the README's model: {len(step)} files: {', '.join(step)}")
    print(f"a Dense kernel in a report: {len(report)} files: {', '.join(report)}")


if __name__ == "__main__":
    main()
