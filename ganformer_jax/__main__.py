"""`python -m ganformer_jax`: the command line, where its script is not on the path."""

from ganformer_jax.cli import main

if __name__ == "__main__":
    main()
