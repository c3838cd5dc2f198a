"""`python -m sirl`."""

from sirl.cli.main import main

if __name__ == "__main__":
    main()
