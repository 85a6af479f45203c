"""When the resolutions of a hybrid model fall, and the callbacks that do it."""

import keras
import numpy as np

import hybrid_lmu
from training.config import HYBRID_LMUS, RunConfig
from training.models import deviations, level_step

# Parts of the path of a HybridLMU's resolution variables.
PATTERNS = {"memory": "memory_quantizer", "hidden": "hidden"}


def anneal_steps(config: RunConfig, steps_per_epoch: int) -> int:
    """Number of annealing steps: the share of all steps, but never the last step itself.

    So the last epoch always ends, and is judged, at the final resolution.
    """
    total = config.epochs * steps_per_epoch
    return min(int(config.anneal_fraction * total), total - 1)


def mean_resolutions(model: keras.Model) -> list[float]:
    """Mean over neurons of each quantizer's resolution, in the model's order."""
    return [
        float(np.mean(keras.ops.convert_to_numpy(variable)))
        for variable in hybrid_lmu.resolution_variables(model).values()
    ]


def final_by_name(config: RunConfig) -> dict[str, float]:
    """{activity: final resolution} of the hybrid models, {} for the others and under budgets."""
    if config.budgeted:
        return {}
    if config.model in HYBRID_LMUS:
        return {"memory": config.memory_resolution, "hidden": config.hidden_resolution}
    return {"hidden": config.hidden_resolution} if config.is_hybrid else {}


def final_resolutions(config: RunConfig, model: keras.Model) -> list[float]:
    """The final value of every annealed resolution variable of `model`, in the model's order."""
    final = final_by_name(config)
    return [
        final["memory" if "memory_quantizer" in path else "hidden"]
        for path in hybrid_lmu.resolution_variables(model)
    ]


def first_final_epoch(config: RunConfig, steps_per_epoch: int) -> int:
    """The first epoch, from 0, whose last step is at the final resolutions."""
    if not config.is_hybrid:
        return 0
    return anneal_steps(config, steps_per_epoch) // steps_per_epoch


def annealing(config: RunConfig, steps_per_epoch: int, x: np.ndarray) -> list:
    """Callbacks that take the resolutions to their final values; [] without quantizers.

    `AnnealResolution` for each activity, which log "memory_resolution" and "hidden_resolution", or
    `BitBudget`, measured on the first of the training sequences `x`.
    """
    steps = anneal_steps(config, steps_per_epoch)
    weights = _temperature(config, steps_per_epoch)
    if config.budgeted and config.is_hybrid:
        return weights + _budgets(config, steps, x[: config.budget_samples])
    return weights + [
        hybrid_lmu.AnnealResolution(
            _geometric(config.start_resolution, final, steps, _per_unit(config, activity, x)),
            name=PATTERNS[activity] if config.model in HYBRID_LMUS else "*",
            log_name=f"{activity}_resolution",
        )
        for activity, final in final_by_name(config).items()
    ]


def _temperature(config, steps_per_epoch):
    """The callback that raises the temperature of the kernels, if they have one."""
    if config.weights == "full" or config.weight_rule != "sigmoids":
        return []
    steps = int(config.weight_anneal_fraction * config.epochs * steps_per_epoch)
    step = level_step(config)
    schedule = _geometric(config.start_temperature / step, config.temperature / step, steps, 1.0)
    return [hybrid_lmu.weights.AnnealTemperature(schedule)]


def _budgets(config, steps, x):
    def budget(bits, name="*", log_name="activity_bits"):
        falling = _linear(config.start_bits, bits, steps)
        return hybrid_lmu.BitBudget(
            falling, x, batch_size=config.batch_size, name=name, log_name=log_name
        )

    if config.bit_budget is not None:
        return [budget(config.bit_budget)]
    return [
        budget(config.memory_bits, PATTERNS["memory"], "memory_bits"),
        budget(config.hidden_bits, PATTERNS["hidden"], "hidden_bits"),
    ]


def _linear(start, final, steps):
    if steps == 0:
        return final
    return keras.optimizers.schedules.PolynomialDecay(float(start), steps, float(final))


def _per_unit(config, activity, x):
    """What turns the resolutions of the configuration into levels per unit of activity."""
    if activity == "memory" and config.memory_unit == "deviation":
        return (1.0 / deviations(config, x[: config.budget_samples])).astype("float32")
    return 1.0


def _geometric(start, final, steps, factor):
    if steps == 0:
        return lambda step: final * factor
    decay = hybrid_lmu.GeometricDecay(start, final, steps)
    return lambda step: keras.ops.convert_to_numpy(decay(step)) * factor
