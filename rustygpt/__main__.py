"""`python -m rustygpt` is the command `rustygpt`."""

from rustygpt.cli.main import main

if __name__ == "__main__":
    main()
