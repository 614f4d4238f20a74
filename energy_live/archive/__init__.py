"""`energy-live archive`: saves everything that a VoltStorage account can read, as CSV or Parquet files.

`command` prints, `archiver` runs. `plan` computes the months and requests, `history` and `statistics` send
them through `retry`. `staging` keeps complete days until `writer` makes a file of the month. `store` renames
files together with the `manifest`, safely if the process is killed. `check` verifies the files.
"""
