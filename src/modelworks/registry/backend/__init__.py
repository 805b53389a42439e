"""The tracking store: connections, schemas, errors, pagination."""
