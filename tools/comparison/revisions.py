"""Files of a revision, or of the workspace, whether Git or DVC has them."""

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd

from common.arrays import dataset_path
from common.errors import UserError
from common.files import REPORTS

WORKSPACE = "workspace"
PREDICTIONS = REPORTS / "predictions.csv"
DATASETS = (dataset_path(), Path("data/images/dataset.json"))  # now, and at earlier revisions


def read_dataset(revision: str) -> dict[str, Any]:
    """Return dataset.json of a revision, which may be older than today's schema."""
    path, text = first_of(DATASETS, revision)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(
            f"{path} at {revision}: damaged ({error}); run the download stage"
        ) from None
    if not isinstance(content, dict) or "name" not in content:
        raise UserError(f"{path} at {revision}: damaged (no name); run the download stage")
    return content


def first_of(paths: tuple[Path, ...], revision: str) -> tuple[Path, str]:
    """Return the first path that a revision has, with its text; the error is about ``paths[0]``."""
    failure = None
    for path in paths:
        try:
            return path, read(path, revision)
        except UserError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def read_predictions(revision: str) -> pd.DataFrame:
    try:  # a class may be called NA, and is not missing for that
        table = pd.read_csv(
            io.StringIO(read(PREDICTIONS, revision)), dtype=str, keep_default_na=False
        )
    except ValueError as error:
        raise UserError(
            f"{PREDICTIONS} at {revision}: damaged ({str(error).splitlines()[0]}); evaluate again"
        ) from None
    if missing := {"actual", "predicted"} - set(table):
        raise UserError(
            f"{PREDICTIONS} at {revision}: damaged (no column {min(missing)}); evaluate again"
        )
    if table.empty:
        raise UserError(f"{PREDICTIONS} at {revision}: damaged (no rows); evaluate again")
    return table


def read(path: Path, revision: str) -> str:
    """Return the text of a file at a revision, whether Git or DVC has it.

    Raises:
        UserError: The revision or the file does not exist, or its content is not here.
    """
    if revision == WORKSPACE:
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise UserError(
                f"{path}: no such file in the workspace; run `dvc repro` or `dvc checkout` first"
            ) from None
        except UnicodeDecodeError:
            raise UserError(f"{path}: damaged (not UTF-8); run `dvc repro`") from None

    import dvc.api  # a second that --help need not wait
    from dvc.exceptions import DvcException

    try:
        with dvc.api.open(path.as_posix(), repo=".", rev=revision, encoding="utf-8") as file:
            return str(file.read())
    except (DvcException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} at {revision}: {reason}; was it evaluated and committed, or is it to be "
            "pulled?"
        ) from None
