"""Outputs and gradients of the published networks, reproduced from their weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import Vector, gradient_errors, optimized_jit, relative_error

from ganformer_jax import losses
from ganformer_jax.models import broadcast_layers, stack_attention
from ganformer_jax.nn import cpu

PYTORCH = ["duplex_ffhq", "duplex_clevr", "simplex", "stylegan2", "gan", "conditional"]
TENSORFLOW = ["tf_duplex_img2ltnt", "tf_gates_both", "tf_shared_mapping", "tf_gan_stem"]
# That of local attention, whose dropout was on, has a test of its own: test_local_attention.py.
TENSORFLOW += ["tf_sagan", "tf_kgan_softmax", "tf_kgan_leaves", "tf_local", "tf_kgan_attention"]
TENSORFLOW_DISCRIMINATORS = ["tf_duplex_img2ltnt", "tf_sagan", "tf_local", "tf_kgan_attention"]
OPTIMIZED = ["duplex_clevr"]  # compiled as users' programs are; the others as quickly as can be
OUTPUT_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3
# The published values were computed in float32. Recomputing them in float64 changes single leaves,
# sums of many terms that nearly cancel, by up to 1.7e-3 of their norm.
LEAF_TOLERANCE = 3e-3
# This vector has a unit whose input, 1e-4 among inputs of about 12, lies on the leaky ReLU's kink:
# rounding the weights moves it by three times that, and the slope there by a factor of 5. More
# noise at its pixel, 2e-4 of the layer's scale, puts it on the side that the published run had it.
# In float64, rounded weights then still move the gradient by up to 5e-4 (docs/published-code.md).
KINK = {"tf_duplex_img2ltnt": ("block_32", "layer_1", (21, 11), 0.01)}
KINK_GRADIENT_TOLERANCE = 2e-3


@pytest.fixture(autouse=True)
def exact_matmuls():
    with jax.default_matmul_precision("highest"):
        yield


def check(name, outputs, gradients, report_line):
    """Report the largest errors, then hold each to its tolerance."""
    tolerance = KINK_GRADIENT_TOLERANCE if name in KINK else GRADIENT_TOLERANCE
    output = max(outputs, key=lambda key: outputs[key])
    gradient = max(gradients, key=lambda key: gradients[key][0])
    leafy = max(gradients, key=lambda key: gradients[key][1])
    _, leaf_error, leaf = gradients[leafy]
    report_line(
        f"{name}: outputs within {outputs[output]:.1e} ({output}); gradients within "
        f"{gradients[gradient][0]:.1e} ({gradient}), leaves {leaf_error:.1e} ({leafy} {leaf})"
    )
    assert all(value < OUTPUT_TOLERANCE for value in outputs.values()), outputs
    assert all(whole < tolerance for whole, _, _ in gradients.values()), gradients
    assert all(leaf < LEAF_TOLERANCE for _, leaf, _ in gradients.values()), gradients


def generator_outputs_and_gradients(vector, jit):
    generator, variables = vector.load("G")
    discriminator, discriminator_variables = vector.load("D")
    z_BxKxD, labels = jnp.asarray(vector["in/z"]), jnp.asarray(vector["in/c"])
    rest = {key: value for key, value in variables.items() if key != "params"}
    truncation = {
        "truncation_psi": vector.meta.get("truncation_psi", 1.0),
        "truncation_cutoff": vector.meta.get("truncation_cutoff"),
    }

    def adversarial(params):
        own = {"params": params, **rest}
        images, out = generator.apply(own, z_BxKxD, labels, noise="const")
        logits, _ = discriminator.apply(discriminator_variables, images, labels)
        return losses.non_saturating_generator(logits).mean(), (images, out)

    w_BxKxLxW = broadcast_layers(jnp.asarray(vector["out/ws"]), generator.num_layers)

    def path_penalty(params):
        def synthesize(w_BxKxLxW):
            own = {"params": params, **rest}
            return generator.apply(own, w_BxKxLxW, noise="const", method="synthesize")[0]

        lengths = losses.path_length(synthesize, w_BxKxLxW, vector.images("in/pl_noise"))
        return (2 * lengths**2).mean(), lengths

    truncates = "out/img_truncated" in vector

    @jit
    def run(variables):
        params = variables["params"]
        (loss, (images, out)), gradient = jax.value_and_grad(adversarial, has_aux=True)(params)
        path_gradient, lengths = jax.grad(path_penalty, has_aux=True)(params)
        quiet, _ = generator.apply(variables, z_BxKxD, labels, noise="none")
        truncated = images
        if truncates:
            truncated, _ = generator.apply(variables, z_BxKxD, labels, noise="const", **truncation)
        return loss, images, out, gradient, path_gradient, lengths, quiet, truncated

    loss, images, out, gradient, path_gradient, lengths, quiet, truncated = run(variables)
    outputs = {
        "w": relative_error(out["w"], vector["out/ws"]),
        "image": relative_error(images, vector.images("out/img")),
        "image without noise": relative_error(quiet, vector.images("out/img_no_noise")),
        "generator loss": relative_error(loss, vector["out/loss_G"]),
        "path lengths": relative_error(lengths, vector["out/pl_lengths"]),
    }
    if truncates:
        outputs["truncated image"] = relative_error(truncated, vector.images("out/img_truncated"))
    if out["attention"]:
        stacked = stack_attention(out["attention"], vector.meta["generator"]["img_resolution"])
        outputs["attention"] = relative_error(stacked, vector["out/att_maps"])
    gradients = {
        "generator loss": gradient_errors(gradient, vector.gradients("gradG/", "G")),
        "path length": gradient_errors(path_gradient, vector.gradients("gradPL/", "G")),
    }
    return outputs, gradients


def discriminator_outputs_and_gradients(vector, jit):
    discriminator, variables = vector.load("D")
    labels, real, fake = (
        jnp.asarray(vector["in/c"]),
        vector.images("in/real"),
        vector.images("out/img"),
    )

    def discriminate(params, images):
        return discriminator.apply({"params": params}, images, labels)[0]

    def adversarial(params):
        logits = discriminate(params, real)
        return losses.logistic_discriminator(logits, discriminate(params, fake)).mean(), logits

    def penalty(params):
        penalties = losses.r1_penalty(lambda images: discriminate(params, images), real)
        return (5 * penalties).mean(), penalties

    @jit
    def run(params):
        return [jax.value_and_grad(f, has_aux=True)(params) for f in (adversarial, penalty)]

    ((loss, logits), gradient), ((_, penalties), penalty_gradient) = run(variables["params"])
    outputs = {
        "logits": relative_error(logits, vector["out/logits_real"]),
        "discriminator loss": relative_error(loss, vector["out/loss_D"]),
        "R1 penalty": relative_error(penalties, vector["out/r1_penalty"]),
    }
    gradients = {
        "discriminator loss": gradient_errors(gradient, vector.gradients("gradD/", "D")),
        "R1": gradient_errors(penalty_gradient, vector.gradients("gradR1/", "D")),
    }
    return outputs, gradients


# Gradients of attention are quicker to compute for the published TensorFlow networks, and those of
# other layers for the networks left here: of these the quick tests look at outputs alone.
SLOW = ("duplex_ffhq", "duplex_clevr", "simplex", "gan", "conditional")


@pytest.mark.parametrize("name", SLOW)
def test_outputs_of_published_pytorch_networks(name, report_line):
    vector = Vector(name)
    (generator, variables), (discriminator, discriminator_variables) = map(vector.load, "GD")
    z_BxKxD, labels = jnp.asarray(vector["in/z"]), jnp.asarray(vector["in/c"])

    @(optimized_jit if name in OPTIMIZED else jax.jit)
    def run(variables):
        images, out = generator.apply(variables, z_BxKxD, labels, noise="const")
        logits = [
            discriminator.apply(discriminator_variables, x, labels)[0]
            for x in (vector.images("in/real"), vector.images("out/img"))
        ]
        return images, out, logits

    images, out, (real, fake) = run(variables)
    loss = losses.logistic_discriminator(real, fake).mean()
    errors = {
        "w": relative_error(out["w"], vector["out/ws"]),
        "image": relative_error(images, vector.images("out/img")),
        "logits": relative_error(real, vector["out/logits_real"]),
        "discriminator loss": relative_error(loss, vector["out/loss_D"]),
    }
    if out["attention"]:
        stacked = stack_attention(out["attention"], vector.meta["generator"]["img_resolution"])
        errors["attention"] = relative_error(stacked, vector["out/att_maps"])
    report_line(f"{name}: {', '.join(f'{key} within {errors[key]:.1e}' for key in errors)}")
    assert all(error < OUTPUT_TOLERANCE for error in errors.values()), errors


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in PYTORCH]
)
def test_published_pytorch_networks(name, report_line):
    vector, jit = Vector(name), optimized_jit if name in OPTIMIZED else jax.jit
    outputs, gradients = generator_outputs_and_gradients(vector, jit)
    more_outputs, more_gradients = discriminator_outputs_and_gradients(vector, jit)
    check(name, outputs | more_outputs, gradients | more_gradients, report_line)


@pytest.mark.slow
def test_published_network_with_the_convolutions_of_wide_networks(monkeypatch, report_line):
    """These networks are too narrow for Winograd's convolution on CPUs; here they use it."""
    monkeypatch.setattr(cpu, "NARROWEST", 1)
    monkeypatch.setattr(cpu, "WIDE", 1)
    results = discriminator_outputs_and_gradients(Vector("stylegan2"), jax.jit)
    check("stylegan2, Winograd's convolution", *results, report_line)


