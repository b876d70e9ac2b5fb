"""`export --format stablehlo`: programs that run without this package give the same images."""

import dataclasses
import json
import re
import shutil
import zipfile

import jax
import numpy as np
import pytest
from command_line import call, complaint
from isolated import REPOSITORY, run_isolated
from program_cases import CASES, TINY, draw_variables, some_labels
from reference import DATA

import ganformer_jax
from ganformer_jax import Generator, broadcast_layers, convert, num_layers
from ganformer_jax.classes import save_class_names
from ganformer_jax.conditions import save_condition_names
from ganformer_jax.convert import program_file, programs
from ganformer_jax.convert.build import flatten
from ganformer_jax.errors import UserError
from ganformer_jax.sampling import Sampler

PSI = np.float32(0.7)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
NAME = "generator.stablehlo.npz"


def load_programs(path):
    """Read a file as its users do: its arrays, weights and programs."""
    with np.load(path) as file:
        arrays = dict(file)
    weights = {name: a for name, a in arrays.items() if name.startswith("weights/")}
    names = "sample", "generate", "synthesize"
    exported = {n: jax.export.deserialize(bytearray(arrays[n])) for n in names}
    return arrays, weights, exported


def about_of(path):
    return json.loads(zipfile.ZipFile(path).read("about.json"))


# Labels, single channels and duplex attention are in the other cases and in the command's run too.
SLOW = ("one component, classes", "StyleGAN2, gray", "duplex, bfloat16")
PARAMS = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CASES]


@pytest.fixture(scope="module", params=PARAMS, ids=list(CASES))
def case(request, tmp_path_factory):
    """A config, its noise, variables and the file of its programs."""
    config, noise = CASES[request.param]
    variables = draw_variables(config)
    path = tmp_path_factory.mktemp("programs") / NAME
    levels = convert.save_programs(path, config, variables, noise)
    assert set(levels) == {"sample", "generate", "synthesize"} and max(levels.values()) <= 1
    return config, noise, variables, path


def test_samples_equal_the_samplers(case, report_line):
    config, noise, variables, path = case
    _, weights, exported = load_programs(path)
    seeds = np.array([3, 2**32 - 1, 0], np.uint32)
    labels = some_labels(config, 3)
    inputs = () if labels is None else (labels,)
    out = jax.jit(exported["sample"].call)(weights, seeds, *inputs, PSI)
    expected = Sampler(config, 3, noise)(variables, seeds, labels, PSI)
    assert out["images"].dtype == np.uint8 and out["images"].shape == expected.images.shape
    levels = np.abs(np.int32(out["images"]) - expected.images).max()
    report_line(f"{config.components} components, {noise} noise: {levels} levels from the Sampler")
    assert levels <= 1 and expected.images.std() > 5
    np.testing.assert_allclose(out["w"], expected.w, rtol=1e-5, atol=1e-5)


