"""The command line as a script, and as `python -m ganformer_jax`."""

import sys


def main() -> None:
    """Run the command of the process's arguments; say so if a package that it needs is missing."""
    try:
        from ganformer_jax import hosts
        from ganformer_jax.cli import main as run_command  # needs more than jax and flax

        try:
            run_command()
        except SystemExit as error:  # its message has been printed
            code = 0 if error.code is None else error.code
            hosts.end_if_compiling(code if isinstance(code, int) else 1)
            raise
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", __package__):
            raise
        sys.exit(
            f"error: no module {package}: commands need all dependencies of ganformer-jax, which "
            "`pip install` adds without --no-deps"
        )


if __name__ == "__main__":
    main()
