"""Commands as messages recommend them, with the environment that they apply to."""


def command(words: str, env: str | None, *, default: str = "local") -> str:
    """Writes a command as it should be typed.

    Args:
        words: the command after `kedro`.
        env: environment that it applies to. None means the default one.
        default: environment that Kedro uses if none is given.

    Returns:
        The command, with `--env` unless the environment is the default one.
    """
    return f"kedro {words}" + (f" --env {env}" if env and env != default else "")