def off_the_kink(variables, block, layer, pixel, more):
    """The same variables with more noise at one pixel of a layer."""
    variables = jax.tree.map(jnp.asarray, variables)
    noise = variables["constants"]["synthesis"][block][layer]["noise"]
    noise["noise"] = noise["noise"].at[pixel].add(more)
    return variables


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

    def projected(params, rest):
        images, out = generator.apply({"params": params, **rest}, z_BxKxD, noise="const")
        return jnp.sum(images * projection), (images, out)

    run = jax.jit(jax.grad(projected, has_aux=True))
    gradient, (images, out) = run(variables["params"], rest)
    if name in KINK:
        gradient, _ = run(variables["params"], off_the_kink(rest, *KINK[name]))
    outputs = {
        "w": relative_error(out["w"], vector["out/w"]),
        "image": relative_error(images, vector.images("out/img")),
    }
    if out["attention"]:
        stacked = stack_attention(out["attention"], vector.meta["generator"]["resolution"])
        outputs["attention"] = relative_error(stacked, vector["out/att_maps"])
    gradients = {"projection": gradient_errors(gradient, vector.gradients_tf())}
    check(name, outputs, gradients, report_line)


@pytest.mark.parametrize("name", TENSORFLOW_DISCRIMINATORS)
def test_published_tensorflow_discriminators_with_attention(name, report_line):
    vector = Vector(name)
    discriminator, variables = vector.load_tf_discriminator()

    @jax.jit
    def run(images):
        def total(images):
            logits, _ = discriminator.apply(variables, images)
            return logits.sum(), logits

        return jax.value_and_grad(total, has_aux=True)(images)

    (_, logits), gradient = run(vector.images("in/real"))
    errors = {
        "logits": relative_error(logits, vector["out/logits_real"]),
        "gradient at images": relative_error(gradient, vector.images("out/r1_grad")),
    }
    report_line(f"{name}: {', '.join(f'{key} within {errors[key]:.1e}' for key in errors)}")
    assert all(error < OUTPUT_TOLERANCE for error in errors.values()), errors
