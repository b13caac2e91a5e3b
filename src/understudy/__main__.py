"""``python -m understudy``, as distributed launchers call it."""

from understudy.cli import main

if __name__ == "__main__":
    main()
