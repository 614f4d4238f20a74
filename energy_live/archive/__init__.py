"""`energy-live archive`: saves what the accounts can read, as CSV or Parquet files.

`command` prints. `archiver` archives a VoltStorage account: `plan` computes the months and requests,
`history` and `statistics` send them through `retry`, and `staging` keeps complete days until `writer` makes a
file of the month. `sites` archives a VRM account, one `year_table` a site and year. `store` renames files
together with the `manifest`, safely if the process is killed. `check` verifies the files.
"""
