"""Binary weights with a Bernoulli posterior, learned by the Bayesian learning rule."""

import numbers

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import check_choice, check_not_negative, check_positive, check_seed
from hybrid_lmu._internal.gradients import custom_gradient
from hybrid_lmu.weights import _bernoulli_posterior as posterior
from hybrid_lmu.weights._quantizer import WeightQuantizer, check_kernel, sign
from hybrid_lmu.weights._straight_through import check_scale, fan_in_scale


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class Bernoulli(WeightQuantizer):
    """Weights ``W = scale * w``, w in {-1, +1} with ``P(w = +1) = sigmoid(2 latent)``.

    The latent kernel is the natural parameter ``lam`` of a factorized posterior with mean
    ``mu = tanh(lam)``. In training a relaxed sample takes the place of w::

        w = tanh((lam + delta) / tau),    delta = 0.5 log(eps / (1 - eps)),    eps uniform

    and the gradient to lam is the *natural* one, ``dL/dw * (1 - w^2) / (tau (1 - mu^2))``, computed
    in log space. To the loss is added, at each call, ``rho * KL(posterior || prior)``, whose
    gradient to lam is ``rho * (lam - lam0)``. With plain `keras.optimizers.SGD` of rate eta, a step
    is then the Bayesian learning rule

        lam <- (1 - eta rho) lam - eta (dL/dw * (1 - w^2) / (tau (1 - mu^2)) - rho lam0)

    Other optimizers use the same gradient, but make another rule of it.

    Args:
        temperature: tau > 0. Default 1.
        rho: weight of the divergence, >= 0: about 1 / (number of samples). Default 5e-4.
        prior: probability of +1 a priori, in (0, 1). Default 0.5.
        scale: see `StraightThroughSign`. Default ``"fan_in"``.
        initial: lam starts at ``initial * sign(kernel)``. Default 1; ``None``: at the kernel.
        clip: largest factor ``(1 - w^2) / (tau (1 - mu^2))``, which has a heavy tail; > 0 or
            ``None`` (default): no limit.
        inference: ``"mode"`` (default): the more probable sign; ``"sample"``: a draw each call.
        seed: seed of the draws.

    Source: Jang, Skatchkovsky & Simeone (2020), arXiv:2012.08300, whose local rule is
    `hybrid_lmu.local_learning`; here it serves with backpropagation, in any network.

    Example:

    >>> weights = Bernoulli(scale=1.0)
    >>> weights.build((3, 1))
    >>> np.asarray(weights(np.array([[0.3], [-2.0], [0.0]], "float32"))).ravel().tolist()
    [1.0, -1.0, 1.0]
    """

    inferences = ("mode", "sample")

    def __init__(
        self,
        temperature: float = 1.0,
        *,
        rho: float = 5e-4,
        prior: float = 0.5,
        scale: float | str = "fan_in",
        initial: float | None = 1.0,
        clip: float | None = None,
        inference: str = "mode",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.temperature_of_samples = check_positive("temperature", temperature)
        self.rho = check_not_negative("rho", rho)
        self.prior = _check_prior(prior)
        self.natural_prior = posterior.natural_parameter(prior)
        self.factor = check_scale(scale)
        self.initial = None if initial is None else check_positive("initial", initial, " or None")
        self.clip = None if clip is None else check_positive("clip", clip, " or None")
        self.inference = check_choice("inference", inference, self.inferences)
        self.seed = check_seed("seed", seed)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, shape):
        self._scale = fan_in_scale(shape) if self.factor == "fan_in" else self.factor

    @property
    def by_axes(self):
        return self.factor == "fan_in"

    def prepare(self, latent):
        latent = check_kernel(self.name, latent)
        if self.initial is None:
            return latent
        return self.initial * np.where(latent >= 0, 1.0, -1.0).astype("float32")

    def call(self, latent, training=False):
        if not training and self.inference == "mode":
            return self.hard(latent)
        noise = self.noise(ops.shape(latent), self.seed_generator)
        if not training:
            return self._scale * sign(latent + noise)
        self.add_loss(self.rho * _divergence_with_gradient(latent, self.natural_prior))
        return self._scale * self._relaxed_with_gradient(latent, noise)

    def noise(self, shape, seed: keras.random.SeedGenerator):
        """Return a draw of ``delta``: ``sign(lam + delta)`` is then a draw of w."""
        return posterior.logistic_noise(keras.random.uniform(shape, dtype="float32", seed=seed))

    def relaxed(self, latent, noise):
        """Return the relaxed sample ``tanh((lam + delta) / tau)``, without the scale."""
        return posterior.relaxed_sample(latent, noise, self.temperature_of_samples)

    def natural_step(self, latent, gradient, noise, learning_rate):
        """Return lam after one step of the Bayesian learning rule.

        Args:
            latent: lam before, a tensor.
            gradient: dL/dw at the relaxed sample of this noise.
            noise: delta.
            learning_rate: eta.
        """
        factor = self._factor(latent, noise)
        return posterior.natural_gradient_update(
            latent, gradient, factor, learning_rate, self.rho, self.natural_prior
        )

    def _factor(self, latent, noise):
        return posterior.reparameterization_factor(
            latent, noise, self.temperature_of_samples, self.clip
        )

    def _relaxed_with_gradient(self, latent, noise):
        """The relaxed sample; the gradient to `latent` is the gradient to the mean mu."""

        @custom_gradient
        def sample(latent):
            def gradient(upstream):
                return upstream * self._factor(latent, noise)

            return self.relaxed(latent, noise), gradient

        return sample(latent)

    def code(self, latent):
        return sign(latent)

    def scale(self, latent):
        return ops.convert_to_tensor(self._scale, "float32")

    def save_own_variables(self, store):
        """Save the state of the draws: training that is resumed from a file goes on alike."""
        store["seed"] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store):
        """Load what `save_own_variables` saved."""
        if "seed" in store.keys():  # not in a file of another rule
            self.seed_generator.state.assign(store["seed"])

    def get_config(self):
        return {
            **super().get_config(),
            "temperature": self.temperature_of_samples,
            "rho": self.rho,
            "prior": self.prior,
            "scale": self.factor,
            "initial": self.initial,
            "clip": self.clip,
            "inference": self.inference,
            "seed": self.seed,
        }


def _check_prior(prior):
    number = isinstance(prior, numbers.Real) and not isinstance(prior, bool)
    if not number or not 0 < prior < 1:
        raise ValueError(f"`prior` must be a probability in (0, 1); received: {prior!r}")
    return prior


def _divergence_with_gradient(natural, prior):
    """The sum of the divergences; the gradient to `natural` is the gradient to the means."""

    @custom_gradient
    def divergence(natural):
        def gradient(upstream):
            return upstream * posterior.kl_gradient(natural, prior)

        return ops.sum(posterior.kl_divergence(natural, prior)), gradient

    return divergence(natural)
