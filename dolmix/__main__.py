"""`python -m dolmix` is the `dolmix` command."""

from dolmix.cli.main import run_main

if __name__ == "__main__":
    run_main()
