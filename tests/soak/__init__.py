"""The soak: random patterns, shapes, dtypes and backends until the time is over."""
