"""A quantized-RNN peer on our tasks and splits: HGQ2's QGRU or QSimpleRNN.

HGQ2 (LGPL) is a measuring stick, not a dependency, and lives in an environment of its own. Run
this file with that environment's interpreter, from anywhere:

    python3 -m venv peer
    peer/bin/pip install hgq2 jax tensorflow-cpu scipy scikit-learn tensorflow-datasets
    peer/bin/python evaluation/peers/hgq2.py --task digits --layer QGRU --units 42 --bits 3.84 \
        --learning-rate 0.015 --schedule cosine --anneal-fraction 0.5 --epochs 60 --out qgru.json

The same as in our runs: task, splits, batches and their order, loss, optimizer (the recipe of the
GRU baseline, unless told otherwise), choice of the best epoch on the validation split, whole test
split, intervals, and the statistics of the counts.

Not the same:

* The activity is a fixed-point number, rounded to the nearest and clipped (HGQ2's "RND" and
  "SAT_SYM"). The rounding error is forgotten: there is no error diffusion.
* QSimpleRNN carries the rounded activity as its state. QGRU rounds the state that it has carried
  before it mixes it with the candidate, so that a change of less than half a step is lost; our
  `HybridCell` has the error carried on.
* The final width is given, not trained (HGQ2 can train widths; here they are set so that the bits
  are those to be compared with). With `--anneal-fraction` it falls to it, by whole bits, from 8
  bits at the first epoch, as our resolutions fall; only epochs at the final width are chosen from.
* Rounding has the gradient of the identity, and over 1,300 steps it can overflow. A batch in which
  that happens counts as a gradient of 0; the record says how many there were.

Only what multiplies the recurrent and the readout weights is quantized, as in a `HybridCell`:
weights, inputs, gates and candidate keep float32 (HGQ2's "dummy" quantizer). QGRU has the sigmoid
and tanh of an ordinary GRU, QSimpleRNN the clipping of its quantizer as its activation.

A width of `bits` (sign included) has 2**bits - 1 levels, symmetric about 0. For a fraction, the
first neurons have one bit more than the others, so that the mean is `bits`, all with one range,
+- 2**integer_bits less one step: 3.84 is at most 3.74 activity bits, as log2(15) = 3.91 and
log2(7) = 2.81.
"""

import argparse
import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("QGRU", "QSimpleRNN")
TASKS = ("digits", "ecg", "psmnist")
START_BITS = 8
PEER_PACKAGES = ("hgq2", "quantizers", "jaxlib")


def widths(units: int, bits: float) -> np.ndarray:
    """Bits of each neuron, sign included, [units]: whole numbers whose mean is nearest to `bits`.

    ValueError: fewer than 2 bits (1 bit has one level, 0) or more than 16.
    """
    if not 2 <= bits <= 16:
        raise ValueError(f"`bits` must be from 2 to 16, sign included; received: {bits!r}")
    wide = round(units * (bits - np.floor(bits)))
    return np.floor(bits) + (np.arange(units) < wide)


def build_models(task, layer: str, units: int, bits: float, integer_bits: int):
    """(model: x to logits, probe: x to the quantized activity [N, T, units], steps [units]).

    `steps` is the size of one count of each neuron, as HGQ2 states it. ImportError: no HGQ2.
    """
    import keras

    try:
        import hgq.layers
        from hgq.config import LayerConfigScope, QuantizerConfig, QuantizerConfigScope
    except ImportError as error:
        raise ImportError(
            f"HGQ2 must be installed for {sys.executable} (pip install hgq2); received: {error}"
        ) from error
    fraction_bits = widths(units, bits) - 1 - integer_bits
    activity = QuantizerConfig(
        "kif",
        "datalane",
        k0=True,
        i0=integer_bits,
        f0=keras.initializers.Constant(fraction_bits),
        overflow_mode="SAT_SYM",
        heterogeneous_axis=(-1,),
        trainable=False,
    )
    gates = dict(activation="tanh", recurrent_activation="sigmoid", sq_conf=activity)
    real = QuantizerConfig(q_type="dummy")
    options = {
        "QGRU": dict(**gates, paq_conf=real, praq_conf=real),
        "QSimpleRNN": dict(paq_conf=activity),
    }[layer]
    with LayerConfigScope(enable_ebops=False), QuantizerConfigScope(default_q_type="dummy"):
        inputs = keras.Input((task.timesteps, task.features))
        states = getattr(hgq.layers, layer)(units, return_sequences=True, **options)(inputs)
        readout = hgq.layers.QDense(task.outputs, iq_conf=activity)
        logits = readout(states if task.per_step else states[:, -1])
        probe = keras.Model(inputs, readout.iq(states))
    steps = keras.ops.convert_to_numpy(readout.iq.quantizer.epsilon)
    return keras.Model(inputs, logits), probe, np.ravel(steps)


