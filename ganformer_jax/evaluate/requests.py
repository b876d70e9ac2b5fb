"""Parsing of lists of metrics such as `fid50k,rkid,pr10k,ppl_w_end,swd`."""

import dataclasses
import re

from ganformer_jax.errors import UserError, did_you_mean

RANDOM, TRAINED = "random inception", "inception"
"""Networks whose features metrics compare."""
FEATURES = {"fid": "2048", "kid": "2048", "is": "logits_unbiased", "pr": "2048", "prdc": "2048"}
"""Metrics of Inception's features, and the feature that each needs."""
PATHS = ("ppl_z_full", "ppl_z_end", "ppl_w_full", "ppl_w_end")
SCENES = {"seg": 500, "dci": 2000, "caption": 1000}
"""Metrics of the contents of scenes, and their default numbers of images."""
EDITS = {"edit": 100}
"""Metric of edits of components, and its default number of images."""
OF_GENERATORS = (*PATHS, *SCENES, *EDITS)
KINDS = (*FEATURES, *(f"r{kind}" for kind in FEATURES if kind != "is"), "swd", *OF_GENERATORS)
_COUNTED = re.compile(r"(?P<kind>.*?[a-z])_?(?P<count>\d+)(?P<thousand>k?)")


@dataclasses.dataclass(frozen=True)
class Request:
    """A requested metric.

    Attributes:
        name: Name in reports: "fid50k".
        kind: One of `KINDS`.
        count: Number of generated images, or of paths.
    """

    name: str
    kind: str
    count: int

    @property
    def network(self) -> str | None:
        """Network whose features it needs: `RANDOM`, `TRAINED` or None."""
        if self.feature is None:
            return None
        return RANDOM if self.kind.startswith("r") else TRAINED

    @property
    def weights(self) -> tuple[str, ...]:
        """Names, as in `load_weights`, of the published weights that it needs."""
        if self.kind in PATHS:
            return "vgg16", "lpips"
        return ("inception",) if self.network == TRAINED else ()

    @property
    def feature(self) -> str | None:
        """Name of Inception's features that it needs, or None."""
        return FEATURES.get(self.kind.removeprefix("r"))

    @property
    def needs_reference(self) -> bool:
        """Whether it compares with real images."""
        return self.kind == "swd" or (self.kind != "is" and self.feature is not None)

    @property
    def needs_generator(self) -> bool:
        """Whether it needs the generator itself, not only its images."""
        return self.kind in OF_GENERATORS


def parse_requests(text: str, default_count: int) -> list[Request]:
    """Parse a list of metrics such as `fid50k,kid,pr`.

    Args:
        text: Names, separated by commas.
        default_count: Number of images for names without a number.

    Raises:
        UserError: If there are no metrics, or one is unknown.
    """
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"name metrics, separated by commas: {', '.join(KINDS)}")
    return [_parse(name, default_count) for name in dict.fromkeys(names)]


def _parse(name: str, default_count: int) -> Request:
    counted = _COUNTED.fullmatch(name)
    kind = counted["kind"] if counted else name
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS) or f"; choose from {', '.join(KINDS)}"
        raise UserError(f"unknown metric {name}{hint}")
    count = (SCENES | EDITS).get(kind, default_count)
    if counted:
        count = int(counted["count"]) * (1000 if counted["thousand"] else 1)
    if count < 1:
        raise UserError(f"{name} needs at least one image")
    short = f"{count // 1000}k" if count % 1000 == 0 else str(count)
    return Request(f"{kind}{'_' if kind in PATHS else ''}{short}", kind, count)
