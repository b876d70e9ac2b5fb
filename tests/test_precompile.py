"""Programs that are compiled before training, for this machine and for slices elsewhere."""

import collections
import re
import subprocess
import sys

import jax
import pytest
from command_line import complaint
from processes import ENVIRONMENT, HERE, TINY_OPTIONS
from tpu_process import run_for_a_tpu

from ganformer_jax.train.compile import TooLarge, compile_program

PROGRAMS = {"jit_create_state", "jit_adversarial_update", "jit__generate"}


def programs_in(cache):
    names = (re.sub("-[0-9a-f]+-cache$", "", path.name) for path in cache.glob("*-cache"))
    return collections.Counter(name for name in names if name in PROGRAMS)


@pytest.mark.slow
def test_training_finds_the_programs_of_compile_only(tmp_path):
    cache = tmp_path / "xla"
    environment = ENVIRONMENT | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    command = [sys.executable, str(HERE.parent / "run.py"), "train", *TINY_OPTIONS]
    command += ["--workdir", str(tmp_path / "run"), "--data.directory", str(tmp_path / "data")]
    command += ["--train.batch-size", "8", "--train.total-kimg", "0.008"]
    command += ["--train.metric-kimg", "0", "--generator.components", "0"]
    command += ["--generator.synthesis.style"]
    command += ["--loss.r1-gamma", "0"]

    def train(*options):
        ran = subprocess.run(
            [*command, *options], env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    said = train("--compile-only")
    assert re.search(r"adversarial: [\d,]+ MiB of a device, compiled in ", said)
    once = dict.fromkeys(PROGRAMS, 1)
    assert programs_in(cache) == once and not (tmp_path / "run").exists()
    assert "first step done" in train()
    assert programs_in(cache) == once


@pytest.mark.parametrize(
    "reason",
    [
        "E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for HLO "
        "temporaries (1.50T) exceeds available HBM (768.00G). HLO module: jit_r1_update.",
        "Ran out of memory in memory space hbm. Used 1.50T of 768.00G hbm. Exceeded hbm capacity",
    ],
)
def test_a_program_that_is_too_large_is_refused_in_words(reason):
    class Refused:
        def compile(self):
            raise jax.errors.JaxRuntimeError(f"RESOURCE_EXHAUSTED: {reason}")

    with pytest.raises(TooLarge, match="r1 needs 1536.00 GiB, and a device has 768.00: lower") as e:
        compile_program("r1", Refused())
    assert e.value.share == 2


def test_a_slice_is_only_compiled_for(capsys, monkeypatch):
    said = complaint(capsys, "train", "--slice", "v5e:2x4")
    assert "needs --compile-only" in said
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("v5e:0x4", "v5e", "v5e:2x"):  # libtpu ends the process for the first
        said = complaint(capsys, "train", "--slice", name, "--compile-only")
        assert f"no slice {name}: give its kind and shape, such as v5e:2x4" in said
    said = complaint(capsys, "train", "--slice", "v5e:2x4", "--compile-only")
    assert 'pip install "ganformer-jax[tpu]"' in said


FOR_A_SLICE = """
import sys
import jax
from ganformer_jax.cli import main

command = ["train", *sys.argv[1:], "--compile-only", "--slice"]
for _ in range(2):  # jax cannot read what it wrote for devices that are not there
    main([*command, "v5e:2x2"])
    jax.clear_caches()
main([*command, "v5e:3x7"])
"""


@pytest.mark.slow
def test_a_slice_elsewhere_is_compiled_for_into_the_cache(tmp_path):
    (tmp_path / "small.py").write_text(
        "from tiny import tiny_config\nconfig = tiny_config(0, r1_gamma=0.0)\n"
    )
    options = ["--config", str(tmp_path / "small.py")]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    said, err = run_for_a_tpu(FOR_A_SLICE, *options, environment=cache, exit_code=1)
    assert said.startswith("compiling for 4 TPU v5 lite devices")
    assert said.count("compiling for 4 TPU v5 lite devices") == 2
    assert programs_in(tmp_path) == dict.fromkeys(PROGRAMS, 1)
    assert err.startswith("error: no slice v5e:3x7") and err.count("\n") == 1
