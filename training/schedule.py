"""When the resolutions of a hybrid model fall, and the callbacks that do it."""

import keras
import numpy as np

import hybrid_lmu
from training.config import RunConfig

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
    """{activity: final resolution} of the hybrid models, {} for the others."""
    if config.model == "hybrid-lmu":
        return {"memory": config.memory_resolution, "hidden": config.hidden_resolution}
    return {"hidden": config.hidden_resolution} if config.is_hybrid else {}


def final_resolutions(config: RunConfig, model: keras.Model) -> list[float]:
    """The final value of every resolution variable of `model`, in the model's order."""
    final = final_by_name(config)
    return [
        final["memory" if "memory_quantizer" in path else "hidden"]
        for path in hybrid_lmu.resolution_variables(model)
    ]


def annealing(config: RunConfig, steps_per_epoch: int) -> list:
    """`AnnealResolution` callbacks from the start to the final resolution of each activity.

    They log "memory_resolution" and "hidden_resolution"; empty for models without quantizers.
    """
    steps = anneal_steps(config, steps_per_epoch)
    return [
        hybrid_lmu.AnnealResolution(
            _geometric(config.start_resolution, final, steps),
            name=PATTERNS[activity] if config.model == "hybrid-lmu" else "*",
            log_name=f"{activity}_resolution",
        )
        for activity, final in final_by_name(config).items()
    ]


def _geometric(start, final, steps):
    if steps == 0:
        return lambda step: final
    return hybrid_lmu.GeometricDecay(start, final, steps)
