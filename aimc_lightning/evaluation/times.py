"""Times after programming, under the name that evaluation code imports them from."""

from aimc_lightning.integration.times import format_time as format_time
from aimc_lightning.integration.times import parse_time as parse_time
