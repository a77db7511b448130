"""sql-rows.py TABLES.json QUERIES.json: prints how many rows each query returns, or its error, a line each.

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
for query in json.load(open(sys.argv[2])):
    try:
        print(sum(batch.num_rows for batch in context.sql(query).collect()))
    except Exception as error:
        print(" ".join(str(error).split()))
