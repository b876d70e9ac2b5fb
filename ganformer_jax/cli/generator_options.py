"""Options of commands that use a trained generator, from a run or from a file."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any, Literal

from ganformer_jax.cli.options import RunOptions
from ganformer_jax.errors import UserError

if TYPE_CHECKING:
    from ganformer_jax.config import GeneratorConfig
    from ganformer_jax.models import Generator
    from ganformer_jax.sampling import Synthesizer
    from ganformer_jax.train.devices import Placement


@dataclasses.dataclass(frozen=True)
class GeneratorOptions(RunOptions):
    """Options that select a generator."""

    workdir: pathlib.Path = pathlib.Path("runs/scenes")
    """Folder of a run, or a file: an export or a published snapshot."""

    def check_generator(self) -> None:
        """Raise `UserError` if the run or file is missing, or options cannot be combined."""
        if not self.workdir.is_file():
            self.check_run()
        elif self.best or self.step is not None:
            raise UserError(f"{self.workdir} has no checkpoints: leave out --step and --best")

    def load_generator(self) -> tuple[Generator, dict[str, Any]]:
        """Load the averaged generator, as `load` does."""
        from ganformer_jax.load import load, load_run

        if self.workdir.is_file():
            return load(self.workdir)
        return load_run(self.workdir, self.step, self.best, print)

    def load_for_devices(
        self, batch_size: int
    ) -> tuple[GeneratorConfig, dict[str, Any], str, Placement]:
        """Load the generator after setting up the devices of this host for a batch.

        Returns:
            Its config, its variables, their checksum, and where they and a batch are placed.
        """
        from ganformer_jax.cli.devices import local_devices
        from ganformer_jax.experiment.sample_files import weights_digest

        placement = local_devices(batch_size)
        generator, variables = self.load_generator()
        return generator.config, variables, weights_digest(variables), placement

    def load_synthesizer(
        self, batch_size: int, noise: Literal["const", "random", "none"]
    ) -> tuple[Synthesizer, dict[str, Any], str]:
        """Load the generator on all devices of this host.

        Args:
            batch_size: Images per batch, rounded up to the devices.
            noise: Noise of the images.

        Returns:
            A synthesizer of its images, its variables, and their checksum.
        """
        import jax

        from ganformer_jax.sampling import Synthesizer

        config, variables, weights, placement = self.load_for_devices(batch_size)
        batch = placement.rounded(batch_size)
        synthesizer = Synthesizer(config, batch, noise, batch_sharding=placement.batch)
        return synthesizer, jax.device_put(variables, placement.replicated), weights

    def default_folder(self, name: str) -> pathlib.Path:
        """Return the default output folder: in the run's folder, or beside the file."""
        if self.workdir.is_file():
            return self.workdir.with_name(f"{self.workdir.stem}-{name}")
        return self.workdir / name
