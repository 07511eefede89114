"""`python -m cuvee`: the command, where the script is not on the path."""

from cuvee.cli.app import main

if __name__ == "__main__":
    main()
