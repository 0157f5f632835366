"""Filters for log messages. Kedro does not accept filters in conf/logging.yml, so settings.py installs them."""

import logging


class ValidatorKeyFilter(logging.Filter):
    """Suppresses a false warning of Kedro 1.7.

    `kedro catalog describe-datasets` resolves patterns without their `validator:` key and warns for each of them,
    although the catalog does apply the validators.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a message is to be shown.

        Args:
            record: the message.

        Returns:
            False for the false warning, True for all other messages.
        """
        return not (record.args and "validator" in record.args and "attribute removed" in str(record.msg))
