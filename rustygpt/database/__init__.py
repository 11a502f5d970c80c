"""PostgreSQL: a private server where none is given, the pool, the calls of stored procedures, the schema's ledger."""
