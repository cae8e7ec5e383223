"""From YAML to checked objects; nothing else checks and instantiates a `_target_`."""

from colorlab.config.checking import check, check_arguments, check_filing, has_target
from colorlab.config.plan import Plan
from colorlab.config.settings import GROUPS, SETTINGS, Filing, conf_folder, flatten, plain
from colorlab.config.targets import MOVED, PACKAGES, kind_of, locate
from colorlab.config.type_hints import hints_of

__all__ = [
    "GROUPS", "MOVED", "PACKAGES", "SETTINGS", "Filing", "Plan", "check", "check_arguments", "check_filing",
    "conf_folder", "flatten", "has_target", "hints_of", "kind_of", "locate", "plain",
]  # fmt: skip