def test_other_programs_equal_the_generator(case):
    config, noise, variables, path = case
    _, weights, exported = load_programs(path)
    shape = 2, config.num_latents, config.z_size
    z = np.random.default_rng(0).standard_normal(shape, np.float32)
    labels = some_labels(config, 2)
    inputs = () if labels is None else (labels,)
    seeds = (np.arange(2, dtype=np.uint32),) if noise == "random" else ()
    settings = {"noise": noise, "noise_seeds_B": seeds[0] if seeds else None}
    settings["rngs"] = {"noise": jax.random.key(0)}
    generator = Generator(dataclasses.replace(config, dtype="float32"))
    out = jax.jit(exported["generate"].call)(weights, z, *inputs, PSI, *seeds)

    @jax.jit
    @jax.default_matmul_precision("highest")
    def original(variables, z, labels):
        return generator.apply(variables, z, labels, truncation_psi=PSI, **settings)

    images, expected = original(variables, z, labels)
    np.testing.assert_allclose(out["images"], images, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(out["w"], expected["w"], rtol=1e-5, atol=1e-5)
    assert ("attention" in out) == bool(config.components)
    for found, maps in zip(out.get("attention", []), expected["attention"], strict=True):
        np.testing.assert_allclose(found, maps, rtol=1e-4, atol=1e-5)

    @jax.jit
    @jax.default_matmul_precision("highest")
    def synthesized(variables, w):
        return generator.apply(variables, w, **settings, method="synthesize")[0]

    w = np.asarray(broadcast_layers(out["w"][::-1], num_layers(config)))
    again = jax.jit(exported["synthesize"].call)(weights, w, *seeds)["images"]
    np.testing.assert_allclose(again, synthesized(variables, w), rtol=1e-4, atol=1e-4)


def test_what_a_file_says_of_itself(case):
    config, noise, variables, path = case
    arrays, weights, exported = load_programs(path)
    assert set(weights) == {f"weights/{name}" for name in flatten(variables)}
    assert arrays["layers"] == num_layers(config)
    about = about_of(path)
    assert about["version"] == 1 and about["noise"] == noise and about["jax"] == jax.__version__
    for name, program in exported.items():
        assert program.platforms == ("cpu", "cuda", "rocm", "tpu")
        assert not program.disabled_safety_checks
        inputs = about["programs"][name]["inputs"]
        described = [(tuple(map(str, i["shape"])), i["dtype"]) for i in inputs]
        shapes = [(tuple(map(str, a.shape)), str(a.dtype)) for a in program.in_avals]
        assert described == shapes[len(weights) :]
        outputs = jax.tree.unflatten(program.out_tree, program.out_avals)
        assert set(about["programs"][name]["outputs"]) == set(outputs)
        assert str(REPOSITORY).encode() not in arrays[name].tobytes()


# The command, on a run; and a process that has neither this package nor flax


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a copy of a run at runs/mine, and the programs of its generator."""
    from ganformer_jax.cli import main

    folder = tmp_path_factory.mktemp("exported")
    shutil.copytree(DATA / "run-0.1", folder / "runs/mine")
    main(["export", "--workdir", str(folder / "runs/mine"), "--format", "stablehlo"])
    return folder / "runs/mine"


def test_the_code_of_the_docs_runs_without_this_package(run, tmp_path):
    page = (REPOSITORY / "docs/snapshots.md").read_text()
    blocks = [block for block in BLOCK.findall(page) if "import ganformer_jax" not in block]
    blocks = [block for block in blocks if "from ganformer_jax" not in block]
    assert len(blocks) == 3 and "export.deserialize" in blocks[0]
    out = tmp_path / "out.npz"
    save = "np.savez(sys.argv[2], images=images, edited=edited)\n"
    blocked = "".join(
        f"try:\n    import {name}\n    raise SystemExit('{name} is not blocked')\n"
        "except ModuleNotFoundError:\n    pass\n"
        for name in ("ganformer_jax", "flax", "orbax", "safetensors")
    )
    code = blocked + "\n".join(blocks) + save
    requirements = "jax", "flatbuffers"
    cwd = run.parent.parent
    ran = run_isolated(code, str(out), requirements=requirements, package=False, cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    generator, variables = ganformer_jax.load(run)
    expected = Sampler(generator.config, 4, "const")(variables, range(4), truncation_psi=0.7)
    found = np.load(out)
    assert np.abs(np.int32(found["images"]) - expected.images).max() <= 1
    assert found["edited"].shape == (2, 8, 8, 3) and np.isfinite(found["edited"]).all()


def test_the_step_is_said_and_nothing_is_overwritten(run, capsys):
    about = about_of(run / NAME)
    steps = sorted(int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit())
    assert about["step"] == steps[-1] and about["kimg"] > 0 and "classes" not in about
    before = (run / NAME).read_bytes()
    export = ["export", "--workdir", str(run), "--format", "stablehlo"]
    assert "would be replaced" in complaint(capsys, *export)
    assert (run / NAME).read_bytes() == before
    said = complaint(capsys, "export", "--workdir", str(run), "--noise", "const")
    assert "--noise is for --format stablehlo" in said


def test_safetensors_are_the_default(run, capsys):
    code, said, _ = call(capsys, "export", "--workdir", str(run), "--overwrite")
    assert code == 0 and "generator.safetensors" in said
    generator, _ = ganformer_jax.load(run / "generator.safetensors")
    assert generator == ganformer_jax.load(run)[0]


def test_labels_are_named(tmp_path):
    from ganformer_jax.cli.export import _label_names

    config = dataclasses.replace(TINY, label_size=2)
    assert _label_names(tmp_path, TINY) == _label_names(tmp_path, config) == {}
    save_class_names(["a", "b"], tmp_path)
    assert _label_names(tmp_path, config) == {"classes": ["a", "b"]}
    save_condition_names(["c", "d"], tmp_path)
    assert _label_names(tmp_path, config) == {"conditions": ["c", "d"]}


# Refusals


def test_programs_are_not_loaded_as_generators(run, capsys):
    with pytest.raises(UserError, match="contains programs for jax.export, written by `export"):
        ganformer_jax.load(run / NAME)
    assert "programs for jax.export" in complaint(capsys, "import", str(run / NAME), "--dry-run")


def test_other_images_are_refused_and_leave_no_file(run, capsys, monkeypatch):
    folder, before = set(run.iterdir()), (run / NAME).read_bytes()
    changed = 255 - np.load(run / NAME)["check/images"]
    monkeypatch.setattr(program_file, "expected_images", lambda *_: changed)
    export = ["export", "--workdir", str(run), "--format", "stablehlo"]
    said = complaint(capsys, *export, "--out", str(run / "other.npz"))
    assert "was not written: on this device its images differ" in said and "sample by" in said
    complaint(capsys, *export, "--overwrite")
    assert set(run.iterdir()) == folder and (run / NAME).read_bytes() == before


def test_a_missing_package_is_named(run, capsys, monkeypatch, tmp_path):
    find_spec = programs.importlib.util.find_spec
    hidden = {"flatbuffers"}
    monkeypatch.setattr(
        programs.importlib.util,
        "find_spec",
        lambda n, *a: None if n in hidden else find_spec(n, *a),
    )
    export = ["export", "--workdir", str(run), "--format", "stablehlo"]
    said = complaint(capsys, *export, "--out", str(tmp_path / "x.npz"))
    assert "pip install flatbuffers" in said and not list(tmp_path.iterdir())


def test_damage_and_other_files_are_said_in_one_line(run, tmp_path):
    assert max(convert.check_programs(run / NAME).values()) <= 1
    data = bytearray((run / NAME).read_bytes())
    path = tmp_path / "file.npz"
    data[data.index(b"weights/") + 500] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="cannot read .*: BadZipFile"):
        convert.check_programs(path)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="has no programs"):
        convert.check_programs(path)
    np.savez(path, x=np.zeros(1))
    with pytest.raises(UserError, match="has no programs"):
        convert.check_programs(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("about.json", json.dumps(about_of(run / NAME) | {"version": 2}))
    with pytest.raises(UserError, match="is of version 2, not 1"):
        convert.check_programs(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("about.json", json.dumps(about_of(run / NAME)))
    with pytest.raises(UserError, match="file.npz cannot be checked: KeyError: 'sample'"):
        convert.check_programs(path)
    with np.load(run / NAME) as file:
        arrays = {name: file[name] for name in file.files if name != "about.json"}
    np.savez(path, **arrays | {"sample": np.zeros(99, np.uint8)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("about.json", json.dumps(about_of(run / NAME)))
    with pytest.raises(UserError, match="file.npz cannot be checked: "):
        convert.check_programs(path)
