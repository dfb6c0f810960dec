"""Settings (defaults < file < environment < flags) and the only place that knows where files live."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

APPLICATION = "mplus"


@dataclass(frozen=True, slots=True)
class Places:
    """The folders that mplus writes to; they are made, readable by their owner only, when first needed."""

    config: Path
    libraries: Path
    models: Path
    state: Path

    @property
    def config_file(self) -> Path:
        """Where `mplus config set` writes."""
        return self.config / "config.toml"


def places() -> Places:
    """Where mplus keeps its files: all under MPLUS_HOME when that is set, else where the system wants them."""
    if home := os.environ.get("MPLUS_HOME"):
        root = Path(home).expanduser().absolute()
        return Places(root, root / "libraries", root / "models", root / "state")
    import platformdirs

    folders = platformdirs.PlatformDirs(APPLICATION, appauthor=False)
    data = Path(folders.user_data_dir)
    return Places(Path(folders.user_config_dir), data / "libraries", data / "models", Path(folders.user_state_dir))
