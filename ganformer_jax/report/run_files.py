"""The files of a run, read without checkpoints or jax."""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ganformer_jax.config.dicts import to_dict
from ganformer_jax.config.files import CONFIG_FILE
from ganformer_jax.config.kinds import KINDS
from ganformer_jax.errors import UserError, one_line, os_reason
from ganformer_jax.report.curves import RunLog, read_log
from ganformer_jax.train.logs.history import events
from ganformer_jax.train.transfer.report import REPORT_FILE

SHEETS = ("attention", "layouts", "reconstructions")
"""Sheets beside a grid of samples, of which a run has one."""
SAMPLES = re.compile(rf"(\d{{1,15}})(-({'|'.join(SHEETS)}))?\.png")
LATEST = 200
"""Maximum number of events, and of evaluations, in a page; the newest are shown."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's files, except its images and checkpoints.

    Attributes:
        folder: The run's folder.
        name: Short name, unique in a page.
        options: Options of its config by dotted name, as JSON values; empty without a config.
        config_problem: Reason why there are none; None if there are.
        log: Its curves.
        events: Its history, oldest first, `LATEST` at most.
        evaluations: What `evaluate` measured, oldest first, `LATEST` at most.
        samples: Sample grids by step.
        sheets: Sheets of attention, or else of another name in `SHEETS`, by step.
        sheet: Name of these sheets; "" if there are none.
        parameters: Number of parameters of a network by its name, where that is stored.
        transferred: Whether the run started from other weights.
    """

    folder: pathlib.Path
    name: str
    options: Mapping[str, Any]
    config_problem: str | None
    log: RunLog
    events: Sequence[Mapping[str, Any]]
    evaluations: Sequence[Mapping[str, Any]]
    samples: Mapping[int, pathlib.Path]
    sheets: Mapping[int, pathlib.Path]
    sheet: str
    parameters: Mapping[str, int]
    transferred: bool = False

    @property
    def kind(self) -> str:
        """The kind of training, as `kind_of_options`."""
        return kind_of_options(self.options)

    def option(self, name: str) -> Any:
        """Return an option, or its default where the config does not have it."""
        return self.options.get(name, defaults_of(self.options).get(name))

    def kimg_of(self, step: int) -> float:
        """Return thousands of images at a step."""
        batch_size = self.option("train.batch_size")
        return self.log.kimg_of(step, batch_size if isinstance(batch_size, int) else 0)


def read_run_folder(folder: pathlib.Path, name: str | None = None) -> Run:
    """Read the files of a run.

    Raises:
        UserError: If the folder holds no run, or cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"no run in {folder}: name the folder of a run")
    names = (CONFIG_FILE, "metrics.jsonl", "history.jsonl")
    if not any((folder / each).is_file() for each in names):
        raise UserError(f"{folder} is not a run: it has no {', no '.join(names)}")
    try:
        options, problem = _options(folder / CONFIG_FILE)
        figures = _images(folder / "samples")
        sheet = next((name for name in SHEETS if name in figures), "")
        happened = list(collections.deque(events(folder), LATEST))
        return Run(
            folder,
            name or folder.resolve().name,
            options,
            problem,
            read_log(folder / "metrics.jsonl"),
            happened,
            _evaluations(folder / "evaluations.jsonl"),
            figures.get("", {}),
            figures.get(sheet, {}) if sheet else {},
            sheet,
            _parameters(folder, options.get("train.fsdp", 1), happened),
            (folder / REPORT_FILE).is_file(),
        )
    except OSError as error:
        raise UserError(f"cannot read {error.filename or folder}: {os_reason(error)}") from error


def short_names(folders: Sequence[pathlib.Path]) -> list[str]:
    """Return the shortest ends of paths that differ, such as "a/run" and "b/run"."""
    paths = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-length:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    raise UserError("a run is named twice")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dicts as one, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        flat |= flatten(value, f"{prefix}{name}.") if nested else {prefix + str(name): value}
    return flat


def defaults_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default of every option, as JSON values, for a run of the same kind."""
    return _DEFAULTS[kind_of_options(options)]


def kind_of_options(options: Mapping[str, Any]) -> str:
    """Return the kind of training; "gan" if it is not stored or not known to this version."""
    kind = options.get("kind")
    return kind if isinstance(kind, str) and kind in KINDS else "gan"


_DEFAULTS = {
    name: flatten(json.loads(json.dumps(to_dict(kind.config())))) for name, kind in KINDS.items()
}


def _options(path: pathlib.Path) -> tuple[dict[str, Any], str | None]:
    if not path.is_file():
        return {}, f"{CONFIG_FILE} is missing"
    try:
        values = json.loads(path.read_text(errors="replace"))
    except (ValueError, RecursionError) as error:
        return {}, f"{CONFIG_FILE} is damaged ({one_line(error)})"
    if not isinstance(values, dict):
        return {}, f"{CONFIG_FILE} is not a config"
    return flatten(values), None


def _images(folder: pathlib.Path) -> dict[str, dict[int, pathlib.Path]]:
    """Return figures by name and step, in order; the name of sample grids is ""."""
    found: dict[str, dict[int, pathlib.Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (match := SAMPLES.fullmatch(path.name)) and path.is_file():
            found.setdefault(match[3] or "", {})[int(match[1])] = path
    return {name: dict(sorted(paths.items())) for name, paths in found.items()}


def _evaluations(path: pathlib.Path) -> list[dict[str, Any]]:
    kept: collections.deque[dict[str, Any]] = collections.deque(maxlen=LATEST)
    if path.is_file():
        with path.open(errors="replace") as file:
            for line in file:
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(record, dict):
                    kept.append(record)
    return list(kept)


def _parameters(
    folder: pathlib.Path, fsdp: Any, happened: Sequence[Mapping[str, Any]]
) -> dict[str, int]:
    """Count parameters by the shapes that Orbax stores beside the newest checkpoint.

    The shapes are those of entire arrays if one process wrote them and devices did not share a
    copy; otherwise, or if Orbax stores them in another way, the result is empty.
    """
    steps = [path for path in (folder / "checkpoints").glob("*") if path.name.isdigit()]
    if not steps or fsdp != 1 or any(event.get("processes", 1) != 1 for event in happened):
        return {}
    newest = max(steps, key=lambda path: int(path.name))
    counts: collections.Counter[str] = collections.Counter()
    try:
        stored = json.loads((newest / "state" / "array_metadatas" / "process_0").read_text())
        for entry in stored["array_metadatas"]:
            array = entry["array_metadata"]
            counts[array["param_name"].partition(".")[0]] += math.prod(array["write_shape"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {name: counts[name] for name in ("generator", "discriminator") if name in counts}