def falling_fraction_bits(final: np.ndarray, integer_bits: int, config, epoch: int) -> np.ndarray:
    """Fraction bits in `epoch`: from START_BITS in all, in line, up to whole bits, to `final`."""
    epochs = round(config.anneal_fraction * config.epochs)
    left = max(0.0, 1 - epoch / epochs) if epochs else 0.0
    start = np.maximum(START_BITS - 1 - integer_bits, final)
    return final + np.ceil(left * (start - final))


def set_fraction_bits(model, fraction_bits: np.ndarray) -> None:
    """Assign them to every fixed-point quantizer of the model; HGQ2 calls the variable "f"."""
    for variable in model.non_trainable_variables:
        if variable.name == "f":
            variable.assign(np.broadcast_to(fraction_bits, variable.shape))


def finite_optimizer(config, steps: int):
    """The optimizer of our runs; a gradient whose square overflows counts as 0.

    Its attribute `overflows` is the number of such gradients. (To clip the norm of one, Keras
    multiplies it by NaN.)
    """
    from keras import ops

    from training.fit import make_optimizer

    plain = make_optimizer(config, steps)

    class Finite(type(plain)):
        def build(self, variables):  # before the first `apply`
            super().build(variables)
            self.overflows = self.add_variable((), initializer="zeros", name="overflows")

        def apply(self, grads, trainable_variables=None):
            finite = ops.isfinite(sum(ops.sum(ops.square(grad)) for grad in grads))
            self.overflows.assign_add(1.0 - ops.cast(finite, self.overflows.dtype))
            grads = [ops.where(finite, grad, ops.zeros_like(grad)) for grad in grads]
            super().apply(grads, trainable_variables)

    return Finite.from_config(plain.get_config())


def train(model, task, config, bits: float, integer_bits: int, stream=None):
    """Train; leave the weights of the best validation epoch in the model.

    Best, as in `training.recorder`: highest validation accuracy, then lowest loss, then first, of
    the epochs at the final width. Returns the history, the best epoch, the number of overflows, and
    wall and processor seconds. FloatingPointError: the loss is no longer finite.
    """
    import keras

    from training.data import EpochBatches
    from training.scores import evaluate

    final = widths(config.units, bits) - 1 - integer_bits
    batches = EpochBatches(task.train, config.batch_size, config.seed)
    model.compile(
        optimizer=finite_optimizer(config, config.epochs * len(batches)),
        loss=keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
    )
    model.optimizer.build(model.trainable_variables)  # its count has to be there before a step
    history = {"loss": [], "val_accuracy": [], "val_loss": []}
    best, kept = None, None
    wall, processor = time.monotonic(), time.process_time()
    for epoch in range(config.epochs):
        batches.set_epoch(epoch)
        fraction_bits = falling_fraction_bits(final, integer_bits, config, epoch)
        set_fraction_bits(model, fraction_bits)
        fitted = model.fit(batches, shuffle=False, verbose=0)
        loss = float(fitted.history["loss"][0])
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"training has diverged: the loss of epoch {epoch + 1} is {loss}; "
                f"received learning rate {config.learning_rate}"
            )
        score = evaluate(model, task.validation, task.kind, config.batch_size)
        for key, value in zip(history, (loss, score["accuracy"], score["loss"]), strict=True):
            history[key].append(value)
        rank = (score["accuracy"], -score["loss"])
        if np.array_equal(fraction_bits, final) and (best is None or rank > best[0]):
            best, kept = (rank, epoch), model.get_weights()
        print(
            f"epoch {epoch + 1}/{config.epochs}  loss {loss:.4f}  "
            f"validation {100 * score['accuracy']:.2f} %  {time.monotonic() - wall:.0f} s",
            file=stream,
            flush=True,
        )
    model.set_weights(kept)
    return {
        "history": history,
        "best_epoch": best[1],
        "overflows": int(model.optimizer.overflows.numpy()),
        "training_seconds": time.monotonic() - wall,
        "training_processor_seconds": time.process_time() - processor,
    }


