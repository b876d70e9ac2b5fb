"""Sources of `--init-from`: runs, exports, published snapshots, URLs, and what is none of these."""

import pickle
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from captioned import CAPTIONED, TEXT, random_generator
from command_line import call, complaint
from reference import DATA
from small_scenes import small_chunks
from transfers import changed, classes, random_state

import ganformer_jax
from ganformer_jax.captions import make_tokenizer, save_tokenizer
from ganformer_jax.config import Config
from ganformer_jax.convert.export import save_generator
from ganformer_jax.errors import UserError
from ganformer_jax.experiment.initial_weights import read_weights, warm_start
from ganformer_jax.train.checkpoints.checksums import by_path

SNAPSHOTS = [f"{name}-snapshot.pkl" for name in ("official", "official-tf", "stylegan2-ada")]


def started(source, config: Config, folder, tokenizer=""):
    """A random state that starts from a source, and the lines for the user."""
    said = []
    start = warm_start(str(source), config, folder, said.append, tokenizer)
    return start(random_state(config, 2)), said


@pytest.mark.parametrize(
    "name",
    [
        SNAPSHOTS[0],
        pytest.param(SNAPSHOTS[1], marks=pytest.mark.slow),  # of 256 pixels
        SNAPSHOTS[2],
        "nvidia-averages.pkl",
    ],
)
def test_a_snapshot_starts_a_run(tmp_path, name):
    generator, variables = ganformer_jax.load(DATA / name)
    weights, config = read_weights(str(DATA / name))
    state, said = started(DATA / name, config, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, state.ema, variables["params"])
    jax.tree.map(np.testing.assert_array_equal, state.generator, weights["generator"])
    lines = (tmp_path / "transfer.txt").read_text().splitlines()
    if "discriminator" in weights:
        assert said == [f"starting from the weights of {DATA / name}"]
        assert {line.split()[0] for line in lines[1:]} == {"taken"}
    else:
        new = [line for line in lines if line.startswith("new")]
        assert new and all("no discriminator there" in line for line in new)
        assert any(line.startswith("discriminator: ") and " new (0.0%" in line for line in said)


def test_a_snapshot_starts_a_conditional_run_of_another_size(tmp_path):
    weights, there = read_weights(str(DATA / SNAPSHOTS[2]))
    here = classes(changed(there, resolution=16), 3)
    state, said = started(DATA / SNAPSHOTS[2], here, tmp_path)
    kept = by_path(state.ema)["synthesis.block_16.layer_0.convolution.kernel"]
    expected = by_path(weights["ema"])["synthesis.block_16.layer_0.convolution.kernel"]
    np.testing.assert_array_equal(kept, expected)
    assert "  adapted: rows of zeros for the label (1)" in said
    assert "  adapted: 3 copies of the logit without classes (2)" in said
    assert any(line.startswith("  left out: synthesis.block_32") for line in said)


def test_an_export_starts_a_run_with_a_new_discriminator(tmp_path):
    generator, variables = ganformer_jax.load(DATA / SNAPSHOTS[0])
    export = tmp_path / "generator.safetensors"
    save_generator(export, generator.config, variables)
    config = read_weights(str(export))[1]
    state, said = started(export, config, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, state.ema, variables["params"])
    fresh = random_state(config, 2).discriminator
    jax.tree.map(np.testing.assert_array_equal, state.discriminator, fresh)
    pointers = [jnp.asarray(x).unsafe_buffer_pointer() for x in jax.tree.leaves(state)]
    assert len(set(pointers)) == len(pointers)  # or they could not be donated


