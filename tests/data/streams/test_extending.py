"""The page on a source of one's own, run as it is written: it reads what a table would."""

import csv
import json

import numpy as np
import yaml

from tests.experiments import reported
from tests.extending import Page, installed
from vardax_core.data.streams.read import read_stream
from vardax_core.data.streams.sections import Stream

PAGE = Page("source")


def read(folder, source):
    stream = Stream.model_validate({"name": "drifters", "source": source, "error_sd": 0.2})
    return read_stream(
        stream,
        dims=("latitude", "longitude"),
        units="K",
        bounds=(270.0, 300.0),
        start=np.datetime64("2019-03-01"),
        end=np.datetime64("2019-03-10"),
        folders=[folder],
    )


def test_the_source_of_the_page_reads_the_records_that_a_table_has(tmp_path):
    reported.write_buoys(tmp_path / "buoys-1.csv", buoys=6)
    with (tmp_path / "buoys-1.csv").open() as rows:
        lines = [json.dumps(row | {"at": row["time"]}) for row in csv.DictReader(rows)]
    (tmp_path / "buoys-1.jsonl").write_text("\n".join(lines) + "\n")
    with installed(tmp_path, PAGE.block("python"), PAGE.block("toml")):
        (stream,) = yaml.safe_load(PAGE.block("yaml"))["observations"]
        mine = read(tmp_path, stream["source"])
        table = read(tmp_path, reported.values()["observations"][0]["source"])
        assert mine.records.says_the_same(table.records)
        assert mine.account.without.keys() == table.account.without.keys()
        assert mine.account.rows == len(lines)
