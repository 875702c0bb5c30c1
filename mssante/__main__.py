"""`python -m mssante` is the `mssante` command."""

from mssante.cli.main import main

if __name__ == "__main__":
    main()
