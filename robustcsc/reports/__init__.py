"""Reports: tables, charts and one page, all pure functions of records and lambda fits."""
