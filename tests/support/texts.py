"""What tests of orchestrator/text share."""

import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

TEXTS = [f"Document {i} says: " + " ".join(f"word{i}x{j}" for j in range(i % 7 + 3)) for i in range(300)]


ROWS = {"text": TEXTS, "id": list(range(len(TEXTS)))}


def write(directory: Path, kind: str) -> str:
    """Put TEXTS on disk and return the `dataset` that names them."""
    table = pa.table(ROWS)
    match kind:
        case "parquet":
            pq.write_table(table, directory / "a.parquet", row_group_size=50)
            return str(directory / "a.parquet")
        case "jsonl":
            lines = (json.dumps({"text": text, "id": i}) for i, text in enumerate(TEXTS))
            (directory / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
            return str(directory / "a.jsonl")
        case "arrow":
            with pa.OSFile(str(directory / "a.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            return str(directory / "a.arrow")
        case "text":
            (directory / "a.txt").write_text("\n\n".join(TEXTS), encoding="utf-8")
            return str(directory / "a.txt")
        case "directory" | "glob":
            for i in range(3):
                pq.write_table(table.slice(i * 100, 100), directory / f"train-{i}.parquet")
            pq.write_table(table.slice(0, 5), directory / "test-0.parquet")
            return str(directory if kind == "directory" else directory / "train-*.parquet")
        case _:
            datasets.Dataset.from_dict(ROWS).save_to_disk(directory / "saved")
            return str(directory / "saved")
