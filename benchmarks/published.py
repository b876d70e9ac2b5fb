"""Time training and sampling of the published PyTorch networks, for `speed.py --compare`.

Command:  python benchmarks/published.py CHECKOUT --resolution 64 --batch 8

Needs PyTorch, which this package does not, and a checkout of github.com/dorarad/gansformer, whose
networks and losses it runs unchanged: one generator, one discriminator and one R1 update as in its
training loop, each followed by Adam, and the moving average.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import types
import warnings
from collections.abc import Callable

import cases

R1_INTERVAL = 16


def networks_of(case: cases.Case, dnnlib, networks) -> tuple:
    """Make generator and discriminator with the settings of `cases.config_of`."""
    attends, styled = case.kind in ("simplex", "duplex"), case.kind == "stylegan2"
    width = case.component_width * (1 if attends else case.components)
    channels = {"channel_base": case.channel_base, "channel_max": case.channel_max}
    mapping = {
        "num_layers": 8 if styled else 4,
        "resnet": not styled,
        "ltnt2ltnt": attends,
        "transformer": attends,
        "use_pos": attends,
        "num_heads": 1,
        "attention_dropout": 0.12,
    }
    synthesis = channels | {
        "architecture": "skip" if styled else "resnet",
        "transformer": attends,
        "use_pos": attends,
        "start_res": 0,
        "end_res": case.resolution,
        "kmeans": case.kind == "duplex",
        "kmeans_iters": 1,
        "integration": "mul",
        "norm": "layer",
        "num_heads": 1,
        "attention_dropout": 0.12,
        "pos_type": "sinus",
        "pos_init": "uniform",
        "pos_directions_num": 2,
        "style": True,
        "local_noise": True,
        "latent_stem": False,
    }
    common = {"c_dim": 0, "img_resolution": case.resolution, "img_channels": 3}
    generator = networks.Generator(
        z_dim=width,
        w_dim=width,
        k=case.components + 1 if attends else 1,
        component_dropout=0.0,
        mapping_kwargs=dnnlib.EasyDict(mapping),
        synthesis_kwargs=dnnlib.EasyDict(synthesis),
        **common,
    )
    group = dnnlib.EasyDict(mbstd_group_size=4)
    discriminator = networks.Discriminator(
        architecture="resnet", epilogue_kwargs=group, **channels, **common
    )
    return generator, discriminator


def register_kernels() -> None:
    """Make CUDA kernels importable by name once they are built, as the published code expects.

    PyTorch does so no longer.
    """
    from torch.utils import cpp_extension  # pyright: ignore[reportMissingImports]

    build = cpp_extension.load

    def load(name: str, **settings):
        sys.modules[name] = build(name=name, **settings)
        return sys.modules[name]

    cpp_extension.load = load


class Trial:
    """Published networks with their losses and optimizers."""

    def __init__(self, case: cases.Case, checkout: str, device: str):
        sys.path.insert(0, f"{checkout}/pytorch_version")
        sys.modules["gdown"] = types.ModuleType("gdown")  # imported there, used for downloads only
        warnings.simplefilter("ignore")
        import dnnlib  # pyright: ignore[reportMissingImports]
        import torch  # pyright: ignore[reportMissingImports]

        if device != "cpu":
            register_kernels()
        from training import loss, networks  # pyright: ignore[reportMissingImports]

        self.torch, self.case, self.device = torch, case, device
        torch.manual_seed(0)
        self.g, self.d = (network.to(device) for network in networks_of(case, dnnlib, networks))
        self.g.train().requires_grad_(False)
        self.d.train().requires_grad_(False)
        self.average = copy.deepcopy(self.g).eval()
        self.loss = loss.StyleGAN2Loss(
            device=device, G=self.g, D=self.d, style_mixing=0.0, r1_gamma=1.0, pl_weight=0
        )
        ratio = R1_INTERVAL / (R1_INTERVAL + 1)
        self.adam = {
            "G": torch.optim.Adam(self.g.parameters(), lr=0.002, betas=(0.0, 0.99)),
            "D": torch.optim.Adam(self.d.parameters(), lr=0.002 * ratio, betas=(0.0, 0.99**ratio)),
        }
        size = case.batch, 3, case.resolution, case.resolution
        self.images = torch.rand(*size, device=device) * 2 - 1
        self.labels = torch.zeros(case.batch, 0, device=device)

    def z(self):
        return self.torch.randn(self.case.batch, *self.g.input_shape[1:], device=self.device)

    def update(self, stage: str, network, gain: int) -> None:
        adam = self.adam[stage[0]]
        adam.zero_grad(set_to_none=True)
        network.requires_grad_(True)
        self.loss.accumulate_gradients(
            stage=stage,
            real_img=self.images,
            real_c=self.labels,
            gen_z=self.z(),
            gen_c=self.labels,
            sync=True,
            gain=gain,
        )
        network.requires_grad_(False)
        for parameter in network.parameters():
            if parameter.grad is not None:
                self.torch.nan_to_num(parameter.grad, 0, 1e5, -1e5, out=parameter.grad)
        adam.step()

    def follow(self, decay: float = 0.999) -> None:
        """Move the average towards the generator, and copy its buffers."""
        with self.torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.g.parameters(), strict=True):
                mean.copy_(value.lerp(mean, decay))
            for mean, value in zip(self.average.buffers(), self.g.buffers(), strict=True):
                mean.copy_(value)

    def sample(self) -> None:
        with self.torch.no_grad():
            self.average(self.z(), self.labels, truncation_psi=0.7, noise_mode="const")

    def phases(self) -> dict[str, Callable[[], None]]:
        """Return the functions that `median_milliseconds` times."""
        return {name: self.finished(phase) for name, phase in self.unfinished().items()}

    def finished(self, phase: Callable[[], None]) -> Callable[[], None]:
        """Wait for the work that a phase gives to a GPU."""

        def run() -> None:
            phase()
            if self.device != "cpu":
                self.torch.cuda.synchronize()

        return run

    def unfinished(self) -> dict[str, Callable[[], None]]:
        return {
            "r1_step": lambda: self.update("D_reg", self.d, R1_INTERVAL),
            "G": lambda: self.update("G_both", self.g, 1),
            "D": lambda: self.update("D_main", self.d, 1),
            "EMA": self.follow,
            "sample": self.sample,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkout", help="folder of the published code")
    cases.add_flags(parser)
    parser.add_argument("--device", default="cpu", help="of PyTorch, such as cuda")
    arguments = parser.parse_args()
    case = cases.parse(arguments)
    phases = Trial(case, arguments.checkout, arguments.device).phases()
    spent = cases.median_milliseconds(phases, cases.EVERY, arguments.seconds)
    training = spent["G"] + spent["D"] + spent["EMA"] + spent["r1_step"] / R1_INTERVAL
    report = {
        "train_images_per_second": round(case.batch / training * 1e3, 3),
        "sample_images_per_second": round(case.batch / spent["sample"] * 1e3, 3),
        "milliseconds": {name: round(value, 2) for name, value in spent.items()},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
