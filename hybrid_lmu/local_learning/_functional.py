"""One training step for the trainers of all backends."""

import keras


def on_backend(step, groups, *state_and_data):
    """Run a step that reads and assigns variables, in the form that the backend's trainer wants.

    Keras calls ``train_step(data)`` on TensorFlow and PyTorch and takes the logs. On JAX it calls
    ``train_step(state, data)``, where the values of variables come in lists, and takes
    ``(logs, state)``; nothing may be assigned. There the step runs in a `keras.StatelessScope`
    that stands in for the variables.

    Args:
        step: a function of the data.
        groups: lists of variables, in the order of the lists in the state.
        state_and_data: what Keras has called with.

    Returns:
        What Keras expects: the result of `step`, on JAX with the new state, a tuple of lists.
    """
    *state, data = state_and_data
    if not state:
        return step(data)
    pairs = [
        pair
        for variables, values in zip(groups, state[0], strict=True)
        for pair in zip(variables, values, strict=True)
    ]
    with keras.StatelessScope(state_mapping=pairs) as scope:
        result = step(data)
    return result, tuple([scope.get_current_value(v) for v in group] for group in groups)
