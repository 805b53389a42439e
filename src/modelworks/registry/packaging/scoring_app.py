"""A scoring server for a package, with the REST API of `mlflow models serve`.

`POST /invocations` takes JSON with one of `inputs`, `instances`, `dataframe_split` and `dataframe_records`, and
`params`; or CSV with a header; or Parquet. It replies with `{"predictions": [one object per row]}`.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__all__ = ["make_app"]

FORMATS = ("inputs", "instances", "dataframe_split", "dataframe_records")
JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"


def make_app(package: Path) -> FastAPI:
    """Load the model of a verified package and return the app."""
    import mlflow.pyfunc

    app, model = FastAPI(openapi_url=None), mlflow.pyfunc.load_model(str(package))

    def predict(raw: bytes, content_type: str) -> Response:
        try:
            frame, params = _table(raw, content_type)
            answer: pd.DataFrame = model.predict(frame, params=params)
        except Exception as error:  # any error of the model on the input, as in MLflow's server
            logging.getLogger(__name__).exception("a request failed")
            status = 415 if isinstance(error, NotImplementedError) else 400
            reply = {"error_code": "BAD_REQUEST", "message": str(error) or type(error).__name__}
            return Response(json.dumps(reply), status, media_type=JSON)
        return Response(json.dumps({"predictions": answer.to_dict("records")}), media_type=JSON)

    @app.post("/invocations")
    async def invocations(request: Request) -> Response:
        raw = await request.body()
        return await asyncio.to_thread(predict, raw, request.headers.get("content-type", ""))

    @app.get("/ping")
    @app.get("/health")
    async def ping() -> Response:
        return Response("\n", media_type=JSON)

    @app.get("/version")
    async def version() -> Response:
        return Response(mlflow.__version__, media_type=JSON)

    return app


def _table(raw: bytes, content_type: str) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """Return the input rows and the parameters of a request.

    Raises:
        NotImplementedError: the content type is not supported.
        ValueError: the content does not have that type or a supported format.
    """
    import pandas as pd

    kind, _, charset = content_type.partition(";")
    if charset.strip().lower() not in ("", "charset=utf-8"):
        raise NotImplementedError(f"{content_type}: the server only reads UTF-8")
    kind = kind.strip()
    if kind == JSON:
        return _from_json(json.loads(raw))
    if kind == CSV:
        # All cells are text, also 3 and NA. An empty cell is a missing value.
        return pd.read_csv(io.BytesIO(raw), dtype=str, keep_default_na=False, na_values=[""]), None
    if kind == PARQUET:
        return pd.read_parquet(io.BytesIO(raw)), None
    raise NotImplementedError(f"the content type is {content_type!r}: send {JSON}, {CSV} or {PARQUET}")


def _from_json(body: Any) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    import pandas as pd

    formats = [name for name in FORMATS if isinstance(body, dict) and name in body]
    if len(formats) != 1:
        raise ValueError(f"send a JSON object with exactly one of {', '.join(FORMATS)}")
    rows = body[formats[0]]
    if formats[0] == "dataframe_split":
        if not isinstance(rows, dict) or not {"data"} <= rows.keys() <= {"data", "columns", "index"}:
            raise ValueError("dataframe_split is an object with columns and data")
        frame = pd.DataFrame(**rows)
    else:
        frame = pd.DataFrame([rows] if isinstance(rows, str) else rows)
    return frame, body.get("params")
