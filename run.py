"""Run the command line from a checkout: `python run.py train --config ffhq`."""

from ganformer_jax.__main__ import main

if __name__ == "__main__":
    main()
