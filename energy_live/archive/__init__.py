"""`energy-live archive`: everything a VoltStorage account can read, as files that need nobody's service.

`plan` says what there is to fetch, `history` and `statistics` fetch it, `stage` keeps whole days while a
month is being gathered, and `writer` makes a month's file of them. `store` puts files in place so that no
kill can leave half of one, and keeps the `manifest` in step. `run` walks through it all; `check` needs the
files alone.
"""
