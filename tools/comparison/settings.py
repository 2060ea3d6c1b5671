"""What a run was made with, from the dvc.lock that it left: parameters, code and seeds."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import REPORTS

LOCK = Path("dvc.lock")
METRICS = (REPORTS / "metrics.json").as_posix()
DRAWN = ("preview", "test-sample")  # the report shows what they make; no metric depends on it


@dataclass(frozen=True)
class Settings:
    """What the stages that lead to the metrics were run with: not preview, not test-sample."""

    params: dict[str, Any]  # by full key, such as recipes.quick.epochs
    inputs: dict[str, str]  # MD5 of the code and data that no stage makes, by path
    seeds: dict[str, int]  # by full key

    @property
    def key(self) -> str:
        """Everything but the seeds, as text: the same for all runs of a group."""
        return json.dumps([self.params, self.inputs], sort_keys=True)


def read_lock(text: str) -> Any:
    """Return the content of a dvc.lock, by DVC's own reader of YAML.

    Raises:
        ValueError: It is not YAML.
    """
    from dvc.utils.serialize import ParseError, parse_yaml  # a second that --help need not wait

    try:
        return parse_yaml(text, LOCK)
    except ParseError:
        raise ValueError(f"{LOCK} is damaged") from None


def read_settings(lock: Any) -> Settings:
    """Return the settings of the run that left ``lock``, the content of dvc.lock.

    Raises:
        ValueError: No stage in it makes the metrics, or its stages did not run in one go; the text
            is the reason.
    """
    stages = lock.get("stages", {}) if isinstance(lock, dict) else {}
    makers = {out["path"]: name for name, stage in stages.items() for out in stage.get("outs", [])}
    if METRICS not in makers:
        raise ValueError("not evaluated")
    inputs: dict[str, str] = {}
    params: dict[str, Any] = {}
    used = list(upstream(makers[METRICS], stages, makers))
    check_in_one_go([stages[name] for name in used])
    for name in used:
        for file in stages[name].get("params", {}).values():
            params.update(flat(file))
        for dep in stages[name].get("deps", []):
            if maker(dep["path"], makers) is None:
                inputs[dep["path"]] = checksum(dep)
    seeds = {key: params.pop(key) for key in sorted(params) if key.split(".")[-1] == "seed"}
    return Settings(params, inputs, seeds)


def upstream(name: str, stages: dict[str, Any], makers: dict[str, str]) -> Iterator[str]:
    """Yield a stage and all stages whose outputs it needs, each once, but for those that draw."""
    found, ahead = {name, *DRAWN}, [name]
    while ahead:
        yield (stage := ahead.pop())
        for dep in stages[stage].get("deps", []):
            source = maker(dep["path"], makers)
            if source is not None and source not in found:
                found.add(source)
                ahead.append(source)


def maker(path: str, makers: dict[str, str]) -> str | None:
    """Return the stage that makes a file, by itself or in a directory."""
    owners = [name for out, name in makers.items() if path == out or path.startswith(f"{out}/")]
    return owners[0] if owners else None


def check_in_one_go(stages: list[Any]) -> None:
    """Check that all stages read and wrote the same version of each file.

    Raises:
        ValueError: A file changed in between, as when train ran again and evaluate did not.
    """
    seen: dict[str, str] = {}
    for stage in stages:
        for each in [*stage.get("deps", []), *stage.get("outs", [])]:
            if seen.setdefault(each["path"], checksum(each)) != checksum(each):
                raise ValueError(f"{each['path']} changed between its stages; run `dvc repro`")


def checksum(entry: dict[str, Any]) -> str:
    return str(entry.get("md5") or json.dumps(entry, sort_keys=True))


def flat(params: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested parameters by their full keys: {"a": {"b": 1}} as {"a.b": 1}."""
    result: dict[str, Any] = {}
    for key, value in params.items():
        nested = isinstance(value, dict) and value
        result.update(flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value})
    return result