def test_words_of_captions_keep_their_vectors(tmp_path):
    """Of an export, by the tokenizer.json beside it; without one, words keep their numbers."""
    there = [f"word{number}" for number in range(TEXT.vocabulary - 3)]
    here = make_tokenizer(there[::-1]).text
    generator, variables = random_generator(CAPTIONED.generator)
    moments = {"moments": {"w_average": np.zeros(generator.config.w_size, np.float32)}}
    export = tmp_path / "generator.safetensors"
    save_generator(export, generator.config, variables | moments)
    table = np.asarray(variables["params"]["text"]["words"])
    state, said = started(export, CAPTIONED, tmp_path, here)
    assert said[0].startswith(f"warning: no tokenizer.json with {export}: words are taken")
    np.testing.assert_array_equal(state.ema["text"]["words"], table)
    save_tokenizer(make_tokenizer(there).text, tmp_path)
    state, said = started(export, CAPTIONED, tmp_path, here)
    assert "  adapted: words found by their names (1)" in said
    np.testing.assert_array_equal(state.ema["text"]["words"][3:], table[:2:-1])
    save_tokenizer(make_tokenizer(there[1:]).text, tmp_path)
    with pytest.raises(UserError, match="has 11 tokens, and its generator knows 12"):
        started(export, CAPTIONED, tmp_path, here)


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    handler = partial(Handler, directory=str(DATA))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
def test_training_from_a_url(capsys, tmp_path, server):
    """Averages of NVIDIA's for two classes, to an unconditional run."""
    options = "--generator.components 0 --generator.latent-size 6 --generator.resolution 32"
    options += " --generator.synthesis.style"
    options += " --generator.mapping.no-self-attention --generator.attention-resolutions 4 4"
    options += " --generator.mapping.no-residual --generator.mapping.num-layers 1"
    options += " --generator.synthesis.architecture skip --generator.synthesis.channel-base 128"
    options += " --generator.synthesis.channel-max 4 --generator.synthesis.no-last-convolution"
    options += " --discriminator.channel-base 128 --discriminator.channel-max 4"
    options += " --data.train-images 16 --data.held-out-images 8 --train.batch-size 8"
    options += " --train.total-kimg 0.008 --train.metric-kimg 0 --train.image-kimg 0"
    paths = ["--workdir", str(tmp_path / "run"), "--data.directory", str(tmp_path / "data")]
    url = f"{server}/nvidia-averages.pkl"
    with small_chunks():
        code, out, err = call(capsys, "train", *options.split(), *paths, "--init-from", url)
    assert code == 0, err
    assert f"starting from the weights of {url}" in out and "discriminator: 23 new (0.0%" in out
    assert "  adapted: mean over 2 classes (1)" in out
    assert (tmp_path / "run" / "transfer.txt").read_text().startswith(f"weights of {url}\n")


def test_sources_that_cannot_be_used(capsys, tmp_path, server):
    run = ["--workdir", str(tmp_path / "run"), "--data.directory", str(tmp_path / "data")]

    def refused(source):
        return complaint(capsys, "train", *run, "--init-from", str(source))

    assert f"no run and no file {tmp_path}/none" in refused(tmp_path / "none")
    assert f"no checkpoint in {tmp_path}" in refused(tmp_path)
    hostile, empty = tmp_path / "hostile.pkl", tmp_path / "empty.pkl"
    hostile.write_bytes(pickle.dumps({"G": print}))
    assert "builtins.print: not allowed" in refused(hostile)
    empty.touch()
    assert "is empty" in refused(empty)
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    assert "not a generator that `export` wrote" in refused(other)
    assert f"cannot download {server}/none.pkl: 404" in refused(f"{server}/none.pkl")
    assert "too little in common" in refused(DATA / "nvidia-averages.pkl")
    assert not (tmp_path / "run").exists() and not (tmp_path / "data").exists()


def test_initial_weights_are_not_forgotten_before_the_first_checkpoint(capsys, tmp_path):
    """A command that was killed, given again without the option, would begin with random ones."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "transfer.txt").write_text("weights of runs/other\n")
    said = complaint(capsys, "train", "--workdir", str(run))
    assert "run began with the weights that transfer.txt there lists, and has no checkpoint" in said
    assert [path.name for path in run.iterdir()] == ["transfer.txt"]