def count_statistics(probe, steps: np.ndarray, x: np.ndarray, batch_size: int) -> dict:
    """`CountStatistics.summary` of the integer codes of `probe` over all samples and steps of x.

    ValueError: values that are not whole multiples of their step, so not what was quantized.
    """
    from hybrid_lmu.accounting import CountStatistics
    from training.scores import predict

    statistics = CountStatistics(len(steps))
    for start in range(0, len(x), batch_size):
        values = predict(probe, x[start : start + batch_size], batch_size).astype("float64")
        scaled = values.reshape(-1, len(steps)) / steps
        codes = np.rint(scaled)
        off = float(np.abs(scaled - codes).max())
        if off > 1e-3:
            raise ValueError(
                f"quantized activity must be in whole steps of {np.unique(steps)}; received values "
                f"up to {off:.3g} of a step away"
            )
        statistics.update(codes)
    return statistics.summary()


def run(config, task, layer: str, bits: float, integer_bits: int, test=True, stream=None) -> dict:
    """Train one peer with one seed and judge it; without `test`, on the validation split alone."""
    import keras

    from training.environment import describe_environment
    from training.models import count_parameters
    from training.scores import evaluate

    start = time.monotonic()
    keras.utils.clear_session()
    keras.utils.set_random_seed(config.seed)
    model, probe, steps = build_models(task, layer, config.units, bits, integer_bits)
    trained = train(model, task, config, bits, integer_bits, stream)
    split = task.test if test else task.validation
    score = {"validation": evaluate(model, task.validation, task.kind, config.batch_size)}
    if test:
        score["test"] = evaluate(model, split, task.kind, config.batch_size)
    environment = describe_environment()
    for name in PEER_PACKAGES:
        environment["versions"][name] = importlib.metadata.version(name)
    return {
        "task": task.name,
        "model": f"hgq2-{layer}",
        "layer": layer,
        "seed": config.seed,
        "units": config.units,
        "parameters": count_parameters(model),
        **score,
        "activity": count_statistics(probe, steps, split.x, config.batch_size),
        "activity_split": "test" if test else "validation",
        "bits": bits,
        "integer_bits": integer_bits,
        **trained,
        "seconds": time.monotonic() - start,
        "config": {
            key: getattr(config, key)
            for key in ("epochs", "batch_size", "optimizer", "learning_rate", "schedule",
                        "clip_norm", "anneal_fraction")
        },
        "environment": environment,
    }  # fmt: skip


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--layer", choices=LAYERS, default="QGRU")
    parser.add_argument("--units", type=int, required=True)
    parser.add_argument("--bits", type=float, required=True, help="of the activity, with its sign")
    parser.add_argument(
        "--integer-bits", type=int, default=0, help="the range is +- 2**this (default: 0)"
    )
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, help="default: the GRU baseline's")
    parser.add_argument("--schedule", choices=("constant", "cosine"), help="as above")
    parser.add_argument("--clip-norm", type=float, help="as above")
    parser.add_argument(
        "--anneal-fraction", type=float, default=0.0, help="of the epochs, with falling widths"
    )
    parser.add_argument("--data-dir", default=os.environ.get("HYBRID_LMU_DATA"))
    parser.add_argument(
        "--no-test", action="store_true", help="to choose options: validation split only"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args(arguments)
    try:
        widths(options.units, options.bits)
        if not 0 <= options.anneal_fraction <= 0.9:
            raise ValueError(
                f"--anneal-fraction must be from 0 to 0.9; received: {options.anneal_fraction}"
            )
    except ValueError as error:
        parser.error(str(error))
    return options


def main(arguments=None):
    options = parse_arguments(arguments)
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(ROOT))
    from training.config import make_config
    from training.tasks import load_task

    config = make_config(
        options.task,
        "gru",
        seed=options.seed,
        units=options.units,
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        schedule=options.schedule,
        clip_norm=options.clip_norm,
        anneal_fraction=options.anneal_fraction,
    )
    task = load_task(options.task, options.data_dir)
    result = run(
        config, task, options.layer, options.bits, options.integer_bits, not options.no_test
    )
    result["command"] = " ".join(["evaluation/peers/hgq2.py", *(arguments or sys.argv[1:])])
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    score, bits = result.get("test", result["validation"]), result["activity"]
    print(
        f"{options.task} {options.layer} {result['parameters']} parameters: "
        f"{100 * score['accuracy']:.2f} % at {bits['activity_bits']:.2f} activity bits, "
        f"{bits['significant_bits']:.2f} significant bits"
    )


if __name__ == "__main__":
    main()
