"""The `import` command: from a published snapshot to a run, an export, samples and training."""

import http.server
import json
import pickle
import shlex
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from captioned import CAPTIONED, random_generator
from command_line import call, complaint
from exports import export
from isolated import run_isolated
from reference import DATA
from safetensors import safe_open
from safetensors.numpy import save_file

import ganformer_jax
from ganformer_jax.cli import main
from ganformer_jax.config import GeneratorConfig, SynthesisConfig
from ganformer_jax.convert.build import flatten
from ganformer_jax.convert.export import exported_weights, save_generator
from ganformer_jax.errors import UserError

SNAPSHOT = DATA / "official-snapshot.pkl"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run imported from the snapshot, which tests do not change."""
    workdir = tmp_path_factory.mktemp("imported") / "run"
    main(["import", str(SNAPSHOT), "--workdir", str(workdir)])
    return workdir


def test_run_export_and_snapshot_hold_the_same_generator(capsys, tmp_path, run):
    exported = tmp_path / "generator.safetensors"
    code, said, _ = call(capsys, "export", "--workdir", str(run), "--out", str(exported))
    assert code == 0 and str(exported) in said
    generator, expected = ganformer_jax.load(SNAPSHOT)
    for path in (run, exported):
        other, variables = ganformer_jax.load(path)
        assert other == generator
        jax.tree.map(np.testing.assert_array_equal, variables, expected)
    before = exported.read_bytes()
    said = complaint(capsys, "export", "--workdir", str(run), "--out", str(exported))
    assert "would be replaced" in said
    call(capsys, "export", "--workdir", str(run), "--out", str(exported), "--overwrite")
    assert exported.read_bytes() == before


def test_an_export_becomes_a_run(capsys, tmp_path, run):
    exported, workdir = tmp_path / "generator.safetensors", tmp_path / "again"
    assert call(capsys, "export", "--workdir", str(run), "--out", str(exported))[0] == 0
    code, said, err = call(capsys, "import", str(exported), "--workdir", str(workdir))
    assert code == 0, err
    assert "a generator that `export` wrote" in said and "no discriminator" in said
    generator, variables = ganformer_jax.load(workdir)
    other, expected = ganformer_jax.load(run)
    assert generator == other
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    code, said, _ = call(capsys, "import", str(exported), "--dry-run")
    assert code == 0 and "average: " in said


def test_an_export_that_reads_captions_becomes_a_run(capsys, tmp_path):
    exported, workdir = tmp_path / "generator.safetensors", tmp_path / "my run"
    save_generator(exported, CAPTIONED.generator, random_generator(CAPTIONED.generator)[1])
    code, said, err = call(capsys, "import", str(exported), "--workdir", str(workdir))
    assert code == 0, err
    words = shlex.split(said.splitlines()[-1].partition("draw samples with ")[2])
    assert words[-3:] == ["sample", "--workdir", str(workdir)]
    for path, place in ((exported, "beside"), (workdir, "in")):
        for prompt in ([], ["--prompt", "a cube"]):
            said = complaint(capsys, "sample", "--workdir", str(path), *prompt)
            assert f"there is no tokenizer.json {place} {path}: copy it there" in said


def test_dry_run_prints_the_contents(capsys, tmp_path):
    workdir = tmp_path / "run"
    path = str(SNAPSHOT)
    code, said, _ = call(capsys, "import", path, "--workdir", str(workdir), "--dry-run")
    assert code == 0 and not workdir.exists()
    for words in ("PyTorch", "219 arrays, 79,658 numbers", "kmeans_iters", "mirror_augment = True"):
        assert words in said
    code, said, _ = call(capsys, "import", str(DATA / "official-tf-snapshot.pkl"), "--dry-run")
    assert code == 0 and "TensorFlow" in said and "mapping_layersnum = 8" in said


def test_an_imported_run_is_sampled(capsys, tmp_path, run):
    code, said, _ = call(
        capsys, "sample", "--workdir", str(run), "--count", "2", "--out", str(tmp_path / "images")
    )
    assert code == 0 and len(list((tmp_path / "images").glob("0*.png"))) == 2
    config = json.loads((run / "config.json").read_text())
    assert config["data"]["mirror"] is True and config["generator"]["components"] == 4


@pytest.mark.slow
def test_an_imported_run_is_finetuned(capsys, tmp_path, run):
    options = "--train.batch-size 4 --train.total-kimg 0.008 --data.train-images 16"
    options += " --data.held-out-images 8 --train.metric-kimg 0 --train.image-kimg 0"
    options += " --loss.r1-gamma 0 --loss.style-mixing 0"
    folders = ["--workdir", str(tmp_path / "new"), "--data.directory", str(tmp_path / "data")]
    arguments = ["--config", str(run / "config.json"), "--init-from", str(run), *folders]
    code, said, error = call(capsys, "train", *arguments, *options.split(), "--data.name", "scenes")
    assert code == 0 and "done: 2 steps" in said, error
    tuned = jax.tree.leaves(ganformer_jax.load(tmp_path / "new")[1]["params"])
    first = jax.tree.leaves(ganformer_jax.load(run)[1]["params"])
    changes = [
        np.abs(np.asarray(a) - np.asarray(b)).max() for a, b in zip(tuned, first, strict=True)
    ]
    assert 0 < max(changes) < 0.1


class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *arguments):
        super().__init__(*arguments, directory=str(DATA))

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/short.pkl":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
        elif self.path == "/elsewhere.pkl":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        else:
            super().do_GET()


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_download(capsys, server):
    code, said, err = call(capsys, "import", f"{server}/official-snapshot.pkl", "--dry-run")
    assert code == 0 and "PyTorch" in said and "100%" in err
    assert "sha256 c187fe84fadf4cfdbb01e49dcee2d9bf28cc235132faecdd99df66a9ca932f00" in said


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.pkl", "404"),
        ("short.pkl", "10 of 1000 bytes"),
        ("elsewhere.pkl", "cannot download"),
        ("with space.pkl", "cannot download"),
    ],
)
def test_downloads_that_fail(capsys, tmp_path, server, name, message):
    workdir = tmp_path / "run"
    with pytest.raises(SystemExit):
        main(["import", f"{server}/{name}", "--workdir", str(workdir)])
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not workdir.exists()


def test_impossible_imports(capsys, tmp_path):
    workdir = ["--workdir", str(tmp_path / "run")]
    assert "no file" in complaint(capsys, "import", str(tmp_path / "no.pkl"), *workdir)
    assert "name a snapshot" in complaint(capsys, "import", *workdir)
    assert "--workdir" in complaint(capsys, "import", str(SNAPSHOT))
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("kept")
    said = complaint(capsys, "import", str(SNAPSHOT), "--workdir", str(full))
    assert "not an empty folder" in said and (full / "mine").read_text() == "kept"
    hostile = tmp_path / "hostile.pkl"
    hostile.write_bytes(pickle.dumps({"G": print}))
    assert "builtins.print: not allowed" in complaint(capsys, "import", str(hostile), *workdir)
    empty = tmp_path / "empty.pkl"
    empty.touch()
    assert "is empty" in complaint(capsys, "import", str(empty), *workdir)
    assert not (tmp_path / "run").exists()


def test_load_refuses_other_files(tmp_path):
    with pytest.raises(UserError, match="no run and no file"):
        ganformer_jax.load(tmp_path / "nothing")
    with pytest.raises(UserError, match="no checkpoint"):
        ganformer_jax.load(tmp_path)
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(UserError, match="not a generator that `export` wrote"):
        ganformer_jax.load(other)
    for about in ("{", "[]", '{"version": 2}', '{"version": 1}', '{"version": 1, "generator": 3}'):
        save_file({"x": np.zeros(1)}, other, {"ganformer_jax": about})
        with pytest.raises(UserError, match="no valid config of a generator"):
            ganformer_jax.load(other)
    generator, variables = ganformer_jax.load(SNAPSHOT)
    save_generator(other, generator.config, variables)
    with safe_open(str(other), framework="numpy") as file:
        about = json.loads(file.metadata()["ganformer_jax"])
    about["generator"]["components"] = 2
    save_file({"x": np.zeros(1)}, other, {"ganformer_jax": json.dumps(about)})
    with pytest.raises(UserError, match="do not fit its config: .* is missing"):
        ganformer_jax.load(other)
    other.write_bytes(b"\xff\0\0\0\0\0\0\0{}")
    with pytest.raises(UserError, match="cannot read"):
        ganformer_jax.load(other)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16, np.float64])
def test_weights_of_an_export_are_float32(tmp_path, dtype):
    generator, variables = ganformer_jax.load(SNAPSHOT)
    path, foreign = tmp_path / "generator.safetensors", tmp_path / "foreign.safetensors"
    cast = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), variables)
    save_generator(path, generator.config, cast)
    with safe_open(str(path), framework="numpy") as file:
        metadata = file.metadata()
    save_file(flatten(cast), foreign, metadata)  # as a program that shrinks files does
    for written in (path, foreign):
        for leaf, other in zip(
            jax.tree.leaves(ganformer_jax.load(written)[1]), jax.tree.leaves(cast), strict=True
        ):
            assert leaf.dtype == np.float32
            np.testing.assert_array_equal(leaf, other.astype(np.float32))


def test_weights_that_are_integers_are_refused(tmp_path):
    generator, variables = ganformer_jax.load(SNAPSHOT)
    path = tmp_path / "generator.safetensors"
    save_generator(path, generator.config, variables)
    with safe_open(str(path), framework="numpy") as file:
        metadata = file.metadata()
    whole = {name: np.ones(leaf.shape, np.int8) for name, leaf in flatten(variables).items()}
    save_file(whole, path, metadata)
    with pytest.raises(UserError, match="weights that are not floating-point numbers, such as"):
        ganformer_jax.load(path)


def test_the_new_discriminator_of_an_export_filters_and_clamps_as_its_generator(tmp_path):
    synthesis = SynthesisConfig(
        channel_base=64, channel_max=8, clamp=256.0, resample_filter=(1, 2, 1)
    )
    config = GeneratorConfig(
        resolution=8, components=0, latent_size=8, intermediate_size=8, synthesis=synthesis
    )
    discriminator = exported_weights(export(tmp_path, config))[1].discriminator
    assert discriminator.clamp == 256 and discriminator.resample_filter == (1, 2, 1)
    assert (discriminator.channel_base, discriminator.channel_max) == (64, 8)


def test_a_snapshot_loads_where_only_jax_and_flax_are():
    """PyTorch and TensorFlow, and everything else, cannot be imported in that process."""
    result = run_isolated(
        "import ganformer_jax\n"
        f"generator, variables = ganformer_jax.load({str(SNAPSHOT)!r})\n"
        "assert not {'torch', 'tensorflow', 'dnnlib', 'torch_utils'} & set(sys.modules)\n"
        "print(generator.config.components)\n"
    )
    assert result.stdout.strip() == "4", result.stderr
