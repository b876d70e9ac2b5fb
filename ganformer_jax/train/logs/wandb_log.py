"""The log of a run in Weights and Biases (https://wandb.ai), which is optional."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import pathlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ganformer_jax import hosts
from ganformer_jax.errors import UserError, one_line
from ganformer_jax.files import write_atomically

RUN_FILE = "wandb.json"
LAST_SECONDS = 60.0


def check_wandb() -> None:
    """Raise `UserError` if the package wandb is not installed."""
    if importlib.util.find_spec("wandb") is None:
        hint = "pip install 'ganformer-jax[wandb]', or leave out --wandb"
        raise UserError(f"the package wandb is not installed: {hint}")


def wandb_writers(
    project: str | None,
    run: pathlib.Path,
    config: Mapping[str, Any],
    say: Callable[[str], None],
) -> list[Wandb]:
    """Return a writer to a project; none without a project, or if this is not the first process.

    A run that was logged before resumes without it, with a warning, if the service is away.

    Raises:
        UserError: If a new run cannot be logged.
    """
    if project is None or not hosts.is_first():
        return []
    try:
        return [Wandb(project, run, config)]
    except UserError as error:
        if _stored_id(run / RUN_FILE, project) is None:
            raise
        say(f"warning: {error}; training continues without it")
        return []


class Wandb:
    """A run of Weights and Biases; a resumed run continues the same one.

    Its id is in `<run>/wandb.json`, and what the package stores in `<run>/wandb`. Environment
    variables of the package apply, such as WANDB_MODE=offline.

    Args:
        project: Name of the project.
        run: The run's folder.
        config: The config of the run, as nested dicts.

    Raises:
        UserError: If the package is missing or refuses, as it does where nobody has logged in.
    """

    name, takes_images = "wandb", True

    def __init__(self, project: str, run: pathlib.Path, config: Mapping[str, Any]):
        check_wandb()
        import wandb  # pyright: ignore[reportMissingImports]

        self._wandb, path = wandb, run / RUN_FILE
        try:
            self._run = wandb.init(
                project=project,
                name=run.name,
                id=_stored_id(path, project),
                resume="allow",
                dir=str(run),
                config=dict(config),
                settings=wandb.Settings(console="off"),  # which would take over standard output
            )
        except Exception as error:  # of the package, of its service, of the network
            hint = "correct it, or leave out --wandb"
            raise UserError(f"cannot log to wandb: {one_line(error)}; {hint}") from error
        self._latest = self._run.step
        self._run.define_metric("*", step_metric="kimg")
        write_atomically(path, json.dumps({"project": project, "id": self._run.id}) + "\n")

    def write_numbers(self, step: int, images_seen: int, values: Mapping[str, float]) -> None:
        """Log the numbers of a step."""
        self._log(step, {"kimg": images_seen / 1000, **values})

    def write_image(self, step: int, images_seen: int, name: str, jpeg: bytes) -> None:
        """Log an image of a step."""
        from PIL import Image

        image = self._wandb.Image(Image.open(io.BytesIO(jpeg)), file_type="jpg")
        self._log(step, {"kimg": images_seen / 1000, name: image})

    def close(self) -> None:
        """Send what is left, and end the run; what takes longer than `LAST_SECONDS` stays behind.

        `wandb sync` sends it later.
        """
        failed: list[Exception] = []

        def finish() -> None:
            try:
                self._run.finish()
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=finish, name="wandb", daemon=True)
        thread.start()
        thread.join(LAST_SECONDS)
        with _failures():
            if thread.is_alive():
                raise TimeoutError(f"no end after {LAST_SECONDS:.0f} s: try `wandb sync`")
            if failed:
                raise failed[0]

    def _log(self, step: int, values: Mapping[str, Any]) -> None:
        """Log, unless a later step was logged, before training returned to an earlier one."""
        if step < self._latest:
            return
        self._latest = step
        with _failures():
            self._run.log(dict(values), step=step)


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn what the package raises into a `UserError`."""
    try:
        yield
    except Exception as error:
        raise UserError(one_line(error)) from error


def _stored_id(path: pathlib.Path, project: str) -> str | None:
    """Read the id of a run of this project; None for a new one."""
    try:
        stored = json.loads(path.read_text())
        return stored["id"] if stored["project"] == project else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
