"""Latents in npz files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ganformer_jax.config import GeneratorConfig
from ganformer_jax.errors import UserError, one_line, os_reason
from ganformer_jax.files import DAMAGED_NPZ, atomic_path, plain
from ganformer_jax.models import num_layers
from ganformer_jax.models.noise_maps import noise_shapes
from ganformer_jax.sampling.latents import ImageLatents
from ganformer_jax.sampling.seeds import seed_array

VERSION, NOISE = 1, "noise/"


def save_latents(
    path: str | os.PathLike[str], latents: ImageLatents, weights: str = "", noise: str = ""
) -> None:
    """Write an npz file of `w`, `noise_seeds`, `about` (JSON), `mask`, `shift` and `noise/...`.

    Args:
        path: The file; it is replaced if it exists.
        latents: The latents.
        weights: Checksum of the generator that they are of.
        noise: Noise of their images: "const", "random" or "none".

    Raises:
        UserError: If the file cannot be written.
    """
    facts = [plain(one) for one in latents.facts]
    about = {"version": VERSION, "weights": weights, "noise": noise, "images": facts}
    arrays: dict[str, Any] = {"w": latents.w_BxKxLxD, "noise_seeds": latents.noise_seeds_B}
    if latents.mask_BxK is not None:
        arrays["mask"] = latents.mask_BxK
    if latents.shift_BxKx2 is not None:
        arrays["shift"] = latents.shift_BxKx2
    arrays |= {NOISE + name: noise for name, noise in latents.noise_maps.items()}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, about=np.array(json.dumps(about, ensure_ascii=False)), **arrays)


def read_latents(
    path: str | os.PathLike[str],
    config: GeneratorConfig,
    *,
    weights: str = "",
    noise: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> ImageLatents:
    """Read an npz file with latents `w`, of `save_latents` or of any other program.

    `w` is [B, K, L, D], or [B, K, D] for the same latents in all layers; all else may be missing.

    Args:
        path: The file.
        config: The generator that is to make images of them.
        weights: Its checksum.
        noise: Noise of the images to make: "const", "random" or "none".
        say: Receives a line if images will differ from those that the latents were saved with.

    Raises:
        UserError: If the file is missing or damaged, or its latents are not of this generator's
            shape.
    """
    arrays = _read(path)
    if "w" not in arrays:
        has = ", ".join(arrays) or "nothing"
        raise UserError(f"{path} has no latents: an array w is needed, it has {has}")
    w, layers = arrays["w"], num_layers(config)
    if w.ndim == 3:
        w = np.repeat(w[:, :, None], layers, 2)
    expected = (config.num_w, layers, config.w_size)
    if w.ndim != 4 or w.shape[1:] != expected or not len(w) or w.dtype.kind not in "fiu":
        raise UserError(
            f"{path}: this generator's w is [B, {config.num_w}, {config.w_size}] or "
            f"[B, {', '.join(map(str, expected))}], not {w.dtype} {list(arrays['w'].shape)}"
        )
    w = _float32(w)
    if not np.isfinite(w).all():
        raise UserError(f"{path}: w has values that are not finite in float32")
    about = _about(path, arrays)
    for name, own in (("weights", weights), ("noise", noise)):
        if own and about.get(name, own) not in (own, ""):
            say(f"{path} was saved with other {name}: images will differ")
    facts = about.get("images", [])
    return ImageLatents(
        w,
        _noise_seeds(path, arrays, len(w)),
        _mask(path, arrays, (len(w), config.components)),
        _noise_maps(path, arrays, config, len(w)),
        tuple(facts) if len(facts) == len(w) else (),
        _shift(path, arrays, config, len(w)),
        config.words,
        config.attention.places,
    )


def _read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"w": loaded}
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError as error:
        raise UserError(f"no file {path}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {os_reason(error)}") from error
    except DAMAGED_NPZ as error:
        raise UserError(f"{path} is not an npz file of latents: {one_line(error)}") from error


def _float32(numbers: np.ndarray) -> np.ndarray:
    """Return numbers as float32; those too large for it become infinite."""
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def _about(path: str | os.PathLike[str], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    if "about" not in arrays:
        return {}
    try:
        about = json.loads(str(arrays["about"]))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: about is not JSON") from error
    if not isinstance(about, dict) or not isinstance(about.get("images", []), list):
        raise UserError(f"{path} is damaged: about is not of latents")
    if about.get("version", VERSION) != VERSION:
        raise UserError(
            f"{path} was written by a later version of ganformer_jax: install that version"
        )
    return about


def _noise_seeds(
    path: str | os.PathLike[str], arrays: dict[str, np.ndarray], count: int
) -> np.ndarray:
    seeds = arrays.get("noise_seeds", np.arange(count, dtype=np.uint32))
    try:
        if seeds.shape == (count,):
            return seed_array(seeds)
    except ValueError:
        pass
    raise UserError(f"{path}: noise_seeds must be {count} integers from 0 to 2^32 - 1")


def _mask(
    path: str | os.PathLike[str], arrays: dict[str, np.ndarray], shape: tuple[int, int]
) -> np.ndarray | None:
    mask = arrays.get("mask")
    if mask is None:
        return None
    if mask.shape != shape or not np.isin(mask, (0, 1)).all():
        raise UserError(f"{path}: mask must be zeros and ones, {list(shape)}")
    return mask.astype(np.float32)


def _shift(
    path: str | os.PathLike[str],
    arrays: dict[str, np.ndarray],
    config: GeneratorConfig,
    count: int,
) -> np.ndarray | None:
    shift = arrays.get("shift")
    if shift is None:
        return None
    if not config.attention.places:
        raise UserError(f"{path}: shift moves places of components, and this generator has none")
    shape = (count, config.components, 2)
    fits = shift.shape == shape and shift.dtype.kind == "f"
    if not fits or not np.isfinite(_float32(shift)).all():
        raise UserError(f"{path}: shift must be finite numbers, {list(shape)}")
    return _float32(shift)


def _noise_maps(
    path: str | os.PathLike[str],
    arrays: dict[str, np.ndarray],
    config: GeneratorConfig,
    count: int,
) -> dict[str, np.ndarray]:
    found = {k.removeprefix(NOISE): a for k, a in arrays.items() if k.startswith(NOISE)}
    expected = noise_shapes(config) if found else {}
    for name, noise in found.items():
        shape = (count, *expected.get(name, ()))
        fits = noise.shape == shape and noise.dtype.kind == "f"
        if not fits or not np.isfinite(_float32(noise)).all():
            raise UserError(f"{path}: {NOISE}{name} is not noise of this generator")
    return {name: _float32(noise) for name, noise in found.items()}
