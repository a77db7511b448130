"""sql-rows.py TABLES.json QUERIES.json: prints DataFusion's version, then for each query a line: its rows as a list
of texts in JSON, or its error.

The tables have columns as InfluxDB 3 has them: {table: {"columns": {name: type}, "rows": [{name: value}]}}."""

import json
import sys

import datafusion
import pyarrow

TYPES = {
    "time": pyarrow.timestamp("ns"),
    "text": pyarrow.string(),
    "int": pyarrow.int64(),
    "float": pyarrow.float64(),
    "bool": pyarrow.bool_(),
}

tables = json.load(open(sys.argv[1]))
context = datafusion.SessionContext()
for name, table in tables.items():
    schema = pyarrow.schema([(column, TYPES[kind]) for column, kind in table["columns"].items()])
    batch = pyarrow.RecordBatch.from_pylist(table["rows"], schema=schema)
    context.register_record_batches(name, [[batch]])
print(datafusion.__version__)
for query in json.load(open(sys.argv[2])):
    try:
        rows = [row for batch in context.sql(query).collect() for row in batch.to_pylist()]
        print(json.dumps([" ".join(map(str, row.values())) for row in rows]))
    except Exception as error:
        print(" ".join(str(error).split()))
