"""Outputs and gradients of the published networks, reproduced from their weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import Vector, relative_error, worst_leaf

from ganformer_jax import losses
from ganformer_jax.models import broadcast_layers, stack_attention

PYTORCH = ["duplex_ffhq", "duplex_clevr", "simplex", "stylegan2", "gan", "conditional"]
TENSORFLOW = ["tf_duplex_img2ltnt", "tf_gates_both", "tf_shared_mapping", "tf_gan_stem"]
OUTPUT_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3


@pytest.fixture(autouse=True)
def exact_matmuls():
    with jax.default_matmul_precision("highest"):
        yield


def check(name, outputs, gradients, report_line):
    """Report the largest errors, then hold each to its tolerance."""
    worst_output = max(outputs, key=lambda key: outputs[key])
    worst_gradient = max(gradients, key=lambda key: gradients[key][0])
    error, leaf = gradients[worst_gradient]
    report_line(
        f"{name}: outputs within {outputs[worst_output]:.1e} ({worst_output}), "
        f"gradients within {error:.1e} ({worst_gradient} {leaf})"
    )
    assert all(value < OUTPUT_TOLERANCE for value in outputs.values()), outputs
    assert all(value < GRADIENT_TOLERANCE for value, _ in gradients.values()), gradients


def generator_outputs(vector):
    generator, variables = vector.load("G")
    z_BxKxD, labels = jnp.asarray(vector["in/z"]), jnp.asarray(vector["in/c"])

    @jax.jit
    def run(variables):
        images, out = generator.apply(variables, z_BxKxD, labels, noise="const")
        quiet, _ = generator.apply(variables, z_BxKxD, labels, noise="none")
        truncated, _ = generator.apply(
            variables,
            z_BxKxD,
            labels,
            noise="const",
            truncation_psi=vector.meta.get("truncation_psi", 1.0),
            truncation_cutoff=vector.meta.get("truncation_cutoff"),
        )
        return images, quiet, truncated, out

    images, quiet, truncated, out = run(variables)
    errors = {
        "w": relative_error(out["w"], vector["out/ws"]),
        "image": relative_error(images, vector.images("out/img")),
        "image without noise": relative_error(quiet, vector.images("out/img_no_noise")),
    }
    if "out/img_truncated" in vector:
        errors["truncated image"] = relative_error(truncated, vector.images("out/img_truncated"))
    if out["attention"]:
        stacked = stack_attention(out["attention"], vector.meta["generator"]["img_resolution"])
        errors["attention"] = relative_error(stacked, vector["out/att_maps"])
    return errors


def discriminator_outputs(vector):
    discriminator, variables = vector.load("D")
    labels, real = jnp.asarray(vector["in/c"]), vector.images("in/real")

    @jax.jit
    def run(variables):
        def judge(images):
            return discriminator.apply(variables, images, labels)[0]

        return judge(real), judge(vector.images("out/img")), losses.r1_penalty(judge, real)

    real_logits, fake_logits, penalty = run(variables)
    loss = losses.logistic_discriminator(real_logits, fake_logits).mean()
    return {
        "logits": relative_error(real_logits, vector["out/logits_real"]),
        "discriminator loss": relative_error(loss, vector["out/loss_D"]),
        "R1 penalty": relative_error(penalty, vector["out/r1_penalty"]),
    }


def generator_gradients(vector):
    generator, variables = vector.load("G")
    discriminator, judge = vector.load("D")
    z_BxKxD, labels = jnp.asarray(vector["in/z"]), jnp.asarray(vector["in/c"])
    rest = {key: value for key, value in variables.items() if key != "params"}

    @jax.jit
    def adversarial(params):
        images, _ = generator.apply({"params": params, **rest}, z_BxKxD, labels, noise="const")
        logits, _ = discriminator.apply(judge, images, labels)
        return losses.non_saturating_generator(logits).mean()

    w_BxKxLxW = broadcast_layers(jnp.asarray(vector["out/ws"]), generator.num_layers)

    @jax.jit
    def path_lengths(params):
        def synthesize(w_BxKxLxW):
            variables = {"params": params, **rest}
            return generator.apply(variables, w_BxKxLxW, noise="const", method="synthesize")[0]

        return losses.path_length(synthesize, w_BxKxLxW, vector.images("in/pl_noise"))

    def penalty(params):
        return (2 * path_lengths(params) ** 2).mean()

    loss, gradient = jax.value_and_grad(adversarial)(variables["params"])
    outputs = {
        "generator loss": relative_error(loss, vector["out/loss_G"]),
        "path lengths": relative_error(path_lengths(variables["params"]), vector["out/pl_lengths"]),
    }
    path_gradient = jax.jit(jax.grad(penalty))(variables["params"])
    gradients = {
        "generator loss": worst_leaf(gradient, vector.gradients("gradG/", "G")),
        "path length": worst_leaf(path_gradient, vector.gradients("gradPL/", "G")),
    }
    return outputs, gradients


def discriminator_gradients(vector):
    discriminator, variables = vector.load("D")
    labels, real, fake = (
        jnp.asarray(vector["in/c"]),
        vector.images("in/real"),
        vector.images("out/img"),
    )

    def judge(params, images):
        return discriminator.apply({"params": params}, images, labels)[0]

    @jax.jit
    def adversarial(params):
        return losses.logistic_discriminator(judge(params, real), judge(params, fake)).mean()

    @jax.jit
    def penalty(params):
        return (5 * losses.r1_penalty(lambda images: judge(params, images), real)).mean()

    return {
        "discriminator loss": worst_leaf(
            jax.grad(adversarial)(variables["params"]), vector.gradients("gradD/", "D")
        ),
        "R1": worst_leaf(jax.grad(penalty)(variables["params"]), vector.gradients("gradR1/", "D")),
    }


@pytest.mark.parametrize("name", PYTORCH)
def test_published_pytorch_networks(name, report_line):
    vector = Vector(name)
    outputs, gradients = generator_gradients(vector)
    outputs |= generator_outputs(vector) | discriminator_outputs(vector)
    check(name, outputs, gradients | discriminator_gradients(vector), report_line)


@pytest.mark.parametrize("name", TENSORFLOW)
def test_published_tensorflow_generators(name, report_line):
    vector = Vector(name)
    generator, variables = vector.load_tf()
    z_BxKxD = jnp.asarray(vector["in/z"])
    rest = {key: value for key, value in variables.items() if key != "params"}
    seed = vector.meta["projection_seed"]
    shape = vector["out/img"].shape
    projection = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    projection = jnp.asarray(projection.transpose(0, 2, 3, 1))

    @jax.jit
    def projected(params):
        images, out = generator.apply({"params": params, **rest}, z_BxKxD, noise="const")
        return jnp.sum(images * projection), (images, out)

    gradient, (images, out) = jax.grad(projected, has_aux=True)(variables["params"])
    outputs = {
        "w": relative_error(out["w"], vector["out/w"]),
        "image": relative_error(images, vector.images("out/img")),
    }
    if out["attention"]:
        stacked = stack_attention(out["attention"], vector.meta["generator"]["resolution"])
        outputs["attention"] = relative_error(stacked, vector["out/att_maps"])
    gradients = {"projection": worst_leaf(gradient, vector.gradients_tf())}
    check(name, outputs, gradients, report_line)
