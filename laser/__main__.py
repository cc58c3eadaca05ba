"""Entry point of `python -m laser`."""

from laser.cli.main import main

if __name__ == "__main__":
    main(prog_name="laser")
