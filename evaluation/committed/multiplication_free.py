"""Run the low-bit products of a trained hybrid LMU again, by integer additions and shifts alone:
python -m evaluation multiplication-free RUN

Loads RUN/best.keras (a HybridLMU with a feed-forward hidden layer and low-bit kernels, trained with
`--weights binary --power-of-two`, say), simulates every step of test sequences, and computes each
product with a low-bit kernel a second time in NumPy int32, from the counts that the network itself
emitted. Compares the counts of the hidden neurons, every one, and the logits. What is not done by
additions is listed: the step of the memory, and the neurons. Exit status 1 if anything differs.
"""

import time
from pathlib import Path

import numpy as np

from evaluation.committed.integer_matmul import products_by_addition
from evaluation.console import UserError, add_data_dir, count, make_parser, note, run_command
from evaluation.runs import open_run

BATCH = 20


class NotLowBit(UserError):
    """The model is not one whose products can be done by additions."""


def rerun(model, x):
    """Compare the network with its re-run on sequences ``x`` [batch, time, features].

    Returns:
        dict: ``counts`` and ``different`` (numbers of hidden counts, and of those that are not
        equal), ``logits_error`` (largest difference), ``decisions`` and ``changed`` (numbers of
        sequences, and of those with another class).

    Raises:
        NotLowBit: if the model is of another kind.
    """
    from keras import ops

    lmu, readout, steps = parts_of(model)
    cell = lmu.layer.cell
    states = cell.get_initial_state(len(x))
    with lmu.hard_scope():
        signals = cell.sequence_signals(ops.convert_to_tensor(x), states)
    logits = ops.convert_to_numpy(_rest_of(model, lmu)(signals["hidden"][:, -steps:]))
    memory = _counts(signals["memory"], cell.memory_quantizer)
    emitted = _counts(signals["hidden"], cell.hidden.quantizer)
    error = states[len(cell.hidden.state_size) - 1]

    kernel, dense = _packed(lmu), cell.hidden.cell
    sums = products_by_addition(memory.reshape(-1, memory.shape[-1]), kernel.codes)
    scale = kernel.scale / _resolution(cell.memory_quantizer)
    z = sums.reshape(*memory.shape[:2], -1).astype("float32") * scale + _bias(dense)
    y, _ = cell.hidden.quantizer.sequence(dense.activation(ops.convert_to_tensor(z)), error)
    again = _counts(y, cell.hidden.quantizer)

    last = again[:, -steps:].sum(axis=1)
    kernel = _packed(readout)
    scale = kernel.scale / (steps * _resolution(cell.hidden.quantizer))
    read = products_by_addition(last, kernel.codes).astype("float32") * scale
    read = read + _bias(readout.layer)
    return {
        "counts": emitted.size,
        "different": int(np.sum(again != emitted)),
        "logits_error": float(np.max(np.abs(read - logits))),
        "decisions": len(x),
        "changed": int(np.sum(read.argmax(-1) != logits.argmax(-1))),
    }


def _rest_of(model, lmu):
    """Return the layers behind the LMU as a function of its last outputs, [batch, steps, units]."""
    import keras

    rest = keras.Model(lmu.output, model.outputs[0])
    return rest if lmu.layer.return_last else lambda outputs: rest(outputs[:, -1])


def parts_of(model):
    """Return the wrapped HybridLMU, the wrapped readout, and how many steps it averages.

    Raises:
        NotLowBit: if the model is of another kind, or a kernel is not of few bits.
    """
    import keras

    from hybrid_lmu import HybridLMU
    from hybrid_lmu.weights import QuantizedWeights

    low_bit = [layer for layer in model.layers if isinstance(layer, QuantizedWeights)]
    lmus = [one for one in low_bit if isinstance(one.layer, HybridLMU)]
    readouts = [one for one in low_bit if isinstance(one.layer, keras.layers.Dense)]
    if len(lmus) != 1 or len(readouts) != 1:
        raise NotLowBit(
            "expected one HybridLMU and one Dense readout, both with low-bit kernels; received "
            f"low-bit layers {[one.name for one in low_bit]} in {model.name!r}"
        )
    cell = lmus[0].layer.cell
    plain = cell.memory_feedback == "exact" and not cell.hidden.recurrent and cell.kernel is None
    quantizers = (cell.memory_quantizer, cell.hidden.quantizer)
    one_resolution = all(q.spiking and np.ptp(_resolution(q)) == 0 for q in quantizers)
    if not (plain and one_resolution):
        raise NotLowBit(
            "expected a HybridLMU without an encoder, with exact feedback, a feed-forward hidden "
            "cell, and one resolution for all neurons of an activity (--memory-unit normalized); "
            f"received {lmus[0].name!r}, which is not"
        )
    return lmus[0], readouts[0], lmus[0].layer.return_last or 1


def _counts(y, quantizer):
    from keras import ops

    levels = ops.convert_to_numpy(y) * _resolution(quantizer)
    counts = np.rint(levels)
    if np.max(np.abs(levels - counts), initial=0.0) > 1e-3:
        raise NotLowBit("expected activities that are integers over a resolution")
    return counts.astype("int32")


def _resolution(quantizer):
    import keras

    return np.max(keras.ops.convert_to_numpy(quantizer.resolution))


def _packed(layer):
    ((_, packed),) = layer.packed().items()
    return packed


def _bias(dense):
    import keras

    return keras.ops.convert_to_numpy(dense.bias) if dense.use_bias else np.float32(0)


def parser():
    p = make_parser("multiplication-free", __doc__)
    p.add_argument("run", type=Path, metavar="RUN", help="run folder with its best.keras")
    add_data_dir(p)
    p.add_argument("--samples", type=count, metavar="N", default=1000,
                   help="the first N test sequences (default: 1000)")  # fmt: skip
    return p


def main(argv=None):
    """Command line. Returns the exit status: 0, or 1 if anything differs or on an error."""
    return run_command(parser(), _rerun_all, argv)


def _rerun_all(args):
    _, task, model = open_run(args.run, args.data_dir)
    return _tell(model, task.test.x[: args.samples])


def _tell(model, x):
    started, found = time.monotonic(), []
    for start in range(0, len(x), BATCH):
        found.append(rerun(model, x[start : start + BATCH]))
        done = start + len(x[start : start + BATCH])
        if done == len(x) or done % 200 == 0:
            note(f"{done} of {len(x)} sequences, {time.monotonic() - started:.0f} s")
    total = {key: sum(one[key] for one in found) for key in found[0] if key != "logits_error"}
    error = max(one["logits_error"] for one in found)
    cell = parts_of(model)[0].layer.cell
    order, units = cell.memory.output_size, cell.output_size
    print(
        f"{total['decisions']:,} test sequences of {x.shape[1]} steps; all products with low-bit "
        "kernels in NumPy int32, by additions and shifts:\n"
        f"  hidden counts that differ  {total['different']:,} of {total['counts']:,}\n"
        f"  classes that differ        {total['changed']:,} of {total['decisions']:,}\n"
        f"  largest difference of logits  {error:.3g}\n"
        "Not by additions of integers, per step:\n"
        f"  the memory's own fixed step, real numbers: A {order} x {order}, B {order} x 1, and the "
        f"gain of each of its {order} neurons\n"
        f"  {units} hidden neurons: a scale (a shift if it is a power of two) and a bias each"
    )
    same = total["different"] == total["changed"] == 0
    print("The counts are the same." if same else "The counts DIFFER.")
    return 0 if same else 1
