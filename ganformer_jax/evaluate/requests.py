"""Metrics by the names that people ask for: `fid50k`, `rkid`, `pr10k`, `ppl_w_end`, `swd`."""

from __future__ import annotations

import dataclasses
import difflib
import re

from ganformer_jax.errors import UserError

FEATURES = {"fid": "2048", "kid": "2048", "is": "logits_unbiased", "pr": "2048", "prdc": "2048"}
"""Metrics of Inception's features, and which of them each needs."""
PATHS = ("ppl_z_full", "ppl_z_end", "ppl_w_full", "ppl_w_end")
SCENES = {"seg": 500, "dci": 2000}
"""Metrics of what components own, on scenes, and images where a name says no number."""
KINDS = (*FEATURES, *(f"r{kind}" for kind in FEATURES if kind != "is"), "swd", *PATHS, *SCENES)
_COUNTED = re.compile(r"(?P<kind>.*?[a-z])_?(?P<count>\d+)(?P<thousand>k?)")


@dataclasses.dataclass(frozen=True)
class Request:
    """One metric as asked for.

    Attributes:
        name: As in the report: "fid50k".
        kind: One of `KINDS`.
        count: Of generated images, or of paths.
    """

    name: str
    kind: str
    count: int

    @property
    def random(self) -> bool:
        """Whether features are those of the random Inception."""
        return self.kind.startswith("r")

    @property
    def compares(self) -> bool:
        """Whether it needs real images."""
        return self.kind == "swd" or (self.kind != "is" and self.feature is not None)

    @property
    def feature(self) -> str | None:
        """Which of Inception's features it needs, if any."""
        return FEATURES.get(self.kind.removeprefix("r"))


def parse_requests(text: str, default_count: int) -> list[Request]:
    """Reads a list of metrics such as `fid50k,kid,pr`.

    Args:
        text: Names, separated by commas.
        default_count: Images where a name says no number.

    Raises:
        UserError: When there are none, or one is not known.
    """
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"name metrics, separated by commas: {', '.join(KINDS)}")
    return [_parse(name, default_count) for name in dict.fromkeys(names)]


def _parse(name: str, default_count: int) -> Request:
    found = _COUNTED.fullmatch(name)
    kind = found["kind"] if found else name
    count = int(found["count"]) * (1000 if found["thousand"] else 1) if found else None
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(KINDS)}"
        raise UserError(f"unknown metric {name}; {hint}")
    if count is None:
        count = SCENES.get(kind, default_count)
    if count < 1:
        raise UserError(f"{name} asks for no images")
    short = f"{count // 1000}k" if count % 1000 == 0 else str(count)
    return Request(f"{kind}{'_' if kind in PATHS else ''}{short}", kind, count)
