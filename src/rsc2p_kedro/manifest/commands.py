"""Commands that messages advise, with the environment they are for."""


def command(words: str, env: str | None, *, default: str = "local") -> str:
    """A command of this project as it should be typed.

    Args:
        words: the command after `kedro`.
        env: environment it is for; None: the default one.
        default: the environment that Kedro uses when none is named.

    Returns:
        The command, with `--env` where the environment is not the default one.
    """
    return f"kedro {words}" + (f" --env {env}" if env and env != default else "")
