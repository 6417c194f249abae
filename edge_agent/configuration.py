"""Site files handed out by the cloud: validated, tried, confirmed, rolled back when the agent cannot live with one."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import structlog

from device_profiles.lined_yaml import ProfileError
from edge_agent.commissioned import Commissioned, load_commissioned

log = structlog.get_logger()

STARTS_MAX = 2  # A version that was started so often without being confirmed is not started again.
CONFIRM_AFTER_S = 30.0
LINK_CONFIRM_S = 300.0  # A version that changes the way to the cloud must have reached it within this time.
SITE_BYTES_MAX = 1024**2


@dataclass(slots=True, kw_only=True)
class _State:
    """What is kept on disk; version None is the site file the agent was started with."""

    version: int | None = None
    confirmed: bool = True
    starts: int = 0
    previous: int | None = None
    state: str = "local"  # local · trying · confirmed · refused · rolled_back
    problems: list[str] = field(default_factory=list)
    refused: int | None = None  # The last version that did not hold: not to be tried again.


class Configuration:
    """Which site file holds. Paths in all versions are relative to the file the agent was started with."""

    def __init__(self, local: Path, folder: Path) -> None:
        self._local = local
        self._folder = folder
        self._state = self._load()

    @property
    def path(self) -> Path:
        """The file to read now."""
        return self._path(self._state.version)

    @property
    def is_on_trial(self) -> bool:
        """Whether the version that holds was not confirmed yet."""
        return not self._state.confirmed

    def changes_cloud(self) -> bool:
        """Whether the version on trial leads to the cloud on another way than the one before."""
        if not self.is_on_trial:
            return False
        try:
            before = load_commissioned(self._path(self._state.previous), folder=self._local.resolve().parent)
            return before.site.cloud != self.read().site.cloud
        except ProfileError:
            return True

    def report(self) -> dict[str, Any]:
        """Return what the heartbeat says: the version that holds, and what became of the last one offered."""
        kept = asdict(self._state)
        return {key: kept[key] for key in ("version", "state", "problems", "refused")}

    def start(self) -> Commissioned:
        """Load the version that holds. A pulled one that is broken or keeps killing the agent is rolled back."""
        state = self._state
        if state.version is not None and not state.confirmed:
            state.starts += 1
            if state.starts > STARTS_MAX:
                self._roll_back([f"started {STARTS_MAX} times without running for {CONFIRM_AFTER_S:g} s"])
            self._save()
        try:
            return self.read()
        except ProfileError as error:
            if self._state.version is None:
                raise
            self._roll_back([str(problem) for problem in error.problems])
            return self.start()

    def read(self) -> Commissioned:
        """Read the version that holds; raises ProfileError."""
        return load_commissioned(self.path, folder=self._local.resolve().parent)

    def offer(self, version: int, text: str) -> Commissioned | None:
        """Take a version from the cloud; returns what it describes, None when it is known or refused."""
        if version in {self._state.version, self._state.refused}:
            return None
        path = self._path(version)
        if len(text.encode()) > SITE_BYTES_MAX:
            self._refuse(version, [f"larger than {SITE_BYTES_MAX} bytes"])
            return None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            commissioned = load_commissioned(path, folder=self._local.resolve().parent)
        except ProfileError as error:
            self._refuse(version, [str(problem) for problem in error.problems])
            return None
        self._state = _State(
            version=version, confirmed=False, previous=self._state.version, state="trying", refused=self._state.refused
        )
        self._save()
        log.info("configuration_tried", version=version)
        return commissioned

    def confirm(self) -> None:
        """Call when the agent has been running with it for CONFIRM_AFTER_S."""
        if not self._state.confirmed:
            self._state.confirmed, self._state.state, self._state.starts = True, "confirmed", 0
            self._save()
            log.info("configuration_confirmed", version=self._state.version)

    def roll_back(self, reason: str) -> None:
        """Give up the version on trial: the agent could not apply it."""
        self._roll_back([reason])

    def _roll_back(self, problems: list[str]) -> None:
        failed = self._state.version
        self._state = _State(version=self._state.previous, state="rolled_back", problems=problems[:20], refused=failed)
        self._save()
        log.warning("configuration_rolled_back", version=failed, to=self._state.version, problems=problems[:5])

    def _refuse(self, version: int, problems: list[str]) -> None:
        self._state.refused, self._state.state, self._state.problems = version, "refused", problems[:20]
        self._save()
        log.warning("configuration_refused", version=version, problems=problems[:5])

    def _path(self, version: int | None) -> Path:
        return self._local if version is None else self._folder / f"site-{version}.yaml"

    def _load(self) -> _State:
        try:
            return _State(**json.loads((self._folder / "state.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return _State()
        except (OSError, ValueError, TypeError) as error:
            log.warning("configuration_state_lost", error=str(error))
            return _State()

    def _save(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / "state.new"
        draft.write_text(json.dumps(asdict(self._state), ensure_ascii=False), encoding="utf-8")
        draft.replace(self._folder / "state.json")
