"""Values that are tables: exports to data frames and files, and display in notebooks."""

from typing import TYPE_CHECKING

from energy_core._lazy import lazy_exports

if TYPE_CHECKING:
    from energy_core.tables.column import TableColumn as TableColumn
    from energy_core.tables.records import Records as Records
    from energy_core.tables.table import Table as Table
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__, {".column": "TableColumn", ".records": "Records", ".table": "Table"}
    )
