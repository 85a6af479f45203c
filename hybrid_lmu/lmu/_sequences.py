"""The hybrid-spiking Legendre Memory Unit over whole sequences, without a loop where possible.

Only where the memory depends on the input alone (`takes_sequences`): the memory of all steps, or of
the last ones, is computed before the hidden cell.
"""

from keras import ops


class WholeSequences:
    """Mixin of `HybridLMUCell`: what a loop over its steps would give, or its last part."""

    def sequence(self, inputs, states, training=False):
        """Return ``(outputs, states)`` of a whole sequence; only if `takes_sequences`.

        Args:
            inputs: [batch, time, features].
            states: as for a step.
        """
        hidden_states, state = self._split(states)
        u, inputs = self._encode_sequence(inputs, training)
        if self._feeds_back_counts:
            q, new = self._fed_back(u, state, True)
        else:
            m = self.memory.sequence(u, state["memory"])
            q, error = self.memory_quantizer.sequence(m, state.get("memory_error"))
            new = {"memory": m[:, -1], "memory_error": error}
        hidden_input = self.hidden_input(q, inputs, training)
        outputs, after = self.hidden.sequence(hidden_input, hidden_states, training)
        return outputs, after + [new[name] for name in self._memory_states]

    def last(self, inputs, states, training=False):
        """The output after a whole sequence, the diffusion errors in `states` taken as those before
        the last step; only if `takes_sequences` and the hidden cell is not recurrent.

        (Under quantized feedback, the error of the memory is that before the first step.)

        Args:
            inputs: [batch, time, features].
            states: as for a step; the memory is that before the sequence.
        """
        hidden_states, state = self._split(states)
        u, inputs = self._encode_sequence(inputs, training)
        if self._feeds_back_counts:
            q, _ = self._fed_back(u, state, False)
        else:
            m = self.memory.last(u, state["memory"])
            q, _ = self.memory_quantizer.step(m, state.get("memory_error"))
        hidden_input = self.hidden_input(q, inputs[:, -1], training)
        return self.hidden(hidden_input, hidden_states, training=training)[0]

    def tail(self, inputs, states, steps, training=False):
        """The outputs of the last `steps` steps, [batch, steps, units], the states of the hidden
        cell and the diffusion errors in `states` taken as those before these steps; only if
        `takes_sequences`.

        Args:
            inputs: [batch, time, features].
            states: as for a step; the memory is that before the sequence. (Under quantized
                feedback, the error of the memory too.)
        """
        hidden_states, state = self._split(states)
        u, _ = self._encode_sequence(inputs[:, :-steps], training)
        if u.shape[1]:
            if self._feeds_back_counts:
                _, state = self._fed_back(u, state, False)
            else:
                state = {**state, "memory": self.memory.last(u, state["memory"])}
        states = hidden_states + [state[name] for name in self._memory_states]
        return self.sequence(inputs[:, -steps:], states, training)[0]

    def _fed_back(self, u, state, return_sequences):
        """The quantized memory of a sequence under feedback of counts, and its states after it."""
        m, q = state["memory"], state.get("memory_output", state["memory"])
        outputs, m, q, error = self.memory.fed_back(
            u, m, q, state["memory_error"], self.memory_quantizer, self.memory_feedback,
            return_sequences,
        )  # fmt: skip
        kept = q if self.memory_feedback == "quantized" else m
        return outputs, {"memory": kept, "memory_output": q, "memory_error": error}

    def _encode_sequence(self, inputs, training):
        inputs = ops.cast(inputs, self.dtype_policy.compute_dtype)
        u = inputs if self.kernel is None else self._drop_input(inputs, training)
        return self.encode(u), inputs
