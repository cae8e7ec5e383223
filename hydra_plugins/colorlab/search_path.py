"""The configuration folders of packages that extend colorlab, for Hydra's search path."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from colorlab.config import conf_folder
from colorlab.plugins import conf_folders


class PluginFolders(SearchPathPlugin):
    """Append the folders `conf` of the packages; Hydra calls this in every program that uses it, not in ours alone."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        ours = str(conf_folder())
        if any(element.path.removeprefix("file://") == ours for element in search_path.get_path()):
            for package, folder in conf_folders().items():
                search_path.append(provider=package, path=f"file://{folder}")
